-- The ledger's script, part 1 of 12: its arguments, names and clock. One call runs one transition, atomically.
-- KEYS[1]  the hash of the job
-- ARGV[1]  the name of the transition, a function of the table `transitions`
-- ARGV[2]  the id of the job; empty if the transition is about a queue
-- ARGV[3…] the transition's own arguments, which its function names
--
-- Two tables stand before this part; `script.py` writes them:
-- names    prefix, keys, max_endings, events; stage_of[state]; waiting, working, task [stage]; queue[stage], by lane if the stage
--          has lanes; fixed and varied, the lanes; priorities; state and payload, the allowed values; stale_s;
--          large[stage], the work of a large job;
--          in_redis, whether payloads are in this Redis
-- config   the fields of `LedgerConfig`
local job, id = KEYS[1], ARGV[2]
local keys, prefix = names.keys, names.prefix
local stage_of, waiting, working = names.stage_of, names.waiting, names.working

local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000 -- seconds since 1970

local SWEEP = 1000 -- the number of jobs that one call looks at, at most
local transitions = {}

-- A full Redis refuses a script whose first write needs memory. Transitions that move or free jobs must go through:
-- they begin with this write, which needs none.
local function allow_when_full() redis.call('DEL', prefix .. 'nothing') end

-- A time as Redis stores it: a number of 16 digits would lose its microseconds in Lua's own format.
local function text(time) return string.format('%.6f', time) end
local function job_key(of) return prefix .. 'job:' .. of end
local function payload_of(of, kind) return prefix .. 'payload:' .. of .. ':' .. kind end
local function payload_key(kind) return payload_of(id, kind) end

-- The state of the job before the transition (false for an unknown job), and its work: pixels times views.
local state, work
local function look()
  state, work = unpack(redis.call('HMGET', job, 'state', 'work'))
  work = tonumber(work or 0)
end
look()

-- Call a function as if the script had been called for another job.
local function as_job(other, act, ...)
  local own_job, own_id, own_state, own_work = job, id, state, work
  job, id = job_key(other), other
  look()
  act(...)
  job, id, state, work = own_job, own_id, own_state, own_work
end
