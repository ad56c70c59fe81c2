/* Fuzz: see fuzz.h. */
#include "fuzz.h"

#include "common/json.h"
#include "common/problems.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

bool fuzz_take_line(struct fuzz_piece *rest, struct fuzz_piece *ret_line)
{
    const char *end = rest->len > 0 ? memchr(rest->at, '\n', rest->len) : NULL;
    size_t taken = end != NULL ? (size_t)(end - rest->at) + 1 : rest->len;

    if (rest->len == 0) {
        return false;
    }
    *ret_line = (struct fuzz_piece){rest->at, taken - (end != NULL ? 1 : 0)};
    rest->at += taken;
    rest->len -= taken;
    return true;
}

char *fuzz_text(struct fuzz_piece piece)
{
    return xstrndup(piece.at, piece.len);
}

char *fuzz_copy(struct fuzz_piece piece)
{
    char *copy = malloc(piece.len);

    assert(copy != NULL || piece.len == 0);
    if (piece.len > 0) {
        memcpy(copy, piece.at, piece.len);
    }
    return copy;
}

struct fuzz_random fuzz_random_of(const uint8_t *data, size_t size)
{
    struct fuzz_random random = {UINT64_C(14695981039346656037)};

    for (size_t i = 0; i < size; i++) {
        random.state = (random.state ^ data[i]) * UINT64_C(1099511628211);
    }
    return random;
}

size_t fuzz_random_below(struct fuzz_random *random, size_t end)
{
    random->state = random->state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (size_t)(random->state >> 33) % end;
}

bool fuzz_is_utf8(const char *text)
{
    CLEANUP(cleanup_json) json_t *value = json_string(text);

    return value != NULL;
}

void fuzz_check_problems(const struct problems *problems)
{
    CLEANUP(cleanup_json) json_t *list = problems_json(problems);
    size_t index;
    json_t *item;

    assert(problems->count > 0 && problems->count <= PROBLEMS_MAX);
    assert(json_array_size(list) == problems->count);
    json_array_foreach (list, index, item) {
        const char *pointer = json_string_value(json_object_get(item, "pointer"));
        const char *detail = json_string_value(json_object_get(item, "detail"));
        assert(pointer != NULL && (pointer[0] == '\0' || pointer[0] == '/'));
        assert(detail != NULL && detail[0] != '\0');
    }
}
