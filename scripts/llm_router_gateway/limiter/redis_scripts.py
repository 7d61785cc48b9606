"""What Redis and Valkey do in one step each: `lease_table` in Lua.

Each script takes the time from the engine itself, names every key that it touches, and keeps all of a budget's keys in one
slot of a cluster. The words of an answer are those of `leases`. A row is "number spent_usd spent_tokens kept_usd kept_tokens";
an account's sums are beside its rows, so that no script reads them all. Arguments and answers are one text each, their values
between spaces: a client library takes longer over thirty arguments than over the rest of a call. The accounts of an earlier
epoch are as good as absent.
"""

from __future__ import annotations

from .lease_table import PRESENT_MS, QUARANTINE_MS, SILENT_MS, SLOT_MS

ACCOUNT_KEPT_S = 2 * 86_400  # after the end of its period

COMMON = f"""
local QUARANTINE, SILENT, PRESENT, SLOT = {QUARANTINE_MS}, {SILENT_MS}, {PRESENT_MS}, {SLOT_MS}
local clock = redis.call('TIME')
local now_us = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
local now = math.floor(now_us / 1000)
local num = tonumber
local function whole(value) return string.format('%.0f', value) end
local ARGS = {{}}
for value in string.gmatch(ARGV[1], '%S+') do ARGS[#ARGS + 1] = value end
local function reply(values)
  for i, value in ipairs(values) do
    if type(value) == 'number' then values[i] = whole(value) end
  end
  return table.concat(values, ' ')
end
local function run_id()
  local server, replication = redis.pcall('INFO', 'server'), redis.pcall('INFO', 'replication')
  if type(server) ~= 'string' or type(replication) ~= 'string' then return '' end
  return (string.match(server, 'run_id:(%x+)') or '') .. (string.match(replication, 'master_replid:(%x+)') or '')
end
local function is_open(key, waits, reported)
  local epoch = redis.call('HMGET', key, 'open', 'began')
  if epoch[1] == '1' then return true end
  local since = now - num(epoch[2])
  if since >= 0 and since < QUARANTINE then return false end
  if since < 0 or since >= SILENT or #redis.call('SDIFF', waits, reported) == 0 then
    redis.call('HSET', key, 'open', '1')
    return true
  end
  return false
end
local function account(key, epoch, till)
  if redis.call('HGET', key, 'epoch') ~= epoch then
    redis.call('DEL', key)
    redis.call('HSET', key, 'epoch', epoch, 'spent_usd', 0, 'spent_tokens', 0, 'kept_usd', 0, 'kept_tokens', 0, 'active', 0)
    redis.call('EXPIREAT', key, till + {ACCOUNT_KEPT_S})
  end
end
local function row_of(key, holder)
  local row = redis.call('HGET', key, 'h:' .. holder)
  if not row then return {{0, 0, 0, 0, 0}}, false end
  local found = {{}}
  for value in string.gmatch(row, '%S+') do found[#found + 1] = num(value) end
  return found, true
end
local function put_row(key, holder, old, new)
  redis.call('HSET', key, 'h:' .. holder, string.format('%.0f %.0f %.0f %.0f %.0f', unpack(new)))
  local names = {{'', 'spent_usd', 'spent_tokens', 'kept_usd', 'kept_tokens'}}
  for i = 2, 5 do
    if new[i] ~= old[i] then redis.call('HINCRBY', key, names[i], whole(new[i] - old[i])) end
  end
  local was, is = old[4] > 0 or old[5] > 0, new[4] > 0 or new[5] > 0
  if was ~= is then redis.call('HINCRBY', key, 'active', is and 1 or -1) end
end
"""

