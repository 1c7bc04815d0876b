-- Part 6: stacks, whose planes are jobs of their own.
-- A stack's record has `planes` (their number), `first_plane` (the number of the first) and `open` (how many have not
-- ended). It waits in the state before its second stage until none is open; each plane's record has `parent`, its id.

local function plane_id(number) return string.format('%s-%05d', id, number) end

-- Call a function for each plane of the job, as if the script had been called for that; none if the job is no stack.
local function for_each_plane(act)
  local planes, first = unpack(redis.call('HMGET', job, 'planes', 'first_plane'))
  if not planes then return end
  for number = tonumber(first), first + planes - 1 do as_job(plane_id(number), act) end
end

local function drop_payloads()
  for _, kind in pairs(names.payload) do redis.call('UNLINK', payload_key(kind)) end
end

-- Forget an ended job.
local function forget()
  redis.call('ZREM', keys.dead, id)
  redis.call('ZREM', keys.kept, id)
  if state then let_go() end
  local key = redis.call('HGET', job, 'key')
  if key then redis.call('DEL', key) end
  redis.call('DEL', job)
end

-- Whether a stack waits for its planes.
local function waits_for_planes(of)
  local its_state, open = unpack(redis.call('HMGET', job_key(of), 'state', 'open'))
  return its_state == names.state.embedded and tonumber(open or 0) > 0
end

-- All planes have ended: the stack gets in line for its second stage.
local function line_up_stack()
  local stage = stage_of[state]
  redis.call('ZREM', keys.stacks, id)
  redis.call('ZADD', waits_key(queue_of(id, stage)), text(now), id)
  line_up(stage)
end

-- A plane has ended before its stack: its result is kept until that ends, and its image only if it may be tried again.
function plane_ended(final, parent)
  if final ~= names.state.dead then
    redis.call('UNLINK', payload_key(names.payload.image), payload_key(names.payload.fields))
  end
  as_job(parent, function()
    if not waits_for_planes(id) then return end
    if redis.call('HINCRBY', job, 'open', -1) == 0 then line_up_stack() end
    redis.call('PUBLISH', job, state) -- who waits for the stack looks how far it is
  end)
end

local function cancel_plane(stack_final)
  fail(names.state.cancelled, 'JobCancelled', 'cancelled while ' .. state .. ': its stack is ' .. stack_final)
  redis.call('PUBLISH', keys.cancelled, id)
end

-- A stack has ended. Those of its planes that have not are cancelled. A stack that is done needs no record of them, and
-- only a dead letter may need their results again.
function stack_ended(final, seconds)
  redis.call('ZREM', keys.stacks, id)
  for_each_plane(function()
    if stage_of[state or ''] then
      cancel_plane(final)
    elseif state and final ~= names.state.done then
      local has = final == names.state.dead and redis.call('HMGET', job, 'bytes', 'stored') or {}
      local has_image = state == names.state.dead -- other planes' are dropped when they end
      keep(state, math.max(seconds, retention_of(state)), has_image and has[1], has[2])
    end
    if final ~= names.state.dead then drop_payloads() end
    if final == names.state.done then forget() end
  end)
end

-- Keep the results of the planes until the stack ends again.
local function keep_planes()
  for_each_plane(function()
    if state then let_go() end
    redis.call('PERSIST', job)
    redis.call('ZREM', keys.kept, id)
    for _, kind in pairs(names.payload) do redis.call('PERSIST', payload_key(kind)) end
  end)
end

-- Enter a plane as a queued job. `new` has number, spec (JSON), argsrepr, shape, bytes, work. The bounds of the queue do not
-- refuse it, since its stack was admitted, but count it.
local function create_plane(new, parent, priority, client, expires)
  redis.call('HSET', job, 'spec', new.spec, 'argsrepr', new.argsrepr, 'priority', priority,
    'lane', lane_of(new.shape), 'client', client, 'bytes', new.bytes, 'work', new.work, 'parent', parent)
  work = new.work
  if expires then redis.call('ZADD', keys.expiring, expires, id) end
  count(1, new.bytes, client)
  redis.call('PERSIST', payload_key(names.payload.image))
  enter(names.state.queued)
end

local RECOUNT_S = 10 -- the planes of a waiting stack are counted this often, in case that Redis has lost some

-- Make each plane a job. `new_planes` is a JSON list for `create_plane`, with consecutive numbers.
local function split(new_planes, digest)
  local planes = cjson.decode(new_planes)
  local priority, client = unpack(redis.call('HMGET', job, 'priority', 'client'))
  local parent, expires = id, redis.call('ZSCORE', keys.expiring, id)
  redis.call('HSET', job, 'planes', #planes, 'open', #planes, 'first_plane', planes[1].number, -- refused if Redis is full
    'digest', digest)
  redis.call('PERSIST', payload_key(names.payload.fields))
  enter(names.state.embedded, 'unsent')
  redis.call('ZADD', keys.stacks, text(now + RECOUNT_S), id)
  for _, new in ipairs(planes) do
    as_job(plane_id(new.number), create_plane, new, parent, priority, client, expires)
  end
end

-- Count the open planes of a stack that waits for them: a Redis that crashed may have lost some. 'ok' if none is left.
function transitions.recount()
  local due = redis.call('ZSCORE', keys.stacks, id)
  if not due or tonumber(due) > now then return 'kept' end
  if not waits_for_planes(id) then
    redis.call('ZREM', keys.stacks, id)
    return state or 'unknown'
  end
  local open = 0
  for_each_plane(function() if stage_of[state or ''] then open = open + 1 end end)
  redis.call('HSET', job, 'open', open)
  if open == 0 then
    line_up_stack()
    return 'ok'
  end
  redis.call('ZADD', keys.stacks, text(now + RECOUNT_S), id)
  return 'kept'
end
