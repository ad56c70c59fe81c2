/* Answer: what the upstream sends for a call. The first byte says whether MACs were asked. What is
 * taken is compared with a second, slow reader: every device asked has the first item about it, and
 * nobody else's; what is left out and what nobody asked is counted exactly. What is not taken
 * touches no output. */
#include "fuzz.h"

#include "common/json.h"
#include "upstream/answer.h"

#include <assert.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static const char *const ids[] = {"d2", "d1", "d1:x", "-", "D1"};
static const char *const macs[] = {"00:0c:29:cd:c7:b2", "00:0c:29:cd:c7:b3", "aa:aa:aa:aa:aa:aa"};

/* The hex digits in lower case, without what may stand between them. */
static bool bare_mac(const char *text, char ret_bare[13])
{
    size_t len = strlen(text);
    size_t step = len == 17 ? 3 : 2;
    const char separator = (char)(len == 17 ? text[2] : '\0');
    size_t count = 0;

    if (len != 12 && (len != 17 || (separator != ':' && separator != '-'))) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        const char *digits = "0123456789abcdefABCDEF";
        if (len == 17 && i % step == 2) {
            if (text[i] != separator) {
                return false;
            }
        } else if (strchr(digits, text[i]) == NULL) {
            return false;
        } else {
            ret_bare[count++] = (char)tolower((unsigned char)text[i]);
        }
    }
    ret_bare[count] = '\0';
    return true;
}

static bool is_about(const json_t *item, const char *asked, bool mac)
{
    const char *id = json_string_value(json_object_get(item, "id"));
    char bare[2][13];

    assert(id != NULL);
    if (!mac) {
        return strcmp(id, asked) == 0;
    }
    assert(bare_mac(asked, bare[0]));
    return bare_mac(id, bare[1]) && strcmp(bare[0], bare[1]) == 0;
}

static void check_item(const struct answer_item *item, const json_t *expected)
{
    const char *command_id = json_string_value(json_object_get(expected, "command_id"));

    assert(item->status == json_integer_value(json_object_get(expected, "status")));
    assert(strcmp(item->command_id, command_id != NULL ? command_id : "") == 0);
    for (const char *at = item->command_id; *at != '\0'; at++) {
        assert((unsigned char)*at >= ' ' && *at != 0x7f);
    }
}

static void check_answer(const struct answer *answer, const json_t *list, const char *const *asked,
                         size_t count, bool mac)
{
    size_t found = 0;

    for (size_t i = 0; i < count; i++) {
        const json_t *first = NULL;
        for (size_t k = 0; k < json_array_size(list) && first == NULL; k++) {
            first =
                is_about(json_array_get(list, k), asked[i], mac) ? json_array_get(list, k) : NULL;
        }
        if (first != NULL) {
            found++;
            check_item(&answer->items[i], first);
        } else {
            assert(answer->items[i].status == 0 && answer->items[i].command_id[0] == '\0');
        }
    }
    assert(answer->missing == count - found);
    assert(answer->foreign == json_array_size(list) - found);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bool mac = size > 0 && data[0] == 'm';
    const char *const *asked = mac ? macs : ids;
    size_t count = mac ? ARRAY_LEN(macs) : ARRAY_LEN(ids);
    size_t skip = size > 0 ? 1 : 0;
    const char *body = (const char *)data + skip;
    struct answer answer = {.missing = SIZE_MAX};
    struct error error = {0};
    enum err err = answer_read(body, size - skip, asked, count, mac, &answer, &error);
    CLEANUP(cleanup_json) json_t *root = NULL;
    const json_t *list;

    if (err != OK) {
        assert(err == ERR_MALFORMED && error.text[0] != '\0');
        assert(answer.items == NULL && answer.missing == SIZE_MAX);
        return 0;
    }
    assert(json_read(body, size - skip, &root, NULL) == OK);
    list = json_is_array(root) ? root : json_object_iter_value(json_object_iter(root));
    check_answer(&answer, list, asked, count, mac);
    answer_done(&answer);
    return 0;
}