BEAT = """
-- KEYS: epoch, seen, waits, reported. ARGS: holder, epoch, tick, is_complete, lost, known ...
local holder, given, tick = ARGS[1], num(ARGS[2]), num(ARGS[3])
local run = run_id()
local known = redis.call('HMGET', KEYS[1], 'number', 'run', 'tick')
local number = num(known[1] or 0)
local is_lost = not known[1] or known[2] ~= run or given > number or (given == number and tick > num(known[3]))
if is_lost or num(ARGS[5]) == number then
  number = math.max(now, given + 1, known[1] and number + 1 or 0)
  redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
  redis.call('HSET', KEYS[1], 'number', whole(number), 'run', run, 'began', whole(now), 'tick', 0, 'open', 0)
end
tick = redis.call('HINCRBY', KEYS[1], 'tick', 1)
redis.call('ZADD', KEYS[2], whole(now), holder)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', '(' .. whole(now - SILENT))
local open = is_open(KEYS[1], KEYS[3], KEYS[4])
if not open then
  for i = 6, #ARGS do redis.call('SADD', KEYS[3], ARGS[i]) end
  if given == number and ARGS[4] == '1' then redis.call('SADD', KEYS[4], holder) end
  open = is_open(KEYS[1], KEYS[3], KEYS[4])
end
local count = redis.call('ZCOUNT', KEYS[2], whole(now - PRESENT), '+inf')
return reply({now, number, tick, open and 1 or 0, count, unpack(redis.call('ZRANGE', KEYS[2], 0, -1))})
"""

EXCHANGE = """
-- KEYS: epoch, waits, reported, accounts ...
-- ARGS: holder, epoch, tick, ledger, need, need, want, want, then ten for each account
local holder, given, tick, ledger = ARGS[1], num(ARGS[2]), num(ARGS[3]), ARGS[4]
local need, want = {num(ARGS[5]), num(ARGS[6])}, {num(ARGS[7]), num(ARGS[8])}
local known = redis.call('HMGET', KEYS[1], 'number', 'run', 'tick')
local number = num(known[1] or 0)
if not known[1] or known[2] ~= run_id() or given > number or (given == number and tick > num(known[3])) then
  return reply({'lost', now, number, 0})
end
if given < number then return reply({'rejoin', now, number, num(known[3])}) end
local epoch, parts = whole(number), {}
for i = 1, #KEYS - 3 do
  local part = {key = KEYS[i + 3]}
  local names = {'since', 'till', 'usd', 'tokens', 'number', 'known', 'spent_usd', 'spent_tokens', 'kept_usd', 'kept_tokens'}
  for j, name in ipairs(names) do
    part[name] = num(ARGS[8 + (i - 1) * 10 + j])
  end
  account(part.key, epoch, part.till)
  part.row = row_of(part.key, holder)
  parts[i] = part
end
for _, part in ipairs(parts) do
  if part.known > part.row[1] then return reply({'lost', now, number, num(known[3])}) end
end
tick = redis.call('HINCRBY', KEYS[1], 'tick', 1)
local stale = false
for _, part in ipairs(parts) do
  if part.number > part.row[1] then
    local row = {part.number, part.spent_usd, part.spent_tokens, part.kept_usd, part.kept_tokens}
    put_row(part.key, holder, part.row, row)
    part.row = row
  else
    stale = true
  end
end
local status, at, grant = 'reported', -1, {want[1], want[2]}
if not stale and (need[1] > 0 or need[2] > 0) then
  status = is_open(KEYS[1], KEYS[2], KEYS[3]) and 'granted' or 'waiting'
  for i, part in ipairs(parts) do
    if status ~= 'granted' then break end
    local sums = redis.call('HMGET', part.key, 'spent_usd', 'spent_tokens', 'kept_usd', 'kept_tokens', 'active', 'b:' .. ledger)
    local holders = num(sums[5]) + ((part.row[4] > 0 or part.row[5] > 0) and 0 or 1)
    if now < part.since * 1000 or now >= part.till * 1000 then
      status, at = 'wrong_period', i - 1
    elseif not sums[6] then
      status, at = 'unseeded', i - 1
    else
      for unit, limit in ipairs({part.usd, part.tokens}) do
        if limit >= 0 and need[unit] > 0 and status == 'granted' then
          local free = limit - num(sums[unit]) - num(sums[unit + 2])
          if need[unit] > free then status, at = 'refused', i - 1 end
          grant[unit] = math.min(grant[unit], math.max(need[unit], math.floor(free / (2 * holders))))
        end
      end
    end
  end
end
if status ~= 'granted' then grant = {0, 0} end
for unit = 1, 2 do if need[unit] <= 0 then grant[unit] = 0 end end
local answer = {status, now, number, tick, grant[1], grant[2], at}
for _, part in ipairs(parts) do
  if status == 'granted' then
    local row = {part.row[1], part.row[2], part.row[3], part.row[4] + grant[1], part.row[5] + grant[2]}
    put_row(part.key, holder, part.row, row)
  end
  local sums = redis.call('HMGET', part.key, 'spent_usd', 'spent_tokens', 'kept_usd', 'kept_tokens')
  for i = 1, 4 do answer[#answer + 1] = num(sums[i]) end
end
return reply(answer)
"""

