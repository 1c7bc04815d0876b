-- Part 10: what this Redis user may not do. A script that Redis stops half-way keeps what it has written.

-- Those of the commands that are refused; `uses` is JSON, pairs of a command and a key or channel. Redis 6 can't tell.
function transitions.forbidden(uses)
  local refused = {}
  for _, use in ipairs(redis.acl_check_cmd and cjson.decode(uses) or {}) do
    local command, name = unpack(use)
    local permitted = name == '' and redis.acl_check_cmd(command) or name ~= '' and redis.acl_check_cmd(command, name)
    if not permitted then table.insert(refused, use) end
  end
  return refused
end
