-- The ledger's transitions. One script, run atomically by Redis; ARGV[1] names the transition.
-- A job that is left waiting has its message put on the queue by the same script: neither is ever there alone.
-- KEYS: 1 the job's hash   2 unfinished jobs (zset, by creation)   3 leases (zset, by expiry)
--       4 the shapes of the last images (list)   5 … jobs that wait (zset, by when their message was sent), one a queue
-- ARGV: 1 transition  2 job id  3 seconds that an ended job is kept  4 the channel of Celery's events
--       5… the transition's own
local job, active, leases, shapes, waiting = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local id, retention, news = ARGV[2], tonumber(ARGV[3]), ARGV[4]
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local now_text = string.format('%d.%06d', clock[1], clock[2])
local state = redis.call('HGET', job, 'state')

local works = {embed = 'embedding', cluster = 'clustering'}
local waits = {embed = 'queued', cluster = 'embedded'}
local stage_of = {queued = 'embed', embedding = 'embed', embedded = 'cluster', clustering = 'cluster'}
local COMMON, WINDOW = 32, 64 -- a shape is common when it was this many of the last so many

-- The queue in which the job waits for a stage, and the list in which kombu keeps its messages of that priority.
local function queue_of(stage)
  local lane, priority = unpack(redis.call('HMGET', job, 'lane', 'priority'))
  local queue = stage == 'embed' and 'embed.' .. lane or 'cluster'
  return queue, priority == '0' and queue or queue .. '\6\22' .. priority, tonumber(priority)
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
local function wake(stage)
  local queue, list, priority = queue_of(stage)
  local task = id .. '-' .. stage .. '-' .. redis.call('HINCRBY', job, 'sent', 1)
  local name, said = 'tasks.' .. stage, redis.call('HGET', job, 'said')
  local headers = {
    lang = 'py', task = name, id = task, root_id = task, argsrepr = said, kwargsrepr = '{}', origin = 'maskq',
    retries = 0, timelimit = {cjson.null, cjson.null}, eta = cjson.null, expires = cjson.null, group = cjson.null,
    parent_id = cjson.null, shadow = cjson.null, sent = now_text,
  }
  local nothing = {callbacks = cjson.null, errbacks = cjson.null, chain = cjson.null, chord = cjson.null}
  redis.call('LPUSH', list, envelope('', queue, task, priority, headers, {{id}, {}, nothing}))
  redis.call('ZADD', waiting .. list, now_text, id)
  -- Flower shows what is queued by this event.
  redis.call('PUBLISH', news, envelope('celeryev', 'task.sent', task, 0, {hostname = 'maskq'}, {
    type = 'task-sent', uuid = task, root_id = task, name = name, args = said, kwargs = '{}', retries = 0,
    queue = queue, exchange = '', routing_key = queue, hostname = 'maskq', pid = 0, clock = 1, utcoffset = 0,
    timestamp = now,
  }))
end

local function enter(new)
  local stage = stage_of[new]
  if state and waits[stage_of[state]] == state then
    local _, list = queue_of(stage_of[state])
    redis.call('ZREM', waiting .. list, id)
  end
  redis.call('ZREM', leases, id)
  redis.call('HSET', job, 'state', new)
  -- waiting again after a failed attempt began when it first did: so the times only grow, and add up
  redis.call(waits[stage] == new and 'HSETNX' or 'HSET', job, 'time:' .. new, now_text)
  if waits[stage] == new then
    wake(stage)
  elseif not stage then
    redis.call('ZREM', active, id)
    redis.call('EXPIRE', job, retention)
  end
  redis.call('PUBLISH', job, new)
end

local function fail(new, kind, message)
  local error = {type = kind, message = message, stage = stage_of[state]}
  redis.call('HSET', job, 'error', cjson.encode(error))
  enter(new)
end

local function owned(owner)
  return redis.call('HGET', job, 'owner') == owner and works[stage_of[state] or ''] == state
end

-- `fixed` where the shape is common among the last images, else `varied`.
local function lane_of(shape)
  if shape == '' then return 'varied' end
  redis.call('LPUSH', shapes, shape)
  redis.call('LTRIM', shapes, 0, WINDOW - 1)
  return #redis.call('LPOS', shapes, shape, 'COUNT', 0) >= COMMON and 'fixed' or 'varied'
end

local transitions = {}

