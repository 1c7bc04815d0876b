-- Part 8: run the transition.
local name = ARGV[1]

-- A full Redis refuses a script whose first write needs memory. Transitions that move or free jobs must go through:
-- they begin with a write that needs none.
local needs_memory = {create = true, split = true, requeue = true, overtaken = true}
if not needs_memory[name] then redis.call('DEL', prefix .. 'nothing') end
return transitions[name](unpack(ARGV, 3))
