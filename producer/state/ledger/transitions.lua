-- The ledger's transitions: each is atomic, and one that leaves a job waiting puts it in line by the same script.
local state = redis.call('HGET', job, 'state')

-- What the bounds go by: one more unfinished job (1), or one less (-1).
local function count(one, bytes, client)
  redis.call('INCRBY', prefix .. 'bytes', string.format('%d', one * bytes))
  if redis.call('HINCRBY', prefix .. 'clients', client, one) <= 0 then redis.call('HDEL', prefix .. 'clients', client) end
  if one == 1 then redis.call('ZADD', active, text(now), id) else redis.call('ZREM', active, id) end
end

-- The idempotency keys that mean a job (set).
local function names_of(of) return prefix .. 'names:' .. of end

-- Its idempotency keys end in so many seconds, as the job itself will; without them, not yet.
local function keep_names(seconds)
  local function keep(key)
    if seconds then redis.call('EXPIRE', key, seconds) else redis.call('PERSIST', key) end
  end
  for _, key in ipairs(redis.call('SMEMBERS', names_of(id))) do
    if redis.call('GET', key) == id then keep(key) end
  end
  keep(names_of(id))
end

-- Where the store keeps something of the job, if it is this Redis.
local function payload(kind) return prefix .. 'payload:' .. id .. ':' .. kind end

local function end_as(new)
  local bytes, client, same = unpack(redis.call('HMGET', job, 'bytes', 'client', 'same'))
  count(-1, tonumber(bytes), client)
  redis.call('ZREM', expiring, id)
  local recent = prefix .. 'ended:' .. math.floor(now / 10) -- of which `rate` is reckoned
  redis.call('INCR', recent)
  redis.call('EXPIRE', recent, 120)
  if new == 'dead' then redis.call('ZADD', dead, text(now), id) end
  local kept = new == 'dead' and settings.dead_retention_s or settings.retention_s
  for _, kind in ipairs({'image', 'labels', 'objects'}) do redis.call('EXPIRE', payload(kind), kept) end
  if new == 'dead' then -- it may be tried again from the second stage on
    redis.call('EXPIRE', payload('fields'), kept)
  else
    redis.call('UNLINK', payload('fields'))
  end
  redis.call('ZADD', prefix .. 'kept', text(now + kept), id)
  redis.call('EXPIRE', job, kept)
  redis.call('UNLINK', prefix .. 'counted:' .. id)
  keep_names(kept) -- the same key means the same job, however it ended
  if same and redis.call('GET', same) == id then -- but the next one like a job that failed is tried anew
    if new == 'done' then redis.call('EXPIRE', same, kept) else redis.call('DEL', same) end
  end
end

-- `how` a job that waits gets to its queue: in line, at once ('again'), or after so many seconds. With it, fields of the
-- job's are set.
local function enter(new, how, ...)
  local stage, before = stage_of[new], stage_of[state or '']
  if before and waits[before] == state then leave_queue(id, before) end
  if before and works[before] == state then redis.call('ZREM', leases, id) end
  -- waiting again after a failed attempt began when it first did: so the times only grow, and add up
  local since = waits[stage] == new and redis.call('HGET', job, 'time:' .. new) or text(now)
  redis.call('HSET', job, 'state', new, 'time:' .. new, since, ...)
  if waits[stage] == new then
    redis.call('ZADD', prefix .. 'waits:' .. queue_of(id, stage), text(now), id)
    if how == 'again' then
      send_again(id, stage)
    elseif how then
      redis.call('ZADD', delayed, text(now + how), id)
    else
      line_up(id, stage)
    end
  elseif not stage then
    end_as(new)
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

local MOST_TOLD = 20
-- One more line in the story of what went wrong.
local function note(error)
  local history = cjson.decode(redis.call('HGET', job, 'history') or '[]')
  local stage = stage_of[state]
  table.insert(history, {
    stage = stage, worker = redis.call('HGET', job, 'worker') or '', error = error, time = now,
    attempt = tonumber(redis.call('HGET', job, 'attempts:' .. stage)),
  })
  if #history > MOST_TOLD then table.remove(history, 1) end
  redis.call('HSET', job, 'history', cjson.encode(history))
end

