-- Part 2: Celery's queues: lanes, the window of messages, and the messages themselves.
-- A queue holds only the next `window` messages; the other jobs wait in lines (part 3). So the burst of one client delays
-- another by a window at most, and Celery never sees a long list.

local lane_of_job = {} -- cached within one call: a job never changes its lane
local function queue_of(of, stage)
  local queue = names.queue[stage]
  if type(queue) == 'string' then return queue end -- no lanes
  lane_of_job[of] = lane_of_job[of] or redis.call('HGET', job_key(of), 'lane')
  return queue[lane_of_job[of]]
end

-- The lane of a shape: the fixed lane if the shape is common among the last images. While every device serves both lanes,
-- all jobs take the varied lane: so those of one line begin in their order.
local COMMON, RECENT = 32, 64
local function lane_of(shape)
  if shape == '' or redis.call('EXISTS', keys.lanes_apart) == 0 then return names.varied end
  local shapes = prefix .. 'shapes'
  redis.call('LPUSH', shapes, shape)
  redis.call('LTRIM', shapes, 0, RECENT - 1)
  return #redis.call('LPOS', shapes, shape, 'COUNT', 0) >= COMMON and names.fixed or names.varied
end

-- The list in which kombu keeps the messages of one queue and priority.
local function list_of(queue, priority)
  return priority == 0 and queue or queue .. '\6\22' .. string.format('%d', priority)
end

-- Sorted sets: the jobs that have a message and no claim yet (by the time of sending), and the jobs that wait.
local function sent_key(queue) return prefix .. 'sent:' .. queue end
local function waits_key(queue) return prefix .. 'waits:' .. queue end

-- The number of messages in a queue, those of ended jobs included.
local function queued_in(queue)
  local lists, queued = {}, 0
  for priority = 0, names.priorities - 1 do lists[priority + 1] = list_of(queue, priority) end
  local filled = redis.call('EXISTS', unpack(lists))
  for n = 1, #lists do
    if filled == 0 then return queued end
    local length = redis.call('LLEN', lists[n])
    if length > 0 then queued, filled = queued + length, filled - 1 end
  end
  return queued
end

-- The number of messages in flight: in the queue, or taken from it and not claimed.
local function in_flight(queue)
  local sent = redis.call('ZCARD', sent_key(queue))
  if sent >= config.window then return sent end -- the window is full: no need to count the queue
  return math.max(queued_in(queue), sent)
end

-- Work (pixels times views) of a job that counts towards the window, whose messages have as many times this at most. And a
-- *large* job has `names.large`: the workers of a queue have one less of these at once than jobs in all, so that a small
-- one finds room.
local HEAVY = 1000000
local stage_of_queue = {[names.queue.cluster] = 'cluster'}
for _, queue in pairs(names.queue.embed) do stage_of_queue[queue] = 'embed' end
local function is_large(queue, of_work) return of_work >= names.large[stage_of_queue[queue]] end

-- A set: the large jobs that were sent to a queue, and whose stage has not ended.
local function large_key(queue) return prefix .. 'large:' .. queue end

-- The number of large jobs that may be in a queue's hands: its workers' processes say how many jobs each takes at once.
local function places_of(queue)
  local embeds, taken = stage_of_queue[queue] == 'embed', 0
  for _, entry in ipairs(redis.call('HVALS', embeds and keys.devices or keys.cluster_workers)) do
    local process = cjson.decode(entry)
    local serves = not embeds or string.find(queue, '[^.]+$') and process.lanes and
      string.find(process.lanes, string.match(queue, '[^.]+$'), 1, true)
    if serves and now - process.time < names.stale_s then taken = taken + (process.threads or process.processes or 0) end
  end
  return math.max(1, taken - 1)
end

local places = {} -- by queue, cached within one call: how many more large jobs it may have
local function has_place(queue)
  places[queue] = places[queue] or places_of(queue) - redis.call('SCARD', large_key(queue))
  return places[queue] > 0
end

-- Count a job among the large ones in the queue's hands, if it is one.
local function take_place(queue, of, of_work)
  if not is_large(queue, of_work) then return end
  redis.call('SADD', large_key(queue), of)
  places[queue] = nil
end

-- Whether a job of this work may have a message, as far as its work matters.
local function fits(queue, of_work)
  if is_large(queue, of_work) then return has_place(queue) end
  if of_work < HEAVY then return true end
  local total = 0
  for _, each in ipairs(redis.call('ZRANGE', sent_key(queue), 0, -1)) do
    local its_work = tonumber(redis.call('HGET', job_key(each), 'work') or 0)
    if not is_large(queue, its_work) then total = total + its_work end
  end
  return total == 0 or total + of_work <= config.window * HEAVY
end

-- A message in the format of kombu's Redis transport.
local function envelope(exchange, key, tag, priority, headers, body)
  return cjson.encode({
    body = cjson.encode(body),
    ['content-type'] = 'application/json',
    ['content-encoding'] = 'utf-8',
    headers = headers,
    properties = {
      correlation_id = tag, reply_to = '', delivery_tag = tag, delivery_mode = 2, priority = priority,
      delivery_info = {exchange = exchange, routing_key = key},
    },
  })
end

-- The time limit of a stack's cluster stage, which puts its planes together (seconds); null leaves it to the worker.
local function stack_limit_s(planes)
  if not planes or config.stage_limit_s == math.huge then return cjson.null end
  return math.ceil(config.stage_limit_s * (1 + planes / 10))
end

-- Send the message that wakes a worker: a Celery task (protocol 2) whose only argument is the job's id.
local function send(to, stage, queue, priority)
  local list = list_of(queue, priority)
  local task = to .. '-' .. stage .. '-' .. redis.call('HINCRBY', job_key(to), 'sent', 1)
  local name = names.task[stage]
  local arguments, planes, its_work = unpack(redis.call('HMGET', job_key(to), 'argsrepr', 'planes', 'work'))
  local headers = {
    lang = 'py', task = name, id = task, root_id = task, argsrepr = arguments, kwargsrepr = '{}', origin = 'maskq',
    retries = 0, timelimit = {stack_limit_s(planes), cjson.null}, eta = cjson.null, expires = cjson.null, group = cjson.null,
    parent_id = cjson.null, shadow = cjson.null, sent = text(now),
  }
  local embed = {callbacks = cjson.null, errbacks = cjson.null, chain = cjson.null, chord = cjson.null}
  redis.call('LPUSH', list, envelope('', queue, task, priority, headers, {{to}, {}, embed}))
  redis.call('HSET', job_key(to), 'list', list)
  redis.call('ZADD', sent_key(queue), text(now), to)
  take_place(queue, to, tonumber(its_work or 0))
  if not config.task_events then return end
  -- Flower shows a queued task by this event.
  redis.call('PUBLISH', names.events, envelope('celeryev', 'task.sent', task, 0, {hostname = 'maskq'}, {
    type = 'task-sent', uuid = task, root_id = task, name = name, args = arguments, kwargs = '{}', retries = 0,
    queue = queue, exchange = '', routing_key = queue, hostname = 'maskq', pid = 0, clock = 1, utcoffset = 0,
    timestamp = now,
  }))
end
