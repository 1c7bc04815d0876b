-- Part 5: how a job enters a state, and what follows from it.

-- Count one more unfinished job (change = 1) or one less (-1) towards the bounds.
local function count(change, bytes, client)
  redis.call('INCRBY', prefix .. 'bytes', string.format('%d', change * bytes))
  redis.call('HINCRBY', prefix .. 'clients', client .. ':work', string.format('%d', change * work))
  if redis.call('HINCRBY', prefix .. 'clients', client, change) <= 0 then
    redis.call('HDEL', prefix .. 'clients', client, client .. ':work')
  end
  if change == 1 then redis.call('ZADD', keys.active, text(now), id) else redis.call('ZREM', keys.active, id) end
end

-- Let the job's idempotency key expire in `seconds`, with the job; without an argument, keep it.
local function keep_key(seconds)
  local key = redis.call('HGET', job, 'key')
  if not key then return end
  if seconds then redis.call('EXPIRE', key, seconds) else redis.call('PERSIST', key) end
end

-- Part 6 defines these: a plane of a stack ends, and a stack ends.
local plane_ended, stack_ended
-- Part 7 defines this: a job ends that equal ones may follow.
local leader_ended

-- Whether a job exists and has not ended.
local function is_unfinished(of) return stage_of[redis.call('HGET', job_key(of), 'state') or ''] ~= nil end

-- Let the payloads in this Redis expire with the job, but the image of a failed job sooner. Only a dead letter may need
-- its fields again: it may be requeued at its second stage.
local function expire_payloads(final, seconds)
  local failed = final == names.state.failed
  redis.call('EXPIRE', payload_key(names.payload.image), failed and math.min(seconds, config.failed_input_s) or seconds)
  for _, kind in ipairs({names.payload.labels, names.payload.objects}) do
    redis.call('EXPIRE', payload_key(kind), seconds)
  end
  if final == names.state.dead then
    redis.call('EXPIRE', payload_key(names.payload.fields), seconds)
  else
    redis.call('UNLINK', payload_key(names.payload.fields))
  end
end

-- Seconds for which an ended job is kept.
local function retention_of(final)
  return final == names.state.dead and config.dead_retention_s or config.retention_s
end

-- Keep the ended job and its payloads for some seconds more. Its image has `bytes`, its last stage has `stored` bytes.
local function keep(final, seconds, bytes, stored)
  expire_payloads(final, seconds)
  hold(final, seconds, tonumber(bytes or 0), tonumber(stored or 0))
  redis.call('ZADD', keys.kept, text(now + seconds), id)
  redis.call('EXPIRE', job, seconds)
  keep_key(seconds) -- an idempotency key means its job however that ended
end

-- End the job: stop counting it, keep it for its retention time, and put its end in the outbox. A plane of a stack is
-- kept until the stack ends, and is not in the outbox.
local function end_as(final)
  local bytes, client, same, parent, planes, stored = unpack(
    redis.call('HMGET', job, 'bytes', 'client', 'same', 'parent', 'planes', 'stored'))
  count(-1, tonumber(bytes), client)
  redis.call('ZREM', keys.expiring, id)
  local recent = prefix .. 'ended:' .. math.floor(now / 10) -- the rate of the last minute comes from these
  redis.call('INCR', recent)
  redis.call('EXPIRE', recent, 120)
  if final == names.state.dead then redis.call('ZADD', keys.dead, text(now), id) end
  if parent and is_unfinished(parent) then
    plane_ended(final, parent)
    return
  end
  local retention = retention_of(final)
  keep(final, retention, bytes, stored)
  if planes then stack_ended(final, retention) end
  if parent then return end
  if same then leader_ended(final, same, retention) end
  redis.call('XADD', keys.endings, 'MAXLEN', '~', names.max_endings, '*', 'job_id', id, 'state', final)
end

-- Enter a state. `how` says how a waiting job gets to its queue: nil by its line, 'again' at once, or a number of
-- seconds after which it is sent; 'unsent' if it waits for other jobs first. Further arguments are fields of the job and
-- their values.
local function enter(new, how, ...)
  local stage, before = stage_of[new], stage_of[state or '']
  local queue_before = before and queue_of(id, before)
  local makes_place = before and is_large(queue_before, work) and new ~= working[before]
  if before and waiting[before] == state then leave_queue(id, queue_before) end
  if before and working[before] == state then redis.call('ZREM', keys.leases, id) end
  if makes_place then redis.call('SREM', large_key(queue_before), id) end
  -- A job that waits again after a failed attempt keeps the time since when it waits: so the times only grow, and their
  -- differences add up.
  local since = waiting[stage] == new and redis.call('HGET', job, 'time:' .. new) or text(now)
  redis.call('HSET', job, 'state', new, 'time:' .. new, since, ...)
  if waiting[stage] == new and how ~= 'unsent' then
    redis.call('ZADD', waits_key(queue_of(id, stage)), text(now), id)
    if how == 'again' then
      send_again(id, stage)
    elseif how then
      redis.call('ZADD', keys.delayed, text(now + how), id)
    else
      line_up(stage)
    end
  elseif not stage then
    end_as(new)
  end
  redis.call('PUBLISH', job, new)
  if makes_place then
    places[queue_before] = nil
    admit(queue_before)
  end
end

-- End the job without a result.
local function fail(final, kind, message)
  local error = {type = kind, message = message, stage = stage_of[state]}
  redis.call('HSET', job, 'error', cjson.encode(error))
  enter(final)
end

local function expire(stage)
  fail(names.state.expired, 'JobExpired', 'its time was over before the ' .. stage .. ' stage began')
end

-- Whether this owner holds the claim on the job's present stage.
local function is_owned_by(owner)
  return redis.call('HGET', job, 'owner') == owner and working[stage_of[state] or ''] == state
end

local HISTORY = 20 -- the number of failed attempts that a job remembers
-- Append a failed attempt to the job's history.
local function note(error)
  local history = cjson.decode(redis.call('HGET', job, 'history') or '[]')
  local stage = stage_of[state]
  table.insert(history, {
    stage = stage, worker = redis.call('HGET', job, 'worker') or '', error = error, time = now,
    attempt = tonumber(redis.call('HGET', job, 'attempts:' .. stage)),
  })
  if #history > HISTORY then table.remove(history, 1) end
  redis.call('HSET', job, 'history', cjson.encode(history))
end

-- An attempt failed, and not by the job's fault: the job waits for another attempt, or becomes a dead letter.
local function try_again(error, how)
  local stage = stage_of[state]
  note(error)
  redis.call('HDEL', job, 'owner')
  if tonumber(redis.call('HGET', job, 'attempts:' .. stage)) >= config.max_attempts then
    local times = string.format('%d', config.max_attempts)
    fail(names.state.dead, 'JobDead', 'gave up after ' .. times .. ' attempts at the ' .. stage .. ' stage: ' .. error)
  else
    enter(waiting[stage], how)
  end
end

-- Undo the start of an attempt: it does not count.
local function uncount_attempt(how)
  redis.call('HINCRBY', job, 'attempts:' .. stage_of[state], -1)
  redis.call('HDEL', job, 'owner')
  enter(waiting[stage_of[state]], how)
end