-- An attempt failed through no fault of the job's input: another follows, or it was the last one.
local function try_again(error, how)
  local stage = stage_of[state]
  note(error)
  redis.call('HDEL', job, 'owner')
  if tonumber(redis.call('HGET', job, 'attempts:' .. stage)) >= settings.max_attempts then
    local times = string.format('%d', settings.max_attempts)
    fail('dead', 'JobDead', 'gave up after ' .. times .. ' attempts at the ' .. stage .. ' stage: ' .. error)
  else
    enter(waits[stage], how)
  end
end

-- `fixed` where the shape is common among the last images, else `varied`.
local COMMON, WINDOW = 32, 64
local function lane_of(shape)
  if shape == '' then return 'varied' end
  redis.call('LPUSH', shapes, shape)
  redis.call('LTRIM', shapes, 0, WINDOW - 1)
  return #redis.call('LPOS', shapes, shape, 'COUNT', 0) >= COMMON and 'fixed' or 'varied'
end

-- The job that a key stands for, if more than so many seconds are left of it.
local function standing_for(key, seconds)
  local other = key ~= '' and redis.call('GET', key)
  local left = other and redis.call('TTL', hash(other)) -- -1: it has not ended; -2: it is gone
  return left and (left == -1 or left > seconds) and other
end

-- Let an idempotency key mean a job from now on, for as long as that is kept.
local function give_name(key, to)
  if key == '' then return end
  local left = redis.call('TTL', hash(to))
  if left >= 0 then
    redis.call('SET', key, to, 'EX', math.max(1, left))
  else
    redis.call('SET', key, to)
    redis.call('SADD', names_of(to), key)
  end
end

-- The submissions that wait for an unfinished job, and the calls that have cancelled one of them (set): each counts once,
-- though its answer was lost and it asks again.
local function counted_of(of) return prefix .. 'counted:' .. of end

-- Another submission waits for a job, if that has not ended; false where too many do.
local function wait_for(other)
  if not stage_of[redis.call('HGET', hash(other), 'state')] then return true end
  if redis.call('SISMEMBER', counted_of(other), id) == 1 then return true end
  if redis.call('SCARD', counted_of(other)) >= settings.max_queued then return false end
  redis.call('SADD', counted_of(other), id)
  redis.call('HINCRBY', hash(other), 'wanted', 1)
  return true
end

-- Its time was over before the stage that it waits for began.
local function expire(stage)
  fail('expired', 'JobExpired', 'its time was over before the ' .. stage .. ' stage began')
end

local transitions = {}

-- A result that is about to be forgotten stands for no new job: whoever asked must have the time to fetch it, seconds.
local MOST_LEFT_S = 60

