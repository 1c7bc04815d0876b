-- Part 11: what this Redis user may not do. A script that Redis stops half-way keeps what it has written.

-- Those of the commands that are refused; `uses` is JSON, pairs of a command and a key or channel. Redis 6 can't tell.
function transitions.forbidden(uses)
  local refused = {}
  for _, use in ipairs(redis.acl_check_cmd and cjson.decode(uses) or {}) do
    local command, name = unpack(use)
    local words = {}
    for word in string.gmatch(command, '[^|]+') do table.insert(words, word) end -- `SCRIPT|EXISTS`
    if name ~= '' then table.insert(words, name) end
    if not redis.acl_check_cmd(unpack(words)) then table.insert(refused, use) end
  end
  return refused
end
