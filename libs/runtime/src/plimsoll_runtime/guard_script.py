"""The decision that Redis takes for everybody, on its own clock: rate limits by GCRA, and the circuit breaker.

A pair of round trips becomes one because both live in one script: a call that one of the two refuses takes nothing from the other.
"""

SCRIPT = """
-- KEYS: breaker hash, failures by time, then one key per limit. Times are in microseconds.
-- enter:  ARGV op, token, probe time, then interval, burst and cost of each limit → {entered 0 | probe 1 | open 2 | limited 3, wait, limit},
--         and when it may go, how long until each limit is empty
-- report: ARGV verdict, token, window, failures, cool-down → {nothing 0 | opened 1 | closed 2}
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local token = ARGV[2]
local HOUR = 3600000

local known = redis.call('HMGET', KEYS[1], 'open_until', 'probe', 'probe_until')
local open_until = tonumber(known[1] or '0')

local function open(for_us)
  redis.call('HSET', KEYS[1], 'open_until', string.format('%.0f', now + for_us))
  redis.call('HDEL', KEYS[1], 'probe', 'probe_until')
  redis.call('PEXPIRE', KEYS[1], math.ceil(for_us / 1000) + HOUR)
end

if ARGV[1] == 'enter' then
  local empty_at, worst, which = {}, 0, 0
  for i = 3, #KEYS do
    local at = 3 * (i - 3) + 4
    local interval, burst, cost = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
    local from = math.max(tonumber(redis.call('GET', KEYS[i]) or '0'), now)
    local wait = from + (cost - burst) * interval - now
    if wait > worst then worst, which = wait, i - 2 end
    empty_at[i] = from + cost * interval
  end
  if worst > 0 then return {3, math.ceil(worst), which} end
  local probe = 0
  if open_until > 0 then
    if now < open_until then return {2, open_until - now, 0} end
    local probe_until = tonumber(known[3] or '0')
    if known[2] and now < probe_until then return {2, probe_until - now, 0} end
    redis.call('HSET', KEYS[1], 'probe', token, 'probe_until', string.format('%.0f', now + tonumber(ARGV[3])))
    redis.call('PEXPIRE', KEYS[1], math.ceil(tonumber(ARGV[3]) / 1000) + HOUR)
    probe = 1
  end
  local reply = {probe, 0, 0}
  for i = 3, #KEYS do
    redis.call('SET', KEYS[i], string.format('%.0f', empty_at[i]), 'PX', math.ceil((empty_at[i] - now) / 1000) + 1)
    reply[i + 1] = math.ceil(empty_at[i] - now)
  end
  return reply
end

local is_probe = known[2] == token
if open_until > 0 and not is_probe then return {0} end
if ARGV[1] == 'failed' then
  if is_probe then open(tonumber(ARGV[5])) return {1} end
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', now - tonumber(ARGV[3])))
  redis.call('ZADD', KEYS[2], 'NX', string.format('%.0f', now), token)
  redis.call('PEXPIRE', KEYS[2], math.ceil(tonumber(ARGV[3]) / 1000) + 1)
  if redis.call('ZCARD', KEYS[2]) < tonumber(ARGV[4]) then return {0} end
  redis.call('DEL', KEYS[2])
  open(tonumber(ARGV[5]))
  return {1}
end
if not is_probe then return {0} end
if ARGV[1] == 'succeeded' then
  redis.call('DEL', KEYS[1], KEYS[2])
  return {2}
end
redis.call('HDEL', KEYS[1], 'probe', 'probe_until')
return {0}
"""