-- 4 the new job as JSON: spec (itself JSON), said, priority (kombu's), shape, client, bytes, expires_s, same, key
function transitions.create()
  if state then -- asked again, the answer was lost; and the image was stored again, with an end
    if stage_of[state] then redis.call('PERSIST', payload('image')) end
    return {'exists'}
  end
  local new = cjson.decode(ARGV[4])
  local other, name = standing_for(new.key, -1), ''
  if not other then
    other = standing_for(new.same, math.min(MOST_LEFT_S, settings.retention_s / 10))
    name = new.key
  end
  if other then
    if not wait_for(other) then return {'full', 'same', settings.max_queued} end
    give_name(name, other)
    return {'same', other}
  end
  local unfinished, bytes = redis.call('ZCARD', active), tonumber(redis.call('GET', prefix .. 'bytes') or '0')
  local own = tonumber(redis.call('HGET', prefix .. 'clients', new.client) or '0')
  if unfinished >= settings.max_queued then return {'full', 'jobs', unfinished} end
  if unfinished > 0 and bytes + new.bytes > settings.max_queued_bytes then return {'full', 'bytes', string.format('%d', bytes)} end
  if own >= settings.max_client_queued then return {'full', 'client', own} end
  redis.call('HSET', job, 'spec', new.spec, 'said', new.said, 'priority', new.priority, 'lane', lane_of(new.shape),
    'client', new.client, 'bytes', new.bytes, 'wanted', 1)
  if new.same ~= '' then
    redis.call('HSET', job, 'same', new.same)
    redis.call('SET', new.same, id)
  end
  give_name(new.key, id)
  if new.expires_s ~= cjson.null then redis.call('ZADD', expiring, text(now + new.expires_s), id) end
  count(1, new.bytes, new.client)
  redis.call('PERSIST', payload('image'))
  enter('queued')
  return {'ok'}
end

local function claim(stage, owner, worker)
  if state == works[stage] and owned(owner) then return redis.call('HGETALL', job) end -- the answer was lost
  if state ~= waits[stage] then return state end
  local expires = redis.call('ZSCORE', expiring, id)
  if expires and now > tonumber(expires) then
    expire(stage)
    return 'expired'
  end
  redis.call('HINCRBY', job, 'attempts:' .. stage, 1)
  enter(works[stage], nil, 'owner', owner, 'worker', worker)
  redis.call('HDEL', job, 'paused')
  if stage == 'cluster' then redis.call('PERSIST', payload('fields')) end -- stored once more, late
  redis.call('ZADD', leases, text(now + settings.lease_s), id)
  return redis.call('HGETALL', job)
end

-- 4 stage  5 owner  6 the worker's name; returns the job where it is granted
function transitions.claim()
  if not state then return 'unknown' end
  local answer = claim(ARGV[4], ARGV[5], ARGV[6])
  admit(queue_of(id, ARGV[4])) -- a message was taken, whatever became of it
  return answer
end

-- 4 owner
function transitions.renew()
  if not state or not owned(ARGV[4]) then return state or 'unknown' end
  redis.call('ZADD', leases, text(now + settings.lease_s), id)
  return 'ok'
end

-- 4 owner  5 '1' while the job only waits for its turn in its worker
function transitions.pause()
  if not state or not owned(ARGV[4]) then return state or 'unknown' end
  if ARGV[5] == '1' then redis.call('HSET', job, 'paused', 1) else redis.call('HDEL', job, 'paused') end
  return 'ok'
end

-- Take what an owner has put aside for the job as its payloads, or drop it where the stage is no longer theirs.
local function take_payloads(owner, kinds)
  local take = state and owned(owner)
  for _, kind in ipairs(kinds) do
    local aside = payload(kind) .. ':' .. owner
    if take then redis.call('RENAME', aside, payload(kind)) else redis.call('UNLINK', aside) end
  end
end

-- 4 owner  5 the state after it  6… the kinds of payloads that were put aside
function transitions.finish()
  take_payloads(ARGV[4], {unpack(ARGV, 6)})
  if state == ARGV[5] and redis.call('HGET', job, 'owner') == ARGV[4] then return 'ok' end -- asked again
  if not state or not owned(ARGV[4]) then return state or 'unknown' end
  if ARGV[5] == 'embedded' then redis.call('PERSIST', payload('fields')) end
  enter(ARGV[5])
  return 'ok'
end

-- 4 owner  5 type  6 message
function transitions.fail()
  if not state or not owned(ARGV[4]) then return state or 'unknown' end
  fail('failed', ARGV[5], ARGV[6])
  return 'ok'
end

-- 4 owner  5 why: the worker could not, and another may  6 seconds until then  7 '1' where the job may be what broke it
function transitions.release()
  if not state or not owned(ARGV[4]) then return state or 'unknown' end
  if ARGV[7] == '1' then redis.call('HSET', job, 'suspect', 1) end
  local delay = tonumber(ARGV[6])
  try_again(ARGV[5], delay > 0 and delay or 'again')
  return 'ok'
end

-- 4 owner  5 seconds until another attempt; the worker is leaving, or nobody could do it now: this one does not count
function transitions.hand_back()
  if not state or not owned(ARGV[4]) then return state or 'unknown' end
  redis.call('HINCRBY', job, 'attempts:' .. stage_of[state], -1)
  redis.call('HDEL', job, 'owner')
  local delay = tonumber(ARGV[5])
  enter(waits[stage_of[state]], delay > 0 and delay or 'again')
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
  if redis.call('HDEL', job, 'paused') == 1 then -- it was not at work on it
    redis.call('HINCRBY', job, 'attempts:' .. stage_of[state], -1)
    redis.call('HDEL', job, 'owner')
    enter(waits[stage_of[state]], 'again')
    return 'ok'
  end
  redis.call('HSET', job, 'suspect', 1)
  try_again('its worker stopped renewing the lease', 'again')
  return 'ok'
end

-- When the last message that workers have yet to take from a list was sent, or now; nil where it is not one of ours: it
-- says nothing of what was sent before it.
local function served_up_to(list)
  local last = redis.call('LINDEX', list, -1)
  if not last then return now end
  local read, message = pcall(cjson.decode, last)
  return tonumber(read and type(message) == 'table' and type(message.headers) == 'table' and message.headers.sent)
end

-- 4 a queue  5 seconds that a message may be in a worker's hands before its claim
-- Workers take from a list's end what was sent first. So a job whose message was sent before the one at the end has
-- none on the list, whatever its length. Returns such jobs, each followed by its list; sending to them once more is
-- left to `resend`.
function transitions.overtaken()
  local queue, recent = ARGV[4], now - tonumber(ARGV[5])
  local found, sent = {}, sent_of(queue)
  if redis.call('EXISTS', sent) == 0 then return found end
  for priority = 0, 9 do
    local list = list_of(queue, priority)
    local before = served_up_to(list)
    local below = before and '(' .. text(math.min(before, recent)) or '-inf'
    for _, each in ipairs(redis.call('ZRANGEBYSCORE', sent, '-inf', below, 'LIMIT', 0, AT_ONCE)) do
      if redis.call('HGET', hash(each), 'list') == list then
        table.insert(found, each)
        table.insert(found, list)
      end
    end
  end
  return found
end

-- 4 the list that the job's message is missing from
function transitions.resend()
  local stage = stage_of[state or '']
  if not stage or state ~= waits[stage] or redis.call('HGET', job, 'list') ~= ARGV[4] then return state or 'unknown' end
  send_again(id, stage)
  return 'ok'
end

-- 4 a queue: messages were taken from it that no claim has told of
function transitions.admit()
  admit(ARGV[4])
  return 'ok'
end

-- its delay is over
function transitions.resume()
  local due = redis.call('ZSCORE', delayed, id)
  if not due or tonumber(due) > now then return 'kept' end
  redis.call('ZREM', delayed, id)
  local stage = stage_of[state or '']
  if not stage or state ~= waits[stage] then return state or 'unknown' end
  send_again(id, stage)
  return 'ok'
end

-- its time is over while it waits
function transitions.expire()
  local stage = stage_of[state or '']
  if stage and state == waits[stage] then
    expire(stage)
    return 'ok'
  end
  if not stage then redis.call('ZREM', expiring, id) end -- what is worked on is let finish
  return state or 'unknown'
end

-- 4 a name of this call, by which it counts once
function transitions.cancel()
  if not state then return 'unknown' end
  if not stage_of[state] then return state end
  if redis.call('SADD', counted_of(id), 'cancel:' .. ARGV[4]) == 0 then return state end
  if redis.call('HINCRBY', job, 'wanted', -1) > 0 then return state end -- others wait for it
  fail('cancelled', 'JobCancelled', 'cancelled while ' .. state)
  redis.call('PUBLISH', prefix .. 'cancelled', id)
  return 'ok'
end

-- a dead letter is tried once more, from its stage on
function transitions.requeue()
  if state ~= 'dead' then return state or 'unknown' end
  local stage = cjson.decode(redis.call('HGET', job, 'error')).stage
  local bytes, client = unpack(redis.call('HMGET', job, 'bytes', 'client'))
  redis.call('HDEL', job, 'error', 'attempts:' .. stage, 'time:dead', 'owner')
  redis.call('PERSIST', job)
  keep_names()
  redis.call('ZREM', dead, id)
  redis.call('ZREM', prefix .. 'kept', id)
  for _, kind in ipairs({'image', 'fields'}) do redis.call('PERSIST', payload(kind)) end
  count(1, tonumber(bytes), client)
  enter(waits[stage])
  return 'ok'
end

-- an ended job is forgotten
function transitions.forget()
  if stage_of[state or ''] then return state end
  redis.call('ZREM', dead, id)
  redis.call('ZREM', prefix .. 'kept', id)
  redis.call('DEL', job, names_of(id))
  return 'ok'
end

-- A Redis that is full refuses a script whose first write takes memory. What moves and frees jobs must go through; this
-- write takes none.
if ARGV[1] ~= 'create' and ARGV[1] ~= 'requeue' and ARGV[1] ~= 'overtaken' then redis.call('DEL', prefix .. 'nothing') end
return transitions[ARGV[1]]()
