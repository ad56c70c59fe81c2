/* Rate: header lines of an answer, one after the other. Whatever they say, no number is below -1
 * or over what twelve digits can say, and no wait is longer than a day. Each line is read from a
 * block of its size. A header's value is a piece of its line without white space around it. */
#include "fuzz.h"

#include "common/memory.h"
#include "upstream/rate.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define NOW_S 1700000000

static void check_value(const char *line, size_t len, const char *name)
{
    const char *value = NULL;
    size_t value_len = 0;

    if (rate_header_value(line, len, name, &value, &value_len)) {
        assert(value >= line + strlen(name) + 1 && value + value_len <= line + len);
        assert(value_len == 0 || strchr(" \t\r\n", value[0]) == NULL || value[0] == '\0');
        assert(value_len == 0 || strchr(" \t\r\n", value[value_len - 1]) == NULL ||
               value[value_len - 1] == '\0');
    }
}

static void check_wait(int64_t wait_s)
{
    assert(wait_s >= -1 && wait_s <= RATE_MAX_WAIT_S);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_piece rest = {(const char *)data, size};
    struct fuzz_piece piece;
    struct rate rate;

    rate_init(&rate);
    while (fuzz_take_line(&rest, &piece)) {
        CLEANUP(cleanup_free) char *line = fuzz_copy(piece);
        rate_read_header(&rate, line, piece.len, NOW_S);
        check_value(line, piece.len, "Retry-After");
        check_value(line, piece.len, "Content-Encoding");
        assert(rate.limit >= -1 && rate.limit < 1000000000000);
        assert(rate.remaining >= -1 && rate.remaining < 1000000000000);
        check_wait(rate.reset_s);
        check_wait(rate.retry_after_s);
    }
    return 0;
}
