/* Headers: any text as the value of each header that the gateway reads. Whatever is said, a wait is
 * 0 to 300 s or none, an urgency 0 to 7, and what is taken over into records and answers (request
 * id, idempotency key, reason, traceparent, the id in a client's key) has only the bytes it may
 * have. */
#include "fuzz.h"

#include "common/memory.h"
#include "gateway/headers.h"
#include "gateway/keys.h"

#include <assert.h>
#include <string.h>

#define ALNUM "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

static void check_prefer(const char *text)
{
    struct header_prefer prefer = header_read_prefer(text);
    int urgency = header_read_priority(text);

    assert(prefer.wait_s >= -1 && prefer.wait_s <= HEADER_MAX_WAIT_S);
    assert(prefer.wait_s < 0 || strcasestr(text, "wait=") != NULL);
    assert(!prefer.respond_async || strcasestr(text, "respond-async") != NULL);
    assert(urgency >= 0 && urgency <= 7);
    assert(urgency == HEADER_DEFAULT_PRIORITY || strstr(text, "u=") != NULL);
}

static void check_key(const char *text)
{
    const char *key = NULL;
    size_t len = 0;

    if (header_read_idempotency_key(text, &key, &len)) {
        assert(len >= 1 && len <= HEADER_MAX_KEY_LEN);
        assert(key == text ? len == strlen(text) : key == text + 1 && len == strlen(text) - 2);
        for (size_t i = 0; i < len; i++) {
            assert(key[i] > ' ' && key[i] <= '~' && key[i] != '"' && key[i] != '\\');
        }
    } else {
        assert(key == NULL);
    }
}

/* 00-32 hex-16 hex-2 hex, in lower case; a trace and a parent of zeros only are none. */
static void check_traceparent(const char *text)
{
    if (header_is_traceparent(text)) {
        assert(strlen(text) == 55 && strncmp(text, "00-", 3) == 0);
        assert(text[35] == '-' && text[52] == '-');
        assert(strspn(text + 3, "0123456789abcdef") == 32 && strspn(text + 3, "0") < 32);
        assert(strspn(text + 36, "0123456789abcdef") == 16 && strspn(text + 36, "0") < 16);
        assert(strspn(text + 53, "0123456789abcdef") == 2);
    }
}

static void check_reason(const char *text)
{
    if (header_is_reason(text)) {
        assert(strlen(text) <= HEADER_MAX_REASON_BYTES && fuzz_is_utf8(text));
        for (const char *at = text; *at != '\0'; at++) {
            assert((unsigned char)*at >= ' ' && *at != 0x7f);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(cleanup_free) char *text = fuzz_text((struct fuzz_piece){(const char *)data, size});

    check_prefer(text);
    check_key(text);
    check_traceparent(text);
    check_reason(text);
    if (header_is_request_id(text, 128)) {
        assert(strlen(text) <= 128 && text[strspn(text, ALNUM "._:-")] == '\0' && text[0] != '\0');
    }
    if (header_is_json(text)) {
        assert(strncasecmp(text, "application/json", 16) == 0);
    }
    if (key_well_formed(text)) {
        assert(strlen(text) == KEY_LEN && text[strspn(text, ALNUM "_")] == '\0');
    }
    return 0;
}
