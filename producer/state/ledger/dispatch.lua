-- Part 12: run the transition.
local name = ARGV[1]

local needs_memory = {create = true, create_many = true, split = true, share = true, requeue = true, overtaken = true}
if not needs_memory[name] and name ~= 'forbidden' then allow_when_full() end
return transitions[name](unpack(ARGV, 3))
