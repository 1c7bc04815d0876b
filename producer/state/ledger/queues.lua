-- Keys, clock, and how a waiting job gets to its queue. Run before `transitions.lua`, as one script.
-- A waiting job stands in line behind others of its client and priority; Celery's queue holds only the next few jobs,
-- from all clients in turn. So no client's burst delays another by more than that, and no list that Celery sees is long.
-- KEYS: 1 what every key begins with   2 the job's hash
-- ARGV: 1 transition  2 job id  3 settings as JSON  4… the transition's own
local prefix, job, id = KEYS[1], KEYS[2], ARGV[2]
local settings = cjson.decode(ARGV[3])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000

local function text(time) return string.format('%.6f', time) end
local function hash(of) return prefix .. 'job:' .. of end

local active, leases, shapes = prefix .. 'active', prefix .. 'leases', prefix .. 'shapes'
local delayed, expiring, dead = prefix .. 'delayed', prefix .. 'expiring', prefix .. 'dead'
local works = {embed = 'embedding', cluster = 'clustering'}
local waits = {embed = 'queued', cluster = 'embedded'}
local stage_of = {queued = 'embed', embedding = 'embed', embedded = 'cluster', clustering = 'cluster'}
local AT_ONCE = 1000 -- jobs that one script looks at, at most

local lanes = {} -- of jobs, which never change theirs
local function queue_of(of, stage)
  if stage ~= 'embed' then return 'cluster' end
  lanes[of] = lanes[of] or redis.call('HGET', hash(of), 'lane')
  return 'embed.' .. lanes[of]
end

-- The list in which kombu keeps a queue's messages of one priority.
local function list_of(queue, priority)
  return priority == 0 and queue or queue .. '\6\22' .. string.format('%d', priority)
end

-- Jobs that were sent to and not claimed (zset, by when they were sent).
local function sent_of(queue) return prefix .. 'sent:' .. queue end

-- How many messages are on their way: those that lie in the queue, of jobs that have ended since too, or were taken from
-- it and have not been claimed.
local function outstanding(queue)
  local sent, lying = redis.call('ZCARD', sent_of(queue)), 0
  if sent >= settings.window then return sent end -- as many as may be: no need to count on
  for priority = 0, 9 do lying = lying + redis.call('LLEN', list_of(queue, priority)) end
  return math.max(lying, sent)
end

-- What kombu's Redis transport makes of a message.
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

-- Send the message that wakes a worker for the stage: a Celery task (protocol 2) whose one argument is the job's id.
local function send(to, stage, queue, priority)
  local list = list_of(queue, priority)
  local task = to .. '-' .. stage .. '-' .. redis.call('HINCRBY', hash(to), 'sent', 1)
  local name, said = 'tasks.' .. stage, redis.call('HGET', hash(to), 'said')
  local headers = {
    lang = 'py', task = name, id = task, root_id = task, argsrepr = said, kwargsrepr = '{}', origin = 'maskq',
    retries = 0, timelimit = {cjson.null, cjson.null}, eta = cjson.null, expires = cjson.null, group = cjson.null,
    parent_id = cjson.null, shadow = cjson.null, sent = text(now),
  }
  local nothing = {callbacks = cjson.null, errbacks = cjson.null, chain = cjson.null, chord = cjson.null}
  redis.call('LPUSH', list, envelope('', queue, task, priority, headers, {{to}, {}, nothing}))
  redis.call('HSET', hash(to), 'list', list)
  redis.call('ZADD', sent_of(queue), text(now), to)
  if settings.events == cjson.null then return end
  -- Flower shows what is queued by this event.
  redis.call('PUBLISH', settings.events, envelope('celeryev', 'task.sent', task, 0, {hostname = 'maskq'}, {
    type = 'task-sent', uuid = task, root_id = task, name = name, args = said, kwargs = '{}', retries = 0,
    queue = queue, exchange = '', routing_key = queue, hostname = 'maskq', pid = 0, clock = 1, utcoffset = 0,
    timestamp = now,
  }))
end

