/* Clock: any text as a time. What is taken looks as RFC 3339 has it, and what it means, written as
 * the audit log writes times, means the same again. What is not taken touches no output. The first
 * eight bytes as a number of milliseconds within the years 1 to 9999 survive being written and
 * read. */
#include "fuzz.h"

#include "common/clock.h"

#include <assert.h>
#include <string.h>

#define FIRST_MS (-62135596800000)
#define LAST_MS  253402300799999

/* YYYY-MM-DDThh:mm:ss, then a fraction or none, then Z or +hh:mm or -hh:mm. */
static bool looks_right(const char *text)
{
    static const char form[] = "dddd-dd-ddTdd:dd:dd";
    static const char zone[] = "dd:dd";
    const char *digits = "0123456789";

    for (const char *at = form; *at != '\0'; at++, text++) {
        bool good = *at == 'd' ? *text != '\0' && strchr(digits, *text) != NULL : *text == *at;
        if (!good) {
            return false;
        }
    }
    if (*text == '.') {
        size_t len = strspn(text + 1, digits);
        text += 1 + len;
        if (len == 0) {
            return false;
        }
    }
    if (strcmp(text, "Z") == 0) {
        return true;
    }
    if (*text != '+' && *text != '-') {
        return false;
    }
    text++;
    for (const char *at = zone; *at != '\0'; at++, text++) {
        bool good = *at == 'd' ? *text != '\0' && strchr(digits, *text) != NULL : *text == *at;
        if (!good) {
            return false;
        }
    }
    return *text == '\0';
}

static void check_round_trip(int64_t ms)
{
    char text[CLOCK_TEXT_SIZE];
    int64_t again = INT64_MIN;

    if (ms >= FIRST_MS && ms <= LAST_MS) {
        (void)clock_format(ms, text);
        assert(strlen(text) == 24 && text[23] == 'Z');
        assert(clock_parse(text, &again) == OK && again == ms);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(cleanup_free) char *text = fuzz_text((struct fuzz_piece){(const char *)data, size});
    int64_t ms = INT64_MIN;

    if (clock_parse(text, &ms) == OK) {
        assert(looks_right(text));
        check_round_trip(ms);
    } else {
        assert(ms == INT64_MIN);
    }
    if (size >= sizeof(ms)) {
        memcpy(&ms, data, sizeof(ms));
        check_round_trip(ms % LAST_MS);
    }
    return 0;
}
