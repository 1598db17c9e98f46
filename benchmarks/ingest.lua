-- Posts the end of one conversation after another, each a distinct event with a signature of its own:
--     wrk -t 1 ... -s ingest.lua ADDRESS -- SECRET RUN
-- RUN is a number below 65,536 that no other run on the same database has. One thread of wrk is far from being the
-- bottleneck, so there is one counter.

-- Lua has no HMAC, but wrk is linked with a library that has.
local ffi = require("ffi")
ffi.cdef[[
    const void *EVP_sha256(void);
    unsigned char *HMAC(const void *hash, const void *key, int key_length, const unsigned char *data,
                        size_t data_length, unsigned char *digest, unsigned int *digest_length);
]]

local body = [[{"topicName":"v2.detail.events.conversation.%s.customer.end","eventTime":%d,]] ..
    [["participantId":"9fb2ca78-8389-4758-b76a-%s","sessionId":"c03d300e-fa79-4353-9695-%s",]] ..
    [["disconnectType":"CLIENT","externalContactId":"12456349-b5c7-4d8f-9eb4-%s","interactingDurationMs":60000,]] ..
    [["conversationExternalContactIds":["12456349-b5c7-4d8f-9eb4-%s"],"conversationExternalOrganizationIds":[],]] ..
    [["divisionId":"a85d0cf7-0afb-4561-adfd-9289c07cd51f","conversationId":"%s","mediaType":"MESSAGE",]] ..
    [["messageType":"OPEN","provider":"PureCloud Messaging","direction":"INBOUND",]] ..
    [["addressTo":"open-integration-id","addressFrom":"customer-%s"}]]

local headers = {["Content-Type"] = "application/json"}
local digest, hexadecimal = ffi.new("unsigned char[32]"), {}
local secret, run, now, sent

function init(args)
    secret, run, now, sent = args[1], tonumber(args[2]), os.time() * 1000, 0
    math.randomseed(run)
end

function request()
    sent = sent + 1
    local own = string.format("%04x%08x", run, sent)
    -- Random at its beginning, as the real ones are, so that the indexes are not written in order.
    local conversation = string.format("%04x%04x-%04x-4000-8000-%s", math.random(0, 65535), math.random(0, 65535),
        math.random(0, 65535), own)
    local text = string.format(body, conversation, now, own, own, own, own, conversation, own)
    headers["X-Hub-Signature-256"] = "sha256=" .. sign(text)
    return wrk.format("POST", nil, headers, text)
end

function sign(text)
    ffi.C.HMAC(ffi.C.EVP_sha256(), secret, #secret, text, #text, digest, nil)
    for place = 0, 31 do
        hexadecimal[place + 1] = string.format("%02x", digest[place])
    end
    return table.concat(hexadecimal)
end

function done(summary, latency)
    local errors = summary.errors
    io.write(string.format('\n{"answers": %d, "refused": %d, "broken": %d, "seconds": %f, "p50_ms": %f, "p99_ms": %f}\n',
        summary.requests, errors.status, errors.connect + errors.read + errors.write + errors.timeout,
        summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