-- 5 most unfinished jobs  6 spec  7 kombu's priority  8 what Flower shows  9 the image's shape, or ''
-- 10 seconds until it expires, or ''
function transitions.create()
  if state then return 'exists' end
  if redis.call('ZCARD', active) >= tonumber(ARGV[5]) then return 'full' end
  redis.call('HSET', job, 'spec', ARGV[6], 'priority', ARGV[7], 'said', ARGV[8], 'lane', lane_of(ARGV[9]))
  if ARGV[10] ~= '' then redis.call('HSET', job, 'expires', string.format('%.6f', now + tonumber(ARGV[10]))) end
  redis.call('ZADD', active, now_text, id)
  enter('queued')
  return 'ok'
end

-- 5 stage  6 owner  7 seconds of the lease  8 most attempts; returns the job where it is granted
function transitions.claim()
  if not state then return 'unknown' end
  local stage = ARGV[5]
  if state == works[stage] and owned(ARGV[6]) then return redis.call('HGETALL', job) end -- the answer was lost
  if state ~= waits[stage] then return state end
  local expires = redis.call('HGET', job, 'expires')
  if expires and now > tonumber(expires) then
    fail('expired', 'JobExpired', 'its time was over before the ' .. stage .. ' stage began')
    return 'expired'
  end
  if redis.call('HINCRBY', job, 'attempts:' .. stage, 1) > tonumber(ARGV[8]) then
    redis.call('HINCRBY', job, 'attempts:' .. stage, -1)
    local last = redis.call('HGET', job, 'last_error') or 'its worker died each time'
    fail('dead', 'JobDead', 'gave up after ' .. ARGV[8] .. ' attempts at the ' .. stage .. ' stage: ' .. last)
    return 'dead'
  end
  enter(works[stage])
  redis.call('HSET', job, 'owner', ARGV[6])
  redis.call('ZADD', leases, string.format('%.6f', now + tonumber(ARGV[7])), id)
  return redis.call('HGETALL', job)
end

-- 5 owner  6 seconds of the lease
function transitions.renew()
  if not state or not owned(ARGV[5]) then return state or 'unknown' end
  redis.call('ZADD', leases, string.format('%.6f', now + tonumber(ARGV[6])), id)
  return 'ok'
end

-- 5 owner  6 the state after it
function transitions.finish()
  if state == ARGV[6] and redis.call('HGET', job, 'owner') == ARGV[5] then return 'ok' end -- asked again
  if not state or not owned(ARGV[5]) then return state or 'unknown' end
  enter(ARGV[6])
  return 'ok'
end

-- 5 owner  6 type  7 message
function transitions.fail()
  if not state or not owned(ARGV[5]) then return state or 'unknown' end
  fail('failed', ARGV[6], ARGV[7])
  return 'ok'
end

-- 5 owner  6 why: the worker could not, and another may
function transitions.release()
  if not state or not owned(ARGV[5]) then return state or 'unknown' end
  redis.call('HSET', job, 'last_error', ARGV[6])
  enter(waits[stage_of[state]])
  return 'ok'
end

-- a lease ran out: the owner is dead, or as good as dead
function transitions.reclaim()
  local expiry = redis.call('ZSCORE', leases, id)
  if not expiry or tonumber(expiry) > now then return 'kept' end
  if not state or not stage_of[state] then
    redis.call('ZREM', leases, id)
    return state or 'unknown'
  end
  redis.call('HDEL', job, 'owner')
  redis.call('HSET', job, 'last_error', 'its worker stopped renewing the lease')
  enter(waits[stage_of[state]])
  return 'ok'
end

-- 5 the list of one queue and priority  6 seconds that a message may be in a worker's hands before its claim
-- Workers take from a list's end what was sent first. So a job whose message was sent before the one at the end has
-- none on the list, whatever its length. Returns at most 100 such jobs, sent to once more is left to `resend`.
function transitions.overtaken()
  local last = redis.call('LINDEX', ARGV[5], -1)
  local before = now - tonumber(ARGV[6])
  if last then
    local read, message = pcall(cjson.decode, last)
    local sent = read and type(message) == 'table' and type(message.headers) == 'table' and message.headers.sent
    if not tonumber(sent) then return {} end -- not one of ours: it says nothing of what was sent before it
    before = math.min(before, tonumber(sent))
  end
  return redis.call('ZRANGEBYSCORE', waiting .. ARGV[5], '-inf', string.format('(%.6f', before), 'LIMIT', 0, 100)
end

-- 5 the list that the job's message is missing from
function transitions.resend()
  local stage = stage_of[state or '']
  if not stage or state ~= waits[stage] then
    redis.call('ZREM', waiting .. ARGV[5], id)
    return state or 'unknown'
  end
  wake(stage)
  return 'ok'
end

function transitions.cancel()
  if not state then return 'unknown' end
  if not stage_of[state] then return state end
  fail('cancelled', 'JobCancelled', 'cancelled while ' .. state)
  return 'ok'
end

return transitions[ARGV[1]]()