SEED = """
-- KEYS: epoch, accounts ... ARGS: epoch, ledger, then until, usd, tokens for each account
if redis.call('HGET', KEYS[1], 'number') ~= ARGS[1] then return 0 end
for i = 2, #KEYS do
  local at = 3 + (i - 2) * 3
  account(KEYS[i], ARGS[1], num(ARGS[at]))
  if redis.call('HSETNX', KEYS[i], 'b:' .. ARGS[2], ARGS[at + 1] .. ' ' .. ARGS[at + 2]) == 1 then
    redis.call('HINCRBY', KEYS[i], 'spent_usd', ARGS[at + 1])
    redis.call('HINCRBY', KEYS[i], 'spent_tokens', ARGS[at + 2])
  end
end
return 1
"""

LEAVE = """
-- KEYS: epoch, seen, reported. ARGS: holder
redis.call('ZREM', KEYS[2], ARGS[1])
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('SADD', KEYS[3], ARGS[1]) end
return 1
"""

STRANDED = """
-- KEYS: epoch, seen, account. ARGS: epoch, ledger
local epoch = redis.call('HGET', KEYS[1], 'number')
if epoch ~= ARGS[1] or redis.call('HGET', KEYS[3], 'epoch') ~= epoch then return reply({0, 0}) end
local usd, tokens, silent = 0, 0, {}
local all = redis.call('HGETALL', KEYS[3])
for i = 1, #all, 2 do
  local kind, name = string.match(all[i], '^([bh]):(.*)$')
  if kind == 'b' and name == ARGS[2] then
    local base_usd, base_tokens = string.match(all[i + 1], '^(%S+) (%S+)$')
    usd, tokens = usd + num(base_usd), tokens + num(base_tokens)
  elseif kind == 'h' and string.match(name, '^(.*)/[^/]*$') == ARGS[2] then
    local row = row_of(KEYS[3], name)
    usd, tokens = usd + row[2], tokens + row[3]
    if (row[4] > 0 or row[5] > 0) and not redis.call('ZSCORE', KEYS[2], name) then
      silent[#silent + 1] = name
      silent[#silent + 1] = row[4]
      silent[#silent + 1] = row[5]
    end
  end
end
return reply({usd, tokens, unpack(silent)})
"""

WRITE_OFF = """
-- KEYS: seen, account. ARGS: epoch, holder, usd, tokens
if redis.call('HGET', KEYS[2], 'epoch') ~= ARGS[1] or redis.call('ZSCORE', KEYS[1], ARGS[2]) then return 0 end
local old, exists = row_of(KEYS[2], ARGS[2])
if not exists then return 0 end
local usd = math.max(0, math.min(num(ARGS[3]), old[4]))
local tokens = math.max(0, math.min(num(ARGS[4]), old[5]))
put_row(KEYS[2], ARGS[2], old, {old[1], old[2] + usd, old[3] + tokens, 0, 0})
return 1
"""

