-- Part 4: what ended jobs still hold.
-- Their images and results have a bound of their own, `max_ended_bytes`. Beyond it, images go before their time, since
-- nobody needs them: those that expire first, which are those of failed jobs.

-- Sorted sets of `bytes id`, by the time at which these payloads of an ended job expire: its image, and what is needed
-- (results, and all that a dead letter has). A string: the sum of their bytes.
local held_images, held_results, held_bytes = prefix .. 'held:images', prefix .. 'held:results', prefix .. 'held:bytes'

local function change_held(bytes) return redis.call('INCRBY', held_bytes, string.format('%d', bytes)) end

-- The bytes of the image and of what is needed that a job holds in its final state. The payloads of a cancelled job are
-- dropped.
local function held_by(final, bytes, stored)
  if final == names.state.dead then return 0, bytes + stored end
  if final == names.state.cancelled then return 0, 0 end
  return bytes, final == names.state.done and stored or 0
end

-- Take entries out of one of the sets; returns the ids of their jobs.
local function take_out(set, entries)
  local ids, freed = {}, 0
  for _, entry in ipairs(entries) do
    local bytes, of = string.match(entry, '^(%d+) (.*)$')
    table.insert(ids, of)
    freed = freed + bytes
  end
  if #ids > 0 then
    redis.call('ZREM', set, unpack(entries))
    change_held(-freed)
  end
  return ids
end

-- Forget what has expired, and drop images as long as there is too much. Returns the ids of the images that are gone,
-- which a store other than Redis has to drop, and how many bytes are still too many.
local function shed()
  local function due(set) return redis.call('ZRANGEBYSCORE', set, '-inf', text(now), 'LIMIT', 0, SWEEP) end
  take_out(held_results, due(held_results))
  local gone = take_out(held_images, due(held_images))
  local over = tonumber(redis.call('GET', held_bytes) or 0) - config.max_ended_bytes
  for _, entry in ipairs(over > 0 and redis.call('ZRANGE', held_images, 0, SWEEP - 1) or {}) do
    if over <= 0 then break end
    local of = take_out(held_images, {entry})[1]
    redis.call('UNLINK', payload_of(of, names.payload.image))
    table.insert(gone, of)
    over = over - string.match(entry, '^%d+')
  end
  return gone, over
end

-- Count what a job holds that has just ended and is kept for `seconds`.
local function hold(final, seconds, bytes, stored)
  local image, needed = held_by(final, bytes, stored)
  local image_s = final == names.state.failed and math.min(seconds, config.failed_input_s) or seconds
  local added = 0
  if image > 0 then added = added + image * redis.call('ZADD', held_images, text(now + image_s), image .. ' ' .. id) end
  if needed > 0 then added = added + needed * redis.call('ZADD', held_results, text(now + seconds), needed .. ' ' .. id) end
  if added > 0 and change_held(added) > config.max_ended_bytes and names.in_redis then shed() end
end

-- An ended job is deleted, or goes on.
local function let_go()
  local bytes, stored = unpack(redis.call('HMGET', job, 'bytes', 'stored'))
  local image, needed = held_by(state, tonumber(bytes or 0), tonumber(stored or 0))
  local freed = 0
  if image > 0 then freed = freed + image * redis.call('ZREM', held_images, image .. ' ' .. id) end
  if needed > 0 then freed = freed + needed * redis.call('ZREM', held_results, needed .. ' ' .. id) end
  if freed > 0 then change_held(-freed) end
end
