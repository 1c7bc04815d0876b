-- Part 9: the transitions of workers.

local function extend_lease() redis.call('ZADD', keys.leases, text(now + config.lease_s), id) end

local function claim(stage, owner, worker)
  if state == working[stage] and is_owned_by(owner) then return redis.call('HGETALL', job) end -- the answer was lost
  if state ~= waiting[stage] or stage == stage_of[names.state.embedded] and waits_for_planes(id) then return state end
  local expires = redis.call('ZSCORE', keys.expiring, id)
  if expires and now > tonumber(expires) then
    expire(stage)
    return names.state.expired
  end
  redis.call('HINCRBY', job, 'attempts:' .. stage, 1)
  enter(working[stage], nil, 'owner', owner, 'worker', worker)
  take_place(queue_of(id, stage), id, work) -- an older message than its last one may have woken the worker
  redis.call('HDEL', job, 'paused')
  -- A worker that came too late may have stored the payload again, with an expiry.
  redis.call('PERSIST', payload_key(waiting[stage] == names.state.embedded and names.payload.fields or names.payload.image))
  extend_lease()
  return redis.call('HGETALL', job)
end

-- Claim a stage for an owner, a random token; `worker` is the worker's name. Returns the job's hash if granted, else
-- the state in which the stage can't be claimed.
function transitions.claim(stage, owner, worker)
  if not state then return 'unknown' end
  local answer = claim(stage, owner, worker)
  admit(queue_of(id, stage)) -- the worker took a message in any case
  return answer
end

-- Define a transition that only the owner of the job's present stage may make; its first argument is the owner.
local function owned(name, transition)
  transitions[name] = function(owner, ...)
    if not state or not is_owned_by(owner) then return state or 'unknown' end
    transition(...)
    return 'ok'
  end
end

owned('renew', extend_lease)

-- `waits` is '1' while the job only waits for its turn within its worker.
owned('pause', function(waits)
  if waits == '1' then redis.call('HSET', job, 'paused', 1) else redis.call('HDEL', job, 'paused') end
end)

owned('fail', function(kind, message) fail(names.state.failed, kind, message) end)

-- The worker could not finish the stage, and another may, after `delay_s` seconds. `suspect` is '1' if the job may be
-- what broke the worker.
owned('release', function(error, delay_s, suspect)
  if suspect == '1' then redis.call('HSET', job, 'suspect', 1) end
  local delay = tonumber(delay_s)
  try_again(error, delay > 0 and delay or 'again')
end)

-- The worker leaves, or nobody could do the stage now: this attempt does not count.
owned('return_to_queue', function(delay_s)
  local delay = tonumber(delay_s)
  uncount_attempt(delay > 0 and delay or 'again')
end)

-- The job has more work than its submission told. A large one without a place goes back to its line, and 'waits'.
function transitions.weigh(owner, found)
  if not state or not is_owned_by(owner) then return state or 'unknown' end
  local stage, before = stage_of[state], work
  local queue = queue_of(id, stage)
  work = math.max(before, tonumber(found))
  redis.call('HSET', job, 'work', work)
  redis.call('HINCRBY', prefix .. 'clients', redis.call('HGET', job, 'client') .. ':work', work - before)
  if is_large(queue, before) or not is_large(queue, work) then return 'ok' end
  if has_place(queue) then
    take_place(queue, id, work)
    return 'ok'
  end
  uncount_attempt()
  return 'waits'
end

-- Make the payloads that an owner has staged the job's own, or drop them if the owner no longer holds the stage.
local function take_payloads(owner, kinds)
  local take = state and is_owned_by(owner)
  for _, kind in ipairs(kinds) do
    local staged = payload_key(kind) .. ':' .. owner
    if take then redis.call('RENAME', staged, payload_key(kind)) else redis.call('UNLINK', staged) end
  end
end

-- Finish the stage: the job enters `next_state`. `digest` identifies the model that computed the result, if the stage
-- knows it; `stored` are the bytes that it has stored. Further arguments are the kinds of the staged payloads.
function transitions.finish(owner, next_state, digest, stored, ...)
  take_payloads(owner, {...})
  if state == next_state and redis.call('HGET', job, 'owner') == owner then return 'ok' end -- the answer was lost
  if not state or not is_owned_by(owner) then return state or 'unknown' end
  if next_state == names.state.embedded then redis.call('PERSIST', payload_key(names.payload.fields)) end
  if digest == '' then
    enter(next_state, nil, 'stored', stored)
  else
    enter(next_state, nil, 'stored', stored, 'digest', digest)
  end
  return 'ok'
end

-- Split a stack: make each of its planes a job, after which the stack enters its second stage. `new_planes` is JSON: see
-- `create_plane`. Further arguments are as in `finish`.
function transitions.split(owner, new_planes, digest, ...)
  take_payloads(owner, {...})
  if state == names.state.embedded and redis.call('HGET', job, 'owner') == owner then return 'ok' end -- as in `finish`
  if not state or not is_owned_by(owner) then return state or 'unknown' end
  split(new_planes, digest)
  return 'ok'
end
