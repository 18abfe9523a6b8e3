-- As paced.lua, and looks at every answer: 200, the expected body, and each of HEADERS as a number, which is that of the
-- version that wrote it.
local rest_ms = tonumber(os.getenv("REST_MS"))
local body_text = os.getenv("BODY")
local names = {}
for name in os.getenv("HEADERS"):gmatch("%S+") do
    names[#names + 1] = name
end
local threads = {}
-- Read from `done` by name, so they are no locals.
wrong, first_wrong, versions = 0, "", 0
local met = {}

function setup(thread)
    threads[#threads + 1] = thread
end

function delay()
    return rest_ms
end

local function look(status, headers, body)
    if status ~= 200 then
        return "status " .. status
    end
    if body ~= body_text then
        return "a body of " .. #body .. " bytes"
    end
    for _, name in ipairs(names) do
        local value = headers[name]
        if not value or not value:match("^%d+$") then
            return name .. ": " .. tostring(value)
        end
        local version = name .. value
        if not met[version] then
            met[version] = true
            versions = versions + 1
        end
    end
end

function response(status, headers, body)
    local fault = look(status, headers, body)
    if fault then
        wrong = wrong + 1
        if first_wrong == "" then
            first_wrong = fault:gsub("[^%w :.-]", "?")
        end
    end
end

function done(summary, latency)
    local errors = summary.errors
    local thread = threads[1]
    io.write(string.format(
        '\nRESULT {"requests": %d, "micros": %d, "p50": %d, "p99": %d, "max": %d, "status": %d, "socket": %d, ' ..
        '"wrong": %d, "first_wrong": "%s", "versions": %d}\n',
        summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency.max,
        errors.status, errors.connect + errors.read + errors.write + errors.timeout,
        thread:get("wrong"), thread:get("first_wrong"), thread:get("versions")))
end
