/* Token answer: see token_answer.h. */
#include "upstream/token_answer.h"

#include "common/json.h"

bool token_is_sane(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (text[i] <= ' ' || text[i] > '~') {
            return false;
        }
    }
    return len >= 1 && len <= TOKEN_MAX_BYTES;
}

static int64_t read_life(const json_t *life)
{
    double life_s = json_is_number(life) ? json_number_value(life) : 0;

    return life_s < 1 ? 0 : life_s > (double)TOKEN_MAX_LIFE_S ? TOKEN_MAX_LIFE_S : (int64_t)life_s;
}

enum err token_answer_read(const char *body, size_t len, struct secret **ret_secret,
                           int64_t *ret_life_s, struct error *error)
{
    CLEANUP(cleanup_json) json_t *root = NULL;
    const json_t *value;

    if (json_read(body, len, &root, NULL) != OK) {
        return error_set(error, ERR_MALFORMED,
                         "the token endpoint answered 200, but not with JSON");
    }
    value = json_object_get(root, "access_token");
    if (!json_is_string(value) ||
        !token_is_sane(json_string_value(value), json_string_length(value))) {
        return error_set(error, ERR_MALFORMED,
                         "the token endpoint answered without a usable access_token");
    }
    *ret_life_s = read_life(json_object_get(root, "expires_in"));
    *ret_secret = secret_new(json_string_value(value), json_string_length(value));
    /* The copy in root is ours, and the last one. */
    secret_cleanse((char *)json_string_value(value), json_string_length(value));
    return OK;
}
