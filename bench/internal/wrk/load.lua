-- The load of one round. What can be made beforehand is made in init, before the time begins, so that a request costs wrk next to nothing.
-- Arguments after "--", each NAME=VALUE:
--   mode=once     each target of the file once; at the end of a thread's share it says so and stops
--   mode=again    the targets of the file, again and again
--   mode=keyed    the path of the URL, each time with another UUID in the field key=NAME
--   mode=mint     GET mint=TARGET, POST to the URI in its answer, and so on
--   method=, body=FILE, file=FILE, threads=N, seed=HEX8, header=NAME: VALUE

local options, headers = {}, {}
local targets, ready, at = {}, {}, 0
local head, tail

local threads = 0
local all = {}

function setup(thread)
  thread:set("number", threads)
  table.insert(all, thread)
  threads = threads + 1
end

-- say speaks to who started wrk. Its own output comes at the end, in one piece.
local function say(word)
  io.write("bench: " .. word .. "\n")
  io.flush()
end

local function parse(args)
  for _, a in ipairs(args) do
    local name, value = a:match("^(%w+)=(.*)$")
    if name == "header" then
      local field, text = value:match("^([^:]+): (.*)$")
      headers[field] = text
    elseif name then
      options[name] = value
    end
  end
end

local function once()
  at = at + 1
  local r = ready[at]
  if r then return r end
  if at == #ready + 1 then say("out") end
  wrk.thread:stop()
  return ready[#ready]
end

local function again()
  at = at + 1
  if at > #ready then at = 1 end
  return ready[at]
end

local function keyed()
  at = at + 1
  return head .. string.format("%012d", at) .. tail
end

local function mint()
  local uri = table.remove(targets)
  if uri then return head .. uri .. tail end
  return ready[1]
end

local modes = { once = once, again = again, keyed = keyed, mint = mint }

-- wrk asks the first thread for one request before the time begins, to see how many there are in it. It starts each thread before it makes the next one
-- ready, and its own time begins with the last: so each waits here for a line that comes when all are ready.
local function first()
  if number == 0 and not seen then
    seen = true
    return again()
  end
  at = 0
  request = modes[options.mode]
  say("ready")
  assert(io.read(), "nobody says when to begin")
  return request()
end

function init(args)
  parse(args)
  local body
  if options.body then
    local f = assert(io.open(options.body, "rb"))
    body = f:read("*a")
    f:close()
    headers["Content-Type"] = "application/json"
  end
  for name, value in pairs(wrk.headers) do headers[name] = headers[name] or value end
  local method = options.method or "POST"
  if options.file then
    local n = 0
    for line in io.lines(options.file) do
      if n % tonumber(options.threads) == number then
        ready[#ready + 1] = wrk.format(method, line, headers, body)
      end
      n = n + 1
    end
  elseif options.mode == "keyed" then
    headers[options.key] = "@KEY@"
    local r = wrk.format(method, wrk.path, headers, body)
    local from, to = r:find("@KEY@", 1, true)
    head = r:sub(1, from - 1) .. options.seed .. string.format("-0000-4000-8%03d-", number)
    tail = r:sub(to + 1)
    ready[1] = head .. string.format("%012d", 0) .. tail
  elseif options.mode == "mint" then
    local r = wrk.format(method, "@TARGET@", headers, body)
    local from, to = r:find("@TARGET@", 1, true)
    head, tail = r:sub(1, from - 1), r:sub(to + 1)
    ready[1] = wrk.format("GET", options.mint, { Host = wrk.headers["Host"], Accept = "text/plain" })
    -- Only here answers are looked at: it costs wrk a table for each.
    minted, posted, others = 0, 0, 0
    response = function(status, _, text)
      if status == 200 then
        minted = minted + 1
        targets[#targets + 1] = text:match("^%S+")
      elseif status == 201 then
        posted = posted + 1
      else
        others = others + 1
      end
    end
  end
  request = first
end

function done(summary, latency, _)
  local e = summary.errors
  local minted, posted, others = 0, 0, 0
  for _, t in ipairs(all) do
    minted, posted, others = minted + (t:get("minted") or 0), posted + (t:get("posted") or 0), others + (t:get("others") or 0)
  end
  io.write(string.format(
    'bench: {"requests":%d,"microseconds":%d,"above_399":%d,"broken":%d,"p50":%d,"p99":%d,"minted":%d,"posted":%d,"others":%d}\n',
    summary.requests, summary.duration, e.status, e.connect + e.read + e.write + e.timeout,
    latency:percentile(50), latency:percentile(99), minted, posted, others))
end
