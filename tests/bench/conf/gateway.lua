-- What tollgate does to a request before it is queued, written for nginx as one would write it: the
-- key by its SHA-256, the body strictly and with all errors, the team's rules. Not done: duplicate
-- JSON keys and bad UTF-8 are not seen (lua-cjson takes them), nothing is recorded, nothing is
-- made durable, there is no budget.
local cjson = require("cjson.safe")
local ffi = require("ffi")
ffi.cdef("unsigned char *SHA256(const unsigned char *data, size_t len, unsigned char *hash);")

local gateway = {}
local hash = ffi.new("unsigned char[32]")
local clients = {}
local actions = {
    exempt = "exempt_time", unexempt = false, ignore = false, unignore = false, delete = false,
    dhcprenew = false, ["re-identify"] = false, assign_to_group = "group_id",
    fetch_agent_log = false,
}
local rules = { ops = { actions } } -- all that the bench's team may do

local function sha256(text)
    ffi.C.SHA256(text, #text, hash)
    return ffi.string(hash, 32)
end

function gateway.set_key(key)
    clients[sha256(key)] = { name = "script", team = "ops" }
end

local function answer(status, problem)
    problem.type = "urn:gateway:problem:" .. problem.type
    problem.status = status
    problem.request_id = ngx.var.request_id
    ngx.status = status
    ngx.header["Content-Type"] = "application/problem+json"
    ngx.header["X-Request-ID"] = problem.request_id
    ngx.print(cjson.encode(problem))
    return ngx.exit(status)
end

local function authenticate()
    local header = ngx.var.http_authorization or ""
    local client = header:sub(1, 7):lower() == "bearer " and clients[sha256(header:sub(8))]
    if not client then
        ngx.header["WWW-Authenticate"] = "Bearer"
        return answer(401, { type = "unauthenticated", title = "Unauthenticated",
                             detail = "Send a valid key." })
    end
    return client
end

local function check_devices(body, name, pattern, max, errors)
    local devices, seen = body[name], {}
    if type(devices) ~= "table" or #devices == 0 then
        errors[#errors + 1] = { pointer = "/" .. name, detail = "must be a non-empty array" }
        return
    end
    if #devices > 1000 then
        errors[#errors + 1] = { pointer = "/" .. name, detail = "at most 1000 devices" }
    end
    for at, device in ipairs(devices) do
        if type(device) ~= "string" or #device > max or not device:find(pattern) then
            errors[#errors + 1] = { pointer = "/" .. name .. "/" .. at - 1,
                                    detail = "not a device" }
        else
            seen[device] = true
        end
    end
end

local function check_params(params, wanted, errors)
    if params ~= nil and type(params) ~= "table" then
        errors[#errors + 1] = { pointer = "/params", detail = "must be an object" }
        return
    end
    for name in pairs(params or {}) do
        if name ~= wanted then
            errors[#errors + 1] = { pointer = "/params/" .. name, detail = "unknown parameter" }
        end
    end
    local value = params and wanted and params[wanted]
    if wanted == "exempt_time" and value ~= nil and (type(value) ~= "number" or
            value ~= math.floor(value) or value < 0 or value > 64999) then
        errors[#errors + 1] = { pointer = "/params/exempt_time",
                                detail = "must be an integer from 0 to 64999" }
    elseif wanted == "group_id" and (type(value) ~= "string" or #value < 1 or #value > 128 or
            value:find("[^%g ]")) then
        errors[#errors + 1] = { pointer = "/params/group_id",
                                detail = "must be 1 to 128 printable characters" }
    end
end

local function validate(body)
    local errors, action = {}, actions[body.types]
    for name in pairs(body) do
        if name ~= "types" and name ~= "ids" and name ~= "macs" and name ~= "params" then
            errors[#errors + 1] = { pointer = "/" .. name, detail = "unknown key" }
        end
    end
    if action == nil then
        errors[#errors + 1] = { pointer = "/types", detail = "must be an action" }
    end
    if (body.ids ~= nil) == (body.macs ~= nil) then
        errors[#errors + 1] = { pointer = "", detail = "needs either ids or macs" }
    elseif body.ids ~= nil then
        check_devices(body, "ids", "^[%w_.:-]+$", 128, errors)
    else
        check_devices(body, "macs", "^%x%x[:-]?%x%x[:-]?%x%x[:-]?%x%x[:-]?%x%x[:-]?%x%x$", 17,
                      errors)
    end
    check_params(body.params, action, errors)
    return errors
end

local function is_allowed(team, action)
    for _, rule in ipairs(rules[team] or {}) do
        if rule[action] ~= nil then
            return true
        end
    end
    return false
end

function gateway.check()
    local client = authenticate()
    ngx.req.read_body()
    local body = cjson.decode(ngx.req.get_body_data() or "")
    if type(body) ~= "table" then
        return answer(400, { type = "malformed-request", title = "Malformed request",
                             detail = "The body is not a JSON object." })
    end
    local errors = validate(body)
    if #errors > 0 then
        return answer(422, { type = "invalid-action", title = "Invalid action",
                             detail = "The request is not a valid action.", errors = errors })
    end
    if not is_allowed(client.team, body.types) then
        return answer(403, { type = "policy-denied", title = "Denied by policy",
                             detail = "No rule allows it." })
    end
end

return gateway
