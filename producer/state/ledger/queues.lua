-- Part 2: how a waiting job gets to its queue.
-- A job waits in a *line*: the jobs of one client and priority for one queue, oldest first. Celery's queue holds only
-- the next `window` messages, taken from the lines of all clients in turn. So the burst of one client delays another by
-- a window at most, and Celery never sees a long list.

local lane_of_job = {} -- cached within one call: a job never changes its lane
local function queue_of(of, stage)
  local queue = names.queue[stage]
  if type(queue) == 'string' then return queue end -- no lanes
  lane_of_job[of] = lane_of_job[of] or redis.call('HGET', job_key(of), 'lane')
  return queue[lane_of_job[of]]
end

-- The lane of a shape: the fixed lane if the shape is common among the last images.
local COMMON, RECENT = 32, 64
local function lane_of(shape)
  if shape == '' then return names.varied end
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

-- The number of messages in flight: in the queue (messages of ended jobs included), or taken from it and not claimed.
local function in_flight(queue)
  local sent, queued = redis.call('ZCARD', sent_key(queue)), 0
  if sent >= config.window then return sent end -- the window is full: no need to count the queue
  for priority = 0, names.priorities - 1 do queued = queued + redis.call('LLEN', list_of(queue, priority)) end
  return math.max(queued, sent)
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
  local arguments, planes = unpack(redis.call('HMGET', job_key(to), 'argsrepr', 'planes'))
  local headers = {
    lang = 'py', task = name, id = task, root_id = task, argsrepr = arguments, kwargsrepr = '{}', origin = 'maskq',
    retries = 0, timelimit = {stack_limit_s(planes), cjson.null}, eta = cjson.null, expires = cjson.null, group = cjson.null,
    parent_id = cjson.null, shadow = cjson.null, sent = text(now),
  }
  local embed = {callbacks = cjson.null, errbacks = cjson.null, chain = cjson.null, chord = cjson.null}
  redis.call('LPUSH', list, envelope('', queue, task, priority, headers, {{to}, {}, embed}))
  redis.call('HSET', job_key(to), 'list', list)
  redis.call('ZADD', sent_key(queue), text(now), to)
  if not config.task_events then return end
  -- Flower shows a queued task by this event.
  redis.call('PUBLISH', names.events, envelope('celeryev', 'task.sent', task, 0, {hostname = 'maskq'}, {
    type = 'task-sent', uuid = task, root_id = task, name = name, args = arguments, kwargs = '{}', retries = 0,
    queue = queue, exchange = '', routing_key = queue, hostname = 'maskq', pid = 0, clock = 1, utcoffset = 0,
    timestamp = now,
  }))
end

-- Lists: the jobs of one line, each with the time since when it waits; and the clients of one priority that have a
-- line, in the order of their turns. A set: the priorities that have lines.
local function line_key(queue, priority, client)
  return prefix .. 'line:' .. queue .. ':' .. priority .. ':' .. client
end
local function turns_key(queue, priority) return prefix .. 'turns:' .. queue .. ':' .. priority end
local function lined_key(queue) return prefix .. 'lined:' .. queue end

-- The priority (0 first) of a job that has waited since a time: one step higher for every `age_s` seconds.
local function aged_priority(priority, since)
  local waited = math.max(0, now - since) -- the clock may have been set back
  return math.max(0, priority - math.floor(waited / config.age_s))
end

-- The line whose first job goes next: its aged priority, its priority, its client. Ageing serves every job some day.
local function next_turn(queue)
  local best, best_priority, best_client
  for _, priority in ipairs(redis.call('SMEMBERS', lined_key(queue))) do
    local client = redis.call('LINDEX', turns_key(queue, priority), 0)
    local since = tonumber(string.match(redis.call('LINDEX', line_key(queue, priority, client), 0), '^%S+'))
    local aged = aged_priority(tonumber(priority), since)
    if not best or aged < best or aged == best and tonumber(priority) < tonumber(best_priority) then
      best, best_priority, best_client = aged, priority, client
    end
  end
  return best, best_priority, best_client
end

-- Take the first job of a line. The client goes to the end of the turns.
local function take_turn(queue, priority, client)
  local line, turns = line_key(queue, priority, client), turns_key(queue, priority)
  redis.call('LPOP', turns)
  local taken = string.match(redis.call('LPOP', line), '%S+$')
  if redis.call('EXISTS', line) == 1 then
    redis.call('RPUSH', turns, client)
  elseif redis.call('EXISTS', turns) == 0 then
    redis.call('SREM', lined_key(queue), priority)
  end
  return taken
end

-- Whether a job from a line still needs a message: it may have been cancelled, may have moved on (an older message woke
-- its worker), or may wait for the delay of its next attempt.
local function needs_message(of, stage, of_state, queue)
  return stage and waiting[stage] == of_state and queue_of(of, stage) == queue
    and not redis.call('ZSCORE', sent_key(queue), of) and not redis.call('ZSCORE', keys.delayed, of)
end

-- Fill Celery's queue from the lines, up to `window` messages.
local function admit(queue)
  if redis.call('EXISTS', lined_key(queue)) == 0 then return end
  local room = config.window - in_flight(queue)
  for _ = 1, SWEEP do
    if room <= 0 then return end
    local aged, priority, client = next_turn(queue)
    if not aged then return end
    local taken = take_turn(queue, priority, client)
    local its_state = redis.call('HGET', job_key(taken), 'state')
    local stage = stage_of[its_state or '']
    if needs_message(taken, stage, its_state, queue) then
      send(taken, stage, queue, aged)
      room = room - 1
    end
  end
end

-- Enter a job into its line: `push` is LPUSH for the front, RPUSH for the end.
local function enter_line(push, of, queue, priority, client, since)
  if redis.call(push, line_key(queue, priority, client), since .. ' ' .. of) == 1 then
    redis.call('RPUSH', turns_key(queue, priority), client)
    redis.call('SADD', lined_key(queue), priority)
  end
end

-- Send a message for a job that has begun to wait, or append the job to its line.
local function line_up(of, stage)
  local queue = queue_of(of, stage)
  local priority, client = unpack(redis.call('HMGET', job_key(of), 'priority', 'client'))
  if redis.call('EXISTS', lined_key(queue)) == 0 and in_flight(queue) < config.window then
    send(of, stage, queue, tonumber(priority))
    return
  end
  enter_line('RPUSH', of, queue, priority, client, text(now))
  admit(queue)
end

-- Put a job that had its turn at the front of its line, with the time since when it waits; `admit` has to follow.
local function line_up_first(of, stage, since)
  local priority, client = unpack(redis.call('HMGET', job_key(of), 'priority', 'client'))
  enter_line('LPUSH', of, queue_of(of, stage), priority, client, since)
end

-- Send another message for a job that had its turn (its message or its worker was lost). It keeps its age: by its
-- priority alone, every aged job in a line would go before it.
local function send_again(of, stage)
  local priority, since = unpack(redis.call('HMGET', job_key(of), 'priority', 'time:' .. waiting[stage]))
  send(of, stage, queue_of(of, stage), aged_priority(tonumber(priority), tonumber(since)))
end

-- Remove a job from everything that says it waits. Its entry in a line is skipped when its turn comes.
local function leave_queue(of, stage)
  local queue = queue_of(of, stage)
  redis.call('ZREM', waits_key(queue), of)
  redis.call('ZREM', sent_key(queue), of)
  redis.call('ZREM', keys.delayed, of)
  redis.call('HDEL', job_key(of), 'list')
end
