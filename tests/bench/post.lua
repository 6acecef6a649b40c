-- SPDX-License-Identifier: MIT
-- wrk posts generations, each with another prompt of 500 bytes: wrk -s post.lua URL -- HEADER
local number, headers = 0, {["Content-Type"] = "application/json"}

init = function(arguments)
    local name, value = string.match(arguments[1] or "", "^([^:]+): (.*)$")
    if name then headers[name] = value end
end

request = function()
    number = number + 1
    local prompt = "prompt " .. number
    prompt = prompt .. string.rep("x", 500 - #prompt)
    return wrk.format("POST", "/api/generate", headers, '{"prompt":"' .. prompt .. '","modelId":"held"}')
end

done = function(summary, latency, requests)
    local e = summary.errors
    io.write(string.format('{"requests": %d, "us": %d, "p99_us": %d, "errors": %d}\n', summary.requests, summary.duration,
        latency:percentile(99), e.connect + e.read + e.write + e.status + e.timeout))
end
