-- The ledger's transitions. One script, run atomically by Redis; ARGV[1] names the transition.
-- KEYS: 1 the job's hash   2 unfinished jobs (zset, by creation)   3 leases (zset, by expiry)
--       4 jobs that wait for a message (zset, by when it was sent)
-- ARGV: 1 transition  2 job id  3 seconds that an ended job is kept  4… the transition's own
local job, active, leases, waiting = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local id, retention = ARGV[2], tonumber(ARGV[3])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local now_text = string.format('%d.%06d', clock[1], clock[2])
local state = redis.call('HGET', job, 'state')

local works = {embed = 'embedding', cluster = 'clustering'}
local waits = {embed = 'queued', cluster = 'embedded'}
local stage_of = {queued = 'embed', embedding = 'embed', embedded = 'cluster', clustering = 'cluster'}

local function enter(new)
  redis.call('HSET', job, 'state', new)
  -- waiting again after a failed attempt began when it first did: so the times only grow, and add up
  redis.call((new == 'queued' or new == 'embedded') and 'HSETNX' or 'HSET', job, 'time:' .. new, now_text)
  redis.call('ZREM', leases, id)
  redis.call('ZREM', waiting, id)
  if new == 'queued' or new == 'embedded' then
    redis.call('ZADD', waiting, now_text, id)
  elseif not stage_of[new] then
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

local transitions = {}

-- 4 most unfinished jobs  5 spec  6 lane  7 when it expires, or ''
function transitions.create()
  if state then return 'exists' end
  if redis.call('ZCARD', active) >= tonumber(ARGV[4]) then return 'full' end
  redis.call('HSET', job, 'spec', ARGV[5], 'lane', ARGV[6])
  if ARGV[7] ~= '' then redis.call('HSET', job, 'expires', string.format('%.6f', now + tonumber(ARGV[7]))) end
  redis.call('ZADD', active, now_text, id)
  enter('queued')
  return 'ok'
end

-- 4 stage  5 owner  6 seconds of the lease  7 most attempts
function transitions.claim()
  if not state then return 'unknown' end
  local stage = ARGV[4]
  if state == works[stage] and owned(ARGV[5]) then return 'ok' end -- asked again, the answer was lost
  if state ~= waits[stage] then return state end
  local expires = redis.call('HGET', job, 'expires')
  if expires and now > tonumber(expires) then
    fail('expired', 'JobExpired', 'its time was over before the ' .. stage .. ' stage began')
    return 'expired'
  end
  if redis.call('HINCRBY', job, 'attempts:' .. stage, 1) > tonumber(ARGV[7]) then
    redis.call('HINCRBY', job, 'attempts:' .. stage, -1)
    local last = redis.call('HGET', job, 'last_error') or 'its worker died each time'
    fail('dead', 'JobDead', 'gave up after ' .. ARGV[7] .. ' attempts at the ' .. stage .. ' stage: ' .. last)
    return 'dead'
  end
  enter(works[stage])
  redis.call('HSET', job, 'owner', ARGV[5])
  redis.call('ZADD', leases, string.format('%.6f', now + tonumber(ARGV[6])), id)
  return 'ok'
end

-- 4 owner  5 seconds of the lease
function transitions.renew()
  if not state or not owned(ARGV[4]) then return state or 'unknown' end
  redis.call('ZADD', leases, string.format('%.6f', now + tonumber(ARGV[5])), id)
  return 'ok'
end

-- 4 owner  5 the state after it
function transitions.finish()
  if state == ARGV[5] and redis.call('HGET', job, 'owner') == ARGV[4] then return 'ok' end -- asked again
  if not state or not owned(ARGV[4]) then return state or 'unknown' end
  enter(ARGV[5])
  return 'ok'
end

-- 4 owner  5 type  6 message
function transitions.fail()
  if not state or not owned(ARGV[4]) then return state or 'unknown' end
  fail('failed', ARGV[5], ARGV[6])
  return 'ok'
end

-- 4 owner  5 why: the worker could not, and another may
function transitions.release()
  if not state or not owned(ARGV[4]) then return state or 'unknown' end
  redis.call('HSET', job, 'last_error', ARGV[5])
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

-- a waiting job's message is about to be sent once more
function transitions.resend()
  if not state or state ~= waits[stage_of[state] or ''] then
    redis.call('ZREM', waiting, id)
    return state or 'unknown'
  end
  redis.call('ZADD', waiting, now_text, id)
  return 'ok'
end

function transitions.cancel()
  if not state then return 'unknown' end
  if not stage_of[state] then return state end
  fail('cancelled', 'JobCancelled', 'cancelled while ' .. state)
  return 'ok'
end

return transitions[ARGV[1]]()
