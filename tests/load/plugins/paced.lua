-- As ../wrk.lua, at a pace: each connection rests between an answer and its next request.
local rest_ms = tonumber(os.getenv("REST_MS"))

function delay()
    return rest_ms
end

function done(summary, latency, requests)
    local errors = summary.errors
    io.write(string.format(
        '\nRESULT {"requests": %d, "micros": %d, "p50": %d, "p99": %d, "status": %d, "socket": %d}\n',
        summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
        errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