-- A line holds the jobs of one client and priority, oldest first; `turns` the clients of one priority that have a line,
-- in turn; `lined` the priorities that have turns (set).
local function line_of(queue, priority, client) return prefix .. 'line:' .. queue .. ':' .. priority .. ':' .. client end
local function turns_of(queue, priority) return prefix .. 'turns:' .. queue .. ':' .. priority end
local function lined_of(queue) return prefix .. 'lined:' .. queue end

-- What a priority counts after waiting since then.
local function aged_since(priority, since)
  local waited = math.max(0, now - since) -- the clock may have been set back
  return math.max(0, priority - math.floor(waited / settings.age_s))
end

-- Whose turn it is: the priority and client whose first job goes first. What has waited counts one priority more for
-- every `age_s` seconds, so that the last is served some day.
local function next_turn(queue)
  local best, best_priority, best_client
  for _, each in ipairs(redis.call('SMEMBERS', lined_of(queue))) do
    local priority = tonumber(each)
    local client = redis.call('LINDEX', turns_of(queue, each), 0)
    local since = tonumber(string.match(redis.call('LINDEX', line_of(queue, each, client), 0), '^%S+'))
    local aged = aged_since(priority, since)
    if not best or aged < best or aged == best and priority < tonumber(best_priority) then
      best, best_priority, best_client = aged, each, client
    end
  end
  return best, best_priority, best_client
end

-- Take the first job of a line; its client goes to the end of the turns.
local function take_turn(queue, priority, client)
  local line, turns = line_of(queue, priority, client), turns_of(queue, priority)
  redis.call('LPOP', turns)
  local taken = string.match(redis.call('LPOP', line), '%S+$')
  if redis.call('EXISTS', line) == 1 then
    redis.call('RPUSH', turns, client)
  elseif redis.call('EXISTS', turns) == 0 then
    redis.call('SREM', lined_of(queue), priority)
  end
  return taken
end

-- Fill Celery's queue up to `window` messages from the lines.
local function admit(queue)
  if redis.call('EXISTS', lined_of(queue)) == 0 then return end
  local room = settings.window - outstanding(queue)
  for _ = 1, AT_ONCE do
    if room <= 0 then return end
    local aged, priority, client = next_turn(queue)
    if not aged then return end
    local taken = take_turn(queue, priority, client)
    local state = redis.call('HGET', hash(taken), 'state') -- it may have been cancelled in its line
    local stage = stage_of[state or '']
    -- or have moved on, woken by a message from before, or wait to be sent to again
    if stage and waits[stage] == state and queue_of(taken, stage) == queue
      and not redis.call('ZSCORE', sent_of(queue), taken) and not redis.call('ZSCORE', delayed, taken) then
      send(taken, stage, queue, aged)
      room = room - 1
    end
  end
end

-- Send to a job that waits, or put it at the end of its line.
local function line_up(who, stage)
  local queue = queue_of(who, stage)
  local priority, client = unpack(redis.call('HMGET', hash(who), 'priority', 'client'))
  if redis.call('EXISTS', lined_of(queue)) == 0 and outstanding(queue) < settings.window then
    send(who, stage, queue, tonumber(priority))
    return
  end
  if redis.call('RPUSH', line_of(queue, priority, client), text(now) .. ' ' .. who) == 1 then
    redis.call('RPUSH', turns_of(queue, priority), client)
    redis.call('SADD', lined_of(queue), priority)
  end
  admit(queue)
end

-- Send to a job that has had its turn: it was lost, or its worker was. It is as old as it is: by its priority alone, all
-- that has aged in its line would go before it.
local function send_again(who, stage)
  local priority, since = unpack(redis.call('HMGET', hash(who), 'priority', 'time:' .. waits[stage]))
  send(who, stage, queue_of(who, stage), aged_since(tonumber(priority), tonumber(since)))
end

-- Take a job out of all that says it waits; its place in a line is passed over when its turn comes.
local function leave_queue(who, stage)
  local queue = queue_of(who, stage)
  redis.call('ZREM', prefix .. 'waits:' .. queue, who)
  redis.call('ZREM', sent_of(queue), who)
  redis.call('ZREM', delayed, who)
  redis.call('HDEL', hash(who), 'list')
end
