-- Part 5: the transitions of producers.

-- The job that a key stands for, if it is kept for more than `seconds` more.
local function standing_for(key, seconds)
  local other = key ~= '' and redis.call('GET', key)
  local left = other and redis.call('TTL', job_key(other)) -- -1: it has not ended; -2: it is gone
  return left and (left == -1 or left > seconds) and other
end

-- Let an idempotency key mean a job for as long as the job is kept.
local function give_name(key, to)
  if key == '' then return end
  local left = redis.call('TTL', job_key(to))
  if left >= 0 then
    redis.call('SET', key, to, 'EX', math.max(1, left))
  else
    redis.call('SET', key, to)
    redis.call('SADD', names_key(to), key)
  end
end

-- Count one more submission that waits for an unfinished job; false if too many do.
local function wait_for(other)
  if not stage_of[redis.call('HGET', job_key(other), 'state')] then return true end
  if redis.call('SISMEMBER', counted_key(other), id) == 1 then return true end
  if redis.call('SCARD', counted_key(other)) >= config.max_queued then return false end
  redis.call('SADD', counted_key(other), id)
  redis.call('HINCRBY', job_key(other), 'wanted', 1)
  return true
end

-- The bound that one more job would exceed, and how far the queue is from it; nil if there is room.
local function full(new)
  local unfinished, bytes = redis.call('ZCARD', keys.active), tonumber(redis.call('GET', prefix .. 'bytes') or '0')
  local of_client = tonumber(redis.call('HGET', prefix .. 'clients', new.client) or '0')
  if unfinished >= config.max_queued then return {'full', 'jobs', unfinished} end
  if unfinished > 0 and bytes + new.bytes > config.max_queued_bytes then
    return {'full', 'bytes', string.format('%d', bytes)}
  end
  if of_client >= config.max_client_queued then return {'full', 'client', of_client} end
end

-- Seconds for which a finished result must still be kept to stand for a new job: its client needs time to fetch it.
local FETCH_S = 60

-- Enter a new job, or name the job that it repeats. `new_job` is JSON: spec (itself JSON), argsrepr, priority
-- (kombu's), shape, client, bytes, expires_s, same, key.
function transitions.create(new_job)
  if state then -- repeated after a lost answer, and the image was stored again with an expiry
    if stage_of[state] then redis.call('PERSIST', payload_key(names.payload.image)) end
    return {'exists'}
  end
  local new = cjson.decode(new_job)
  local other, name = standing_for(new.key, -1), ''
  if not other then
    other = standing_for(new.same, math.min(FETCH_S, config.retention_s / 10))
    name = new.key
  end
  if other then
    if not wait_for(other) then return {'full', 'same', config.max_queued} end
    give_name(name, other)
    return {'same', other}
  end
  local refusal = full(new)
  if refusal then return refusal end
  redis.call('HSET', job, 'spec', new.spec, 'argsrepr', new.argsrepr, 'priority', new.priority,
    'lane', lane_of(new.shape), 'client', new.client, 'bytes', new.bytes, 'wanted', 1)
  if new.same ~= '' then
    redis.call('HSET', job, 'same', new.same)
    redis.call('SET', new.same, id)
  end
  give_name(new.key, id)
  if new.expires_s ~= cjson.null then redis.call('ZADD', keys.expiring, text(now + new.expires_s), id) end
  count(1, new.bytes, new.client)
  redis.call('PERSIST', payload_key(names.payload.image))
  enter(names.state.queued)
  return {'ok'}
end

-- Cancel one submission of the job. `call` names the caller's call: the same name counts once.
function transitions.cancel(call)
  if not state then return 'unknown' end
  if not stage_of[state] then return state end
  if redis.call('SADD', counted_key(id), 'cancel:' .. call) == 0 then return state end
  if redis.call('HINCRBY', job, 'wanted', -1) > 0 then return state end -- other submissions wait for it
  fail(names.state.cancelled, 'JobCancelled', 'cancelled while ' .. state)
  redis.call('PUBLISH', keys.cancelled, id)
  return 'ok'
end

-- Try a dead letter once more, from the stage that it died in; the plane of a stack only if the stack still waits.
function transitions.requeue()
  if state ~= names.state.dead then return state or 'unknown' end
  local stage = cjson.decode(redis.call('HGET', job, 'error')).stage
  local bytes, client, parent = unpack(redis.call('HMGET', job, 'bytes', 'client', 'parent'))
  if parent then
    if not waits_for_planes(parent) then return state end
    redis.call('HINCRBY', job_key(parent), 'open', 1)
  end
  redis.call('HDEL', job, 'error', 'attempts:' .. stage, 'time:dead', 'owner')
  redis.call('PERSIST', job)
  keep_names()
  redis.call('ZREM', keys.dead, id)
  redis.call('ZREM', keys.kept, id)
  for _, kind in ipairs({names.payload.image, names.payload.fields}) do redis.call('PERSIST', payload_key(kind)) end
  keep_planes()
  count(1, tonumber(bytes), client)
  enter(waiting[stage])
  return 'ok'
end

-- Delete what is known of an ended job, and of its planes.
function transitions.delete()
  if stage_of[state or ''] then return state end
  for_each_plane(function()
    drop_payloads()
    forget()
  end)
  forget()
  return 'ok'
end
