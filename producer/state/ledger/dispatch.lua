-- Part 7: run the transition.
-- A full Redis refuses a script whose first write needs memory. Transitions that move or free jobs must go through: they
-- begin with a write that needs none.
if ARGV[1] ~= 'create' and ARGV[1] ~= 'requeue' and ARGV[1] ~= 'overtaken' then redis.call('DEL', prefix .. 'nothing') end
return transitions[ARGV[1]](unpack(ARGV, 3))
