-- What wrk sends: the method, path, key and body that load.py gives as arguments; %d in the body
-- becomes a number that no other request of this run has. At the end: one JSON line of results.
local threads = 0

function setup(thread)
    thread:set("thread_number", threads)
    threads = threads + 1
end

function init(args)
    local method, path, key, body = args[1], args[2], args[3], args[4] or ""
    local number, numbered = thread_number * 100000000, body:find("%%d") ~= nil
    local headers = { ["Authorization"] = "Bearer " .. key, ["Content-Type"] = "application/json" }
    local fixed = wrk.format(method, path, headers, body ~= "" and body or nil)
    request = function()
        if not numbered then
            return fixed
        end
        number = number + 1
        return wrk.format(method, path, headers, string.format(body, number))
    end
end

function done(summary, latency, requests)
    local errors = summary.errors
    io.write(string.format(
        '{"requests":%d,"seconds":%f,"not_2xx":%d,"broken":%d,"p50_us":%d,"p99_us":%d}\n',
        summary.requests, summary.duration / 1e6, errors.status,
        errors.connect + errors.read + errors.write + errors.timeout,
        latency:percentile(50), latency:percentile(99)))
end
