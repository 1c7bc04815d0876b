-- Part 10: the transitions of the reconciler.

-- A lease has run out: its owner is dead, or as good as dead.
function transitions.reclaim()
  local expiry = redis.call('ZSCORE', keys.leases, id)
  if not expiry or tonumber(expiry) > now then return 'kept' end
  if not state or not stage_of[state] then
    redis.call('ZREM', keys.leases, id)
    return state or 'unknown'
  end
  if redis.call('HDEL', job, 'paused') == 1 then -- the worker was not at work on it
    uncount_attempt('again')
    return 'ok'
  end
  redis.call('HSET', job, 'suspect', 1)
  try_again('its worker stopped renewing the lease', 'again')
  return 'ok'
end

-- The time at which the oldest message of a list was sent, or now if the list is empty; nil if it is no message of
-- ours, which tells nothing about the messages before it.
local function served_up_to(list)
  local oldest = redis.call('LINDEX', list, -1)
  if not oldest then return now end
  local read, message = pcall(cjson.decode, oldest)
  return tonumber(read and type(message) == 'table' and type(message.headers) == 'table' and message.headers.sent)
end

-- The waiting jobs of a queue whose message is lost, each followed by the list that it is missing from. Workers take
-- messages in the order of sending. So a job whose message was sent before the oldest one in the list has none there,
-- however long the list is. Jobs sent to in the last `grace_s` seconds are left out: a worker may be about to claim
-- them. `resend` sends the message.
function transitions.overtaken(queue, grace_s)
  local lost, sent, recent = {}, sent_key(queue), now - tonumber(grace_s)
  if redis.call('EXISTS', sent) == 0 then return lost end
  for priority = 0, names.priorities - 1 do
    local list = list_of(queue, priority)
    local before = served_up_to(list)
    local below = before and '(' .. text(math.min(before, recent)) or '-inf'
    for _, each in ipairs(redis.call('ZRANGEBYSCORE', sent, '-inf', below, 'LIMIT', 0, SWEEP)) do
      if redis.call('HGET', job_key(each), 'list') == list then
        table.insert(lost, each)
        table.insert(lost, list)
      end
    end
  end
  return lost
end

-- Send a lost message again; `list` is the one that it is missing from.
function transitions.resend(list)
  local stage = stage_of[state or '']
  if not stage or state ~= waiting[stage] or redis.call('HGET', job, 'list') ~= list then return state or 'unknown' end
  send_again(id, stage)
  return 'ok'
end

-- Fill a queue: messages may have been taken from it without a claim, and large jobs may be gone or have ended in line.
function transitions.admit(queue)
  forget_large(queue)
  admit(queue)
  return 'ok'
end

-- Forget and drop what ended jobs hold beyond their time, or beyond the bound; returns the ids of images that are gone.
function transitions.shed() return (shed()) end

-- The delay before the next attempt is over.
function transitions.resume()
  local due = redis.call('ZSCORE', keys.delayed, id)
  if not due or tonumber(due) > now then return 'kept' end
  redis.call('ZREM', keys.delayed, id)
  local stage = stage_of[state or '']
  if not stage or state ~= waiting[stage] then return state or 'unknown' end
  send_again(id, stage)
  return 'ok'
end

-- The job's time is over. A stage that has begun may finish.
function transitions.expire()
  local stage = stage_of[state or '']
  if stage and state == waiting[stage] then
    expire(stage)
    return 'ok'
  end
  if not stage then redis.call('ZREM', keys.expiring, id) end
  return state or 'unknown'
end
