-- Part 3: how a waiting job gets its turn.
-- A job waits in a *line*: the jobs of one client and priority for one queue, oldest first. Clients of one priority take
-- turns by work, not by number of jobs (self-clocked fair queuing, Golestani 1994). A client's *tag* is where it will
-- stand when the first job of its line has gone: its tag before or the clock, whichever is later, and the job's work.
-- The lowest tag goes next, and the clock is the tag of the job that went last. So a newcomer begins where the others
-- are, without credit for the time before, and a large job waits until the others have had as much work as it has.

local UNIT = 65536 -- the work of the smallest job, as far as turns are concerned: pixels times views
local function cost(of_work) return math.max(1, of_work / UNIT) end

-- A list: the jobs of one line, each with the time since when it waits, and its work.
local function line_key(queue, priority, client)
  return prefix .. 'line:' .. queue .. ':' .. priority .. ':' .. client
end
local function read_entry(entry)
  local since, of_work, of = string.match(entry, '^(%S+) (%S+) (%S+)$')
  return tonumber(since), tonumber(of_work), of
end

-- A sorted set: the clients of one priority that have a line, by their tags, and the clock. If the first job of its line
-- is a large one, a client's name ends with a mark. A set: the priorities that have lines.
local CLOCK, MARK = ':clock', ':large'
local function turns_key(queue, priority) return prefix .. 'turns:' .. queue .. ':' .. priority end
local function lined_key(queue) return prefix .. 'lined:' .. queue end
local function marked(client, queue, of_work) return is_large(queue, of_work) and client .. MARK or client end
local function is_marked(member) return string.sub(member, -#MARK) == MARK end
local function clock_of(turns) return tonumber(redis.call('ZSCORE', turns, CLOCK) or 0) end

-- The priority (0 first) of a job that has waited since a time: one step higher for every `age_s` seconds.
local function aged_priority(priority, since)
  local waited = math.max(0, now - since) -- the clock may have been set back
  return math.max(0, priority - math.floor(waited / config.age_s))
end

-- The turn of one client, with the first job of its line.
local function turn_of(queue, priority, member, tag)
  local client = is_marked(member) and string.sub(member, 1, -#MARK - 1) or member
  local since, of_work, of = read_entry(redis.call('LINDEX', line_key(queue, priority, client), 0))
  return {priority = priority, client = client, member = member, tag = tonumber(tag), work = of_work, job = of,
    aged = aged_priority(tonumber(priority), since)}
end

-- The first turn of one priority from a rank on; nil if all of them wait for a place for a large job.
local function first_turn(queue, priority, first, last)
  local members = redis.call('ZRANGE', turns_key(queue, priority), first, last, 'WITHSCORES')
  for n = 1, #members, 2 do
    if members[n] ~= CLOCK and (not is_marked(members[n]) or has_place(queue)) then
      return turn_of(queue, priority, members[n], members[n + 1])
    end
  end
end

local FEW = 4 -- the number of turns that are looked at first: nearly always, the next one is among them

-- The turn that is next, by aged priority and then by priority; nil if there is none. Ageing serves every job some day.
local function next_turn(queue)
  local best
  for _, priority in ipairs(redis.call('SMEMBERS', lined_key(queue))) do
    local turn = first_turn(queue, priority, 0, FEW - 1) or first_turn(queue, priority, FEW, -1)
    if turn and (not best or turn.aged < best.aged
      or turn.aged == best.aged and tonumber(priority) < tonumber(best.priority)) then best = turn end
  end
  return best
end

-- Take a turn's job out of its line. If it was `sent`, the clock goes on, else the client stands where it stood before.
local function end_turn(queue, turn, sent)
  local line, turns = line_key(queue, turn.priority, turn.client), turns_key(queue, turn.priority)
  redis.call('LPOP', line)
  local turn_clock = math.max(clock_of(turns), sent and turn.tag or 0)
  local stands = sent and turn_clock or math.max(turn_clock, turn.tag - cost(turn.work))
  local following = redis.call('LINDEX', line, 0)
  local member
  if following then
    local _, of_work = read_entry(following)
    member = marked(turn.client, queue, of_work)
    redis.call('ZADD', turns, text(turn_clock), CLOCK, text(stands + cost(of_work)), member)
  end
  if member == turn.member then return end
  redis.call('ZREM', turns, turn.member)
  if following then return end
  if redis.call('ZCARD', turns) > 1 then
    redis.call('ZADD', turns, text(turn_clock), CLOCK)
  else
    redis.call('DEL', turns)
    redis.call('SREM', lined_key(queue), turn.priority)
  end
end

-- The stage for which a job from a line still needs a message; nil if it was cancelled, has moved on (an older message
-- woke its worker), or waits for the delay of its next attempt.
local function stage_to_wake(of, queue)
  local its_state = redis.call('HGET', job_key(of), 'state')
  local stage = stage_of[its_state or '']
  local waits = stage and waiting[stage] == its_state and queue_of(of, stage) == queue
    and not redis.call('ZSCORE', sent_key(queue), of) and not redis.call('ZSCORE', keys.delayed, of)
  return waits and stage or nil
end

-- Fill Celery's queue from the lines, up to the window.
local function admit(queue)
  if redis.call('EXISTS', lined_key(queue)) == 0 then return end
  local room = config.window - in_flight(queue)
  for _ = 1, SWEEP do
    if room <= 0 then return end
    local turn = next_turn(queue)
    if not turn then return end
    if not fits(queue, turn.work) then return end
    local stage = stage_to_wake(turn.job, queue)
    end_turn(queue, turn, stage ~= nil)
    if stage then
      send(turn.job, stage, queue, turn.aged)
      room = room - 1
    end
  end
end

-- Forget large jobs that are not in the queue's hands any more, and those first in a line that have ended: nothing else
-- looks at them while they wait for a place.
local function forget_large(queue)
  for _, each in ipairs(redis.call('SMEMBERS', large_key(queue))) do
    local stage = stage_of[redis.call('HGET', job_key(each), 'state') or '']
    if not stage or queue_of(each, stage) ~= queue then redis.call('SREM', large_key(queue), each) end
  end
  for _, priority in ipairs(redis.call('SMEMBERS', lined_key(queue))) do
    local turns = turns_key(queue, priority)
    for _, member in ipairs(redis.call('ZRANGE', turns, 0, SWEEP - 1)) do
      local tag = is_marked(member) and redis.call('ZSCORE', turns, member)
      for _ = 1, SWEEP do
        local turn = tag and turn_of(queue, priority, member, tag)
        if not turn or stage_to_wake(turn.job, queue) then break end
        end_turn(queue, turn, false)
        tag = redis.call('ZSCORE', turns, member)
      end
    end
  end
end

-- Enter a job at the end of its line.
local function enter_line(of, queue, priority, client, since, of_work)
  local turns = turns_key(queue, priority)
  if redis.call('RPUSH', line_key(queue, priority, client), since .. ' ' .. of_work .. ' ' .. of) > 1 then return end
  local turn_clock = clock_of(turns)
  redis.call('ZADD', turns, text(turn_clock), CLOCK, text(turn_clock + cost(of_work)), marked(client, queue, of_work))
  redis.call('SADD', lined_key(queue), priority)
end

-- Send a message for this job, which has begun to wait, or append it to its line.
local function line_up(stage)
  local queue = queue_of(id, stage)
  local priority, client = unpack(redis.call('HMGET', job, 'priority', 'client'))
  if redis.call('EXISTS', lined_key(queue)) == 0 and in_flight(queue) < config.window and fits(queue, work) then
    send(id, stage, queue, tonumber(priority))
    return
  end
  enter_line(id, queue, priority, client, text(now), work)
  admit(queue)
end

-- Put a job that had its turn at the front of its line, with the time since when it waits; `admit` has to follow.
local function line_up_first(of, stage, since)
  local priority, client, of_work = unpack(redis.call('HMGET', job_key(of), 'priority', 'client', 'work'))
  of_work = tonumber(of_work or 0)
  local queue = queue_of(of, stage)
  local line, turns = line_key(queue, priority, client), turns_key(queue, priority)
  local first = redis.call('LINDEX', line, 0)
  if not first then return enter_line(of, queue, priority, client, since, of_work) end
  local _, its_work = read_entry(first)
  local member = marked(client, queue, its_work)
  local tag = tonumber(redis.call('ZSCORE', turns, member)) - cost(its_work) + cost(of_work)
  redis.call('LPUSH', line, since .. ' ' .. of_work .. ' ' .. of)
  redis.call('ZREM', turns, member)
  redis.call('ZADD', turns, text(tag), marked(client, queue, of_work))
end

-- Send another message for a job that had its turn (its message or its worker was lost). It keeps its age: by its
-- priority alone, every aged job in a line would go before it.
local function send_again(of, stage)
  local priority, since = unpack(redis.call('HMGET', job_key(of), 'priority', 'time:' .. waiting[stage]))
  send(of, stage, queue_of(of, stage), aged_priority(tonumber(priority), tonumber(since)))
end

-- Remove a job from everything that says it waits. Its entry in a line is skipped when its turn comes.
local function leave_queue(of, queue)
  redis.call('ZREM', waits_key(queue), of)
  redis.call('ZREM', sent_key(queue), of)
  redis.call('ZREM', keys.delayed, of)
  redis.call('HDEL', job_key(of), 'list')
end
