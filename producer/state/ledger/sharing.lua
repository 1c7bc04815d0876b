-- Part 7: jobs that share work.
-- Jobs that would compute the same (image, model as requested, options, of one client) have the same key in the field
-- `same`. It holds the id of their *leader*, which computes the result or has it. The others are its *twins*, with the
-- field `twin`. When a worker claims a twin, the twin takes a copy of the leader's result, or *follows* the leader: it is
-- queued without a message until the leader ends. Or it becomes the leader itself, and computes.

-- List: the jobs that follow the leader, oldest first. Those that ended meanwhile stay in it until then.
local function followers_key(same) return same .. ':followers' end

local FOLLOW_S = 10 -- a follower's leader is looked at this often, in case that nothing told of its end
local FETCH_S = 60 -- seconds for which a result must still be kept: a store of its own takes time to copy it

-- Enter a new job among those that compute the same: as a twin if there is a leader, else as the leader.
local function join_equals(same)
  local leader = redis.call('GET', same)
  local its_state = leader and redis.call('HGET', job_key(leader), 'state')
  if its_state and (stage_of[its_state] or its_state == names.state.done) then
    redis.call('HSET', job, 'same', same, 'twin', 1)
  else
    redis.call('HSET', job, 'same', same)
    redis.call('SET', same, id)
  end
end

-- Whether a leader in this state is past the queue, so that its followers wait for nothing that they could overtake.
local function is_under_way(its_state) return stage_of[its_state or ''] and its_state ~= names.state.queued end

-- Put a follower at the front of its line; returns the queue, which `admit` has to fill, or nil if it does not follow.
local function wake(follower)
  local follows = redis.call('ZREM', keys.following, follower) == 1
  local its_state, since = unpack(redis.call('HMGET', job_key(follower), 'state', 'time:' .. names.state.queued))
  if not follows or its_state ~= names.state.queued then return nil end
  local stage = stage_of[its_state]
  local queue = queue_of(follower, stage)
  redis.call('ZADD', waits_key(queue), text(now), follower)
  line_up_first(follower, stage, since)
  return queue
end

-- Wake all followers: they take copies. The reconciler wakes those beyond the first thousand.
local function wake_all(same)
  local followers, queues = redis.call('LRANGE', followers_key(same), 0, SWEEP - 1), {}
  if #followers == 0 then return end
  redis.call('UNLINK', followers_key(same))
  for n = #followers, 1, -1 do queues[wake(followers[n]) or ''] = true end
  queues[''] = nil
  for queue in pairs(queues) do admit(queue) end
end

-- Wake the first follower as the new leader: one computes, and the others go on waiting.
local function wake_heir(same)
  local heir = redis.call('LPOP', followers_key(same))
  while heir do
    local queue = wake(heir)
    if queue then
      redis.call('SET', same, heir)
      admit(queue)
      return
    end
    heir = redis.call('LPOP', followers_key(same))
  end
  redis.call('DEL', same)
end

-- A job has ended that is kept for `seconds`: if it is the leader, its followers go on.
function leader_ended(final, same, seconds)
  if redis.call('GET', same) ~= id then return end
  if final ~= names.state.done then
    wake_heir(same)
  else
    redis.call('EXPIRE', same, seconds)
    wake_all(same)
  end
end

-- Become the leader, in the place of one whose result is of no use, or that this job overtakes.
local function lead(same, leader, its_state)
  allow_when_full()
  if its_state == names.state.queued then redis.call('HSET', job_key(leader), 'twin', 1) end
  redis.call('SET', same, id)
  return {'compute'}
end

local function follow(same)
  allow_when_full()
  uncount_attempt('unsent')
  redis.call('RPUSH', followers_key(same), id)
  redis.call('EXPIRE', followers_key(same), config.retention_s)
  redis.call('ZADD', keys.following, text(now + FOLLOW_S), id)
  return {'follows'}
end

-- Whether the leader's result is kept for long enough.
local function has_result(leader, in_redis)
  if in_redis ~= '1' then return redis.call('TTL', job_key(leader)) > math.min(FETCH_S, config.retention_s / 10) end
  local labels, objects = payload_of(leader, names.payload.labels), payload_of(leader, names.payload.objects)
  return redis.call('EXISTS', labels, objects) == 2
end

-- End this job with a copy of the leader's result. It is the leader from then on, since it is kept for longer.
local function copy_result(leader, same, digest, stored)
  for _, kind in ipairs({names.payload.labels, names.payload.objects}) do
    redis.call('COPY', payload_of(leader, kind), payload_key(kind), 'REPLACE') -- the first is refused if Redis is full
  end
  redis.call('SET', same, id)
  enter(names.state.done, nil, 'digest', digest, 'stored', stored or 0)
  return {'copied'}
end

local function share(same, digest, in_redis)
  local leader = redis.call('GET', same)
  if leader == id then return {'compute'} end
  local fields = leader and redis.call('HMGET', job_key(leader), 'state', 'digest', 'priority', 'stored') or {}
  local its_state, its_digest, its_priority, stored = unpack(fields)
  if its_digest and its_digest ~= digest then return lead(same, leader, its_state) end -- by another version of the model
  if its_state == names.state.done and its_digest and has_result(leader, in_redis) then
    return in_redis == '1' and copy_result(leader, same, digest, stored) or {'copy', leader}
  end
  local behind = its_state == names.state.embedded
    and tonumber(its_priority) > tonumber(redis.call('HGET', job, 'priority')) -- 0 goes first
  if is_under_way(its_state) and not behind then return follow(same) end
  return lead(same, leader, its_state)
end

-- A worker has claimed a twin. `digest` identifies the model that it would compute with; `in_redis` is '1' if payloads are
-- in this Redis. The answer begins with 'copied' (the job is done), 'copy' (the worker has to copy the result of the job
-- that follows), 'follows', 'compute', or the state in which the owner no longer holds the stage.
function transitions.share(owner, digest, in_redis)
  if state == names.state.done and redis.call('HGET', job, 'owner') == owner then return {'copied'} end -- as in `finish`
  if not state or not is_owned_by(owner) then return {state or 'unknown'} end
  return share(redis.call('HGET', job, 'same'), digest, in_redis)
end

-- The leader of a follower may be gone, or wait in the queue itself: then the follower goes on.
function transitions.unfollow()
  local due = redis.call('ZSCORE', keys.following, id)
  if not due or tonumber(due) > now then return 'kept' end
  local leader = redis.call('GET', redis.call('HGET', job, 'same') or '')
  if state == names.state.queued and leader and is_under_way(redis.call('HGET', job_key(leader), 'state')) then
    redis.call('ZADD', keys.following, text(now + FOLLOW_S), id)
    return 'kept'
  end
  local queue = wake(id)
  if not queue then return state or 'unknown' end
  admit(queue)
  return 'ok'
end
