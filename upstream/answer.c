/* Answer: see answer.h. Nothing here quotes the body: it may hold what must not be shown. */
#include "upstream/answer.h"

#include "common/json.h"
#include "common/mac.h"

#include <assert.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* Asked devices in the order of their names, to find one quickly whatever the upstream sends. */
struct place {
    const char *device;
    size_t index;
    bool answered;
};

static int compare_places(const void *a, const void *b)
{
    return strcmp(((const struct place *)a)->device, ((const struct place *)b)->device);
}

static struct place *sort_places(const char *const *asked, size_t count)
{
    struct place *places = xcalloc(count, sizeof(*places));

    for (size_t i = 0; i < count; i++) {
        places[i] = (struct place){.device = asked[i], .index = i};
    }
    qsort(places, count, sizeof(*places), compare_places);
    return places;
}

static struct place *find_place(struct place *places, size_t count, const char *id, bool macs)
{
    char mac[MAC_TEXT_SIZE];
    struct place key = {.device = id};

    if (macs) {
        if (mac_canonical(id, mac) != OK) {
            return NULL;
        }
        key.device = mac;
    }
    return bsearch(&key, places, count, sizeof(*places), compare_places);
}

/* The array itself, or the only value of an object. */
static const json_t *find_array(json_t *root)
{
    const json_t *inner;

    if (json_is_array(root)) {
        return root;
    }
    if (json_object_size(root) != 1) {
        return NULL;
    }
    inner = json_object_iter_value(json_object_iter(root));
    return json_is_array(inner) ? inner : NULL;
}

static bool is_plain(const char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7f) {
            return false;
        }
    }
    return true;
}

static enum err read_command_id(const json_t *value, char ret_text[ANSWER_COMMAND_ID_SIZE],
                                struct error *error)
{
    if (value == NULL || json_is_null(value)) {
        ret_text[0] = '\0';
        return OK;
    }
    if (!json_is_string(value) || json_string_length(value) >= ANSWER_COMMAND_ID_SIZE ||
        !is_plain(json_string_value(value))) {
        return error_set(error, ERR_MALFORMED, "a command_id is not a string of at most %d bytes",
                         ANSWER_COMMAND_ID_SIZE - 1);
    }
    memcpy(ret_text, json_string_value(value), json_string_length(value) + 1);
    return OK;
}

static enum err read_item(const json_t *value, const char **ret_id, struct answer_item *ret_item,
                          struct error *error)
{
    const json_t *id = json_object_get(value, "id");
    const json_t *status = json_object_get(value, "status");

    if (!json_is_string(id)) {
        return error_set(error, ERR_MALFORMED, "an item is not an object with a string as its id");
    }
    if (!json_is_integer(status) || json_integer_value(status) < -1 ||
        json_integer_value(status) > 1) {
        return error_set(error, ERR_MALFORMED, "a status is not -1, 0 or 1");
    }
    *ret_id = json_string_value(id);
    ret_item->status = (int)json_integer_value(status);
    return read_command_id(json_object_get(value, "command_id"), ret_item->command_id, error);
}

static enum err read_items(const json_t *array, struct place *places, size_t count, bool macs,
                           struct answer *answer, struct error *error)
{
    const json_t *value;
    size_t i;

    json_array_foreach (array, i, value) {
        struct answer_item item;
        const char *id = NULL;
        struct place *place;
        enum err err = read_item(value, &id, &item, error);

        if (err != OK) {
            return err;
        }
        assert(id != NULL);
        place = find_place(places, count, id, macs);
        if (place == NULL || place->answered) {
            answer->foreign++;
            continue;
        }
        place->answered = true;
        answer->items[place->index] = item;
        answer->missing--;
    }
    return OK;
}

enum err answer_read(const char *body, size_t len, const char *const *asked, size_t count,
                     bool macs, struct answer *ret_answer, struct error *error)
{
    CLEANUP(cleanup_json) json_t *root = NULL;
    CLEANUP(cleanup_free) struct place *places = NULL;
    CLEANUP(answer_done) struct answer answer = {.missing = count};
    const json_t *array;
    enum err err;

    if (json_read(body, len, &root, NULL) != OK) {
        return error_set(error, ERR_MALFORMED, "it is not JSON");
    }
    array = find_array(root);
    if (array == NULL) {
        return error_set(error, ERR_MALFORMED, "it is not an array of results");
    }
    places = sort_places(asked, count);
    answer.items = xcalloc(count, sizeof(*answer.items));
    err = read_items(array, places, count, macs, &answer, error);
    if (err == OK) {
        *ret_answer = answer;
        answer.items = NULL;
    }
    return err;
}

void answer_done(struct answer *answer)
{
    free(answer->items);
    *answer = (struct answer){0};
}
