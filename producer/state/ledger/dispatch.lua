-- Part 7: run the transition.
local name = ARGV[1]

-- A full Redis refuses a script whose first write needs memory. Transitions that move or free jobs must go through:
-- they begin with a write that needs none.
if name ~= 'create' and name ~= 'requeue' and name ~= 'overtaken' then redis.call('DEL', prefix .. 'nothing') end
return transitions[name](unpack(ARGV, 3))
