/* Token: the body of a token endpoint's 200. A token that is taken is 1 to 4096 visible ASCII
 * characters, so it can stand in a header, and is in the body as the access_token; its life is 0
 * (not known) to ten years. What is not taken touches no output, and the error quotes nothing. */
#include "fuzz.h"

#include "common/json.h"
#include "upstream/token_answer.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct secret *secret = NULL;
    int64_t life_s = -1;
    struct error error = {0};
    CLEANUP(cleanup_json) json_t *root = NULL;
    enum err err = token_answer_read((const char *)data, size, &secret, &life_s, &error);
    const json_t *value;
    const char *text;
    size_t len;

    if (err != OK) {
        assert(err == ERR_MALFORMED && secret == NULL && life_s == -1);
        assert(strncmp(error.text, "the token endpoint answered ", 28) == 0);
        return 0;
    }
    text = secret_reveal(secret, &len);
    assert(len >= 1 && len <= TOKEN_MAX_BYTES && strlen(text) == len);
    for (size_t i = 0; i < len; i++) {
        assert(text[i] >= '!' && text[i] <= '~');
    }
    assert(life_s >= 0 && life_s <= TOKEN_MAX_LIFE_S);
    assert(json_read((const char *)data, size, &root, NULL) == OK);
    value = json_object_get(root, "access_token");
    assert(strcmp(json_string_value(value), text) == 0);
    secret_free(secret);
    return 0;
}