TAKE = """
-- KEYS: a bucket and its takers for each rate, then the counts and ends of each scope's slots
-- ARGS: holder, number of rates, then capacity, per_s, need, want, back, wait for each; then most, have, need, want
local holder, rates, levels, wait = ARGS[1], num(ARGS[2]), {}, 0
for i = 1, rates do
  local at, key = 3 + (i - 1) * 6, KEYS[i * 2 - 1]
  local capacity, per_s, need = num(ARGS[at]), num(ARGS[at + 1]), num(ARGS[at + 2])
  local bucket = redis.call('HMGET', key, 'level', 'at')
  local level, begin = num(bucket[1] or capacity), num(bucket[2] or now_us)
  local refill = math.floor(math.max(0, now_us - begin) * per_s / 1000000)
  levels[i] = level + refill + num(ARGS[at + 4])
  if levels[i] < capacity then
    begin = math.min(now_us, begin + math.ceil(refill * 1000000 / per_s))
  else
    begin, levels[i] = now_us, capacity
  end
  redis.call('HSET', key, 'level', whole(levels[i]), 'at', whole(begin))
  local full_s = math.min(31536000, math.ceil((capacity - math.min(levels[i], 0) + need) / per_s) + 60)
  redis.call('EXPIRE', key, full_s)
end
for i = 1, rates do
  local at = 3 + (i - 1) * 6
  local per_s, need = num(ARGS[at + 1]), num(ARGS[at + 2])
  local missing, part = math.min(need, num(ARGS[at])) - levels[i], 0
  if missing > 0 and need > 0 then part = math.ceil(missing * 1000000 / per_s) end
  if part > num(ARGS[at + 5]) then return reply({'refused', now_us, part, i - 1}) end
  wait = math.max(wait, part)
end
local first, free = 3 + rates * 6, {}
local scopes = (#ARGS - first + 1) / 4
for i = 1, scopes do
  local at, counts, ends = first + (i - 1) * 4, KEYS[rates * 2 + i * 2 - 1], KEYS[rates * 2 + i * 2]
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', ends, '-inf', whole(now))) do
    redis.call('HDEL', counts, name)
    redis.call('ZREM', ends, name)
  end
  local used, holders, all = 0, 1, redis.call('HGETALL', counts)
  for j = 1, #all, 2 do
    if all[j] ~= holder then
      used = used + num(all[j + 1])
      if num(all[j + 1]) > 0 then holders = holders + 1 end
    end
  end
  local left = num(ARGS[at]) - used - num(ARGS[at + 1])
  if num(ARGS[at + 2]) > 0 and num(ARGS[at + 2]) > left then return reply({'full', now_us, wait, rates + i - 1}) end
  free[i] = {left, holders}
end
local answer = {'granted', now_us, wait, -1}
for i = 1, rates do
  local at, key, takers = 3 + (i - 1) * 6, KEYS[i * 2 - 1], KEYS[i * 2]
  local need, granted = num(ARGS[at + 2]), num(ARGS[at + 2])
  redis.call('ZREMRANGEBYSCORE', takers, '-inf', '(' .. whole(now_us - 1000000))
  if need > 0 then
    redis.call('ZADD', takers, whole(now_us), holder)
    redis.call('EXPIRE', takers, 60)
  end
  if wait == 0 and need <= levels[i] then
    local share = math.floor(levels[i] / (2 * math.max(1, redis.call('ZCARD', takers))) / 1000000) * 1000000
    granted = math.max(need, math.min(num(ARGS[at + 3]), share))
  end
  redis.call('HSET', key, 'level', whole(levels[i] - granted))
  answer[#answer + 1] = granted
end
for i = 1, scopes do
  local at, counts, ends = first + (i - 1) * 4, KEYS[rates * 2 + i * 2 - 1], KEYS[rates * 2 + i * 2]
  local share = math.floor(free[i][1] / (2 * free[i][2]))
  local granted = math.max(num(ARGS[at + 2]), math.min(num(ARGS[at + 3]), share))
  redis.call('HSET', counts, holder, whole(num(ARGS[at + 1]) + granted))
  redis.call('ZADD', ends, whole(now + SLOT), holder)
  redis.call('PEXPIRE', counts, SLOT * 6)
  redis.call('PEXPIRE', ends, SLOT * 6)
  answer[#answer + 1] = granted
end
return reply(answer)
"""

SCRIPTS = {
    name: COMMON + body
    for name, body in {
        "beat": BEAT, "exchange": EXCHANGE, "seed": SEED, "leave": LEAVE, "stranded": STRANDED, "write_off": WRITE_OFF,
        "take": TAKE,
    }.items()
}  # fmt: skip
