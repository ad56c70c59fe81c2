/* URL: what may stand as an account's base_url. What is taken begins with https:// or http://, has
 * no user, query, fragment or white space, and over http names this machine; a path added to it, as
 * the gateway does for every call, leaves scheme, host and port as they are. */
#include "fuzz.h"

#include "common/memory.h"
#include "upstream/upstream.h"

#include <assert.h>
#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define PATH "/o/oauth/token?access_token=x"

static char *part_of(const char *url, CURLUPart part)
{
    CURLU *parts = curl_url();
    char *text = NULL;
    char *copy;

    assert(curl_url_set(parts, CURLUPART_URL, url, 0) == CURLUE_OK);
    (void)curl_url_get(parts, part, &text, CURLU_DEFAULT_PORT);
    copy = xstrdup(text);
    curl_free(text);
    curl_url_cleanup(parts);
    return copy;
}

static void check_same_part(const char *url, const char *longer, CURLUPart part)
{
    CLEANUP(cleanup_free) char *one = part_of(url, part);
    CLEANUP(cleanup_free) char *other = part_of(longer, part);

    assert(one != NULL && other != NULL && strcmp(one, other) == 0);
}

static void check_url(const char *url)
{
    CLEANUP(cleanup_free) char *longer = xasprintf("%s" PATH, url);
    CLEANUP(cleanup_free) char *host = part_of(url, CURLUPART_HOST);
    CLEANUP(cleanup_free) char *user = part_of(url, CURLUPART_USER);
    bool secure = strncasecmp(url, "https://", 8) == 0;

    assert(secure || strncasecmp(url, "http://", 7) == 0);
    assert(strpbrk(url, "?#@\\ \t\r\n") == NULL && user == NULL);
    assert(host != NULL && host[0] != '\0');
    assert(secure || strcasecmp(host, "localhost") == 0 || strncmp(host, "127.", 4) == 0 ||
           host[0] == '[');
    check_same_part(url, longer, CURLUPART_SCHEME);
    check_same_part(url, longer, CURLUPART_HOST);
    check_same_part(url, longer, CURLUPART_PORT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(cleanup_free) char *url = fuzz_text((struct fuzz_piece){(const char *)data, size});
    struct error error = {0};
    enum err err = upstream_check_url(url, &error);

    if (err == OK) {
        check_url(url);
    } else {
        assert(err == ERR_INVALID && error.text[0] != '\0');
    }
    return 0;
}
