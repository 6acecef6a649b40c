-- SPDX-License-Identifier: MIT
-- wrk lists the newest generations: wrk -s list.lua URL -- HEADER
local headers = {}

init = function(arguments)
    local name, value = string.match(arguments[1] or "", "^([^:]+): (.*)$")
    if name then headers[name] = value end
end

request = function()
    return wrk.format("GET", "/api/generations", headers)
end

done = function(summary, latency, requests)
    local e = summary.errors
    io.write(string.format('{"requests": %d, "us": %d, "p99_us": %d, "errors": %d}\n', summary.requests, summary.duration,
        latency:percentile(99), e.connect + e.read + e.write + e.status + e.timeout))
end
