-- Part 8: the transitions of producers.

-- The bound that one more job would exceed, and how far the queue is from it; nil if there is room.
local function full(new)
  local unfinished, bytes, held = redis.call('ZCARD', keys.active), unpack(redis.call('MGET', prefix .. 'bytes', held_bytes))
  bytes, held = tonumber(bytes or 0), tonumber(held or 0)
  local of_client, its_work = unpack(redis.call('HMGET', prefix .. 'clients', new.client, new.client .. ':work'))
  of_client, its_work = tonumber(of_client or 0), tonumber(its_work or 0)
  if unfinished >= config.max_queued then return {'full', 'jobs', unfinished} end
  if unfinished > 0 and bytes + new.bytes > config.max_queued_bytes then
    return {'full', 'bytes', string.format('%d', bytes)}
  end
  if of_client >= config.max_client_queued then return {'full', 'client', of_client} end
  if of_client > 0 and its_work + new.work > config.max_client_work then
    return {'full', 'work', string.format('%d', its_work)}
  end
  if held > config.max_ended_bytes and (not names.in_redis or select(2, shed()) > 0) then
    return {'full', 'ended', string.format('%d', held)}
  end
end

-- Whether the queue has room for a job of a client with an image of so many bytes. Nothing is entered.
function transitions.room(client, bytes)
  return full({client = client, bytes = tonumber(bytes), work = 0}) or {'ok'}
end

-- The answer for a submission whose idempotency key means a job already; nil if it means none.
local function repeated(new)
  local other = new.key ~= '' and redis.call('GET', new.key)
  local request = other and redis.call('HGET', job_key(other), 'request')
  if request then return {request == new.request and 'named' or 'conflict', other} end
end

-- Enter a new job, or name the job that an idempotency key means. `new_job` is JSON: spec (itself JSON), argsrepr,
-- priority (kombu's), shape, client, bytes, work, expires_s, same, key, request.
function transitions.create(new_job)
  if state then -- repeated after a lost answer, and the image was stored again with an expiry
    if stage_of[state] then redis.call('PERSIST', payload_key(names.payload.image)) end
    return {'exists'}
  end
  local new = cjson.decode(new_job)
  local answer = repeated(new) or full(new)
  if answer then return answer end
  redis.call('HSET', job, 'spec', new.spec, 'argsrepr', new.argsrepr, 'priority', new.priority,
    'lane', lane_of(new.shape), 'client', new.client, 'bytes', new.bytes, 'work', new.work)
  work = new.work
  if new.same ~= '' then join_equals(new.same) end
  if new.key ~= '' then
    redis.call('HSET', job, 'key', new.key, 'request', new.request)
    redis.call('SET', new.key, id)
  end
  if new.expires_s ~= cjson.null then redis.call('ZADD', keys.expiring, text(now + new.expires_s), id) end
  count(1, new.bytes, new.client)
  redis.call('PERSIST', payload_key(names.payload.image))
  enter(names.state.queued)
  return {'ok'}
end

-- Enter several new jobs, each as if alone: one that is refused does not keep the others, and its image is dropped.
-- `new_jobs` is JSON, a list of ids with the arguments of `create`; returns the answers of `create` in order.
function transitions.create_many(new_jobs)
  local answers, began = {}, now
  for number, new in ipairs(cjson.decode(new_jobs)) do
    now = began + number / 1000000 -- sets that are sorted by time keep the order
    as_job(new[1], function()
      answers[number] = transitions.create(new[2])
      local entered = answers[number][1] == 'ok' or answers[number][1] == 'exists'
      if not entered then redis.call('UNLINK', payload_key(names.payload.image)) end
    end)
  end
  return answers
end

-- Cancel the job.
function transitions.cancel()
  if not state then return 'unknown' end
  if not stage_of[state] then return state end
  fail(names.state.cancelled, 'JobCancelled', 'cancelled while ' .. state)
  redis.call('PUBLISH', keys.cancelled, id)
  return 'ok'
end

-- Try a dead letter once more, from the stage that it died in; the plane of a stack only if the stack still waits.
function transitions.requeue()
  if state ~= names.state.dead then return state or 'unknown' end
  local stage = cjson.decode(redis.call('HGET', job, 'error')).stage
  local bytes, client, parent, same = unpack(redis.call('HMGET', job, 'bytes', 'client', 'parent', 'same'))
  if parent then
    if not waits_for_planes(parent) then return state end
    redis.call('HINCRBY', job_key(parent), 'open', 1)
  end
  let_go()
  redis.call('HDEL', job, 'error', 'attempts:' .. stage, 'time:dead', 'owner')
  redis.call('PERSIST', job)
  keep_key()
  if same then redis.call('HSET', job, 'twin', 1) end -- an equal job may have been done since
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
