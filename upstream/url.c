/* URL: which of them an account may use (upstream_check_url() in upstream.h). Pure; any thread. */
#include "upstream/upstream.h"

#include <arpa/inet.h>
#include <assert.h>
#include <curl/curl.h>
#include <string.h>
#include <strings.h>

static bool is_loopback(const char *host)
{
    char address[INET6_ADDRSTRLEN];
    size_t len = strlen(host);
    struct in_addr v4;
    struct in6_addr v6;

    if (strcasecmp(host, "localhost") == 0) {
        return true;
    }
    if (inet_pton(AF_INET, host, &v4) == 1) {
        return ntohl(v4.s_addr) >> 24 == 127;
    }
    if (len < 3 || len - 2 >= sizeof(address) || host[0] != '[' || host[len - 1] != ']') {
        return false;
    }
    memcpy(address, host + 1, len - 2);
    address[len - 2] = '\0';
    return inet_pton(AF_INET6, address, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

/* Whether two slashes, no less and no more, follow the scheme: curl lets one and three pass. */
static bool has_two_slashes(const char *url)
{
    const char *colon = strchr(url, ':');

    return colon != NULL && strncmp(colon, "://", 3) == 0 && colon[3] != '/';
}

static enum err check_parts(const char *scheme, const char *host, struct error *error)
{
    if (strcasecmp(scheme, "https") == 0) {
        return OK;
    }
    if (strcasecmp(scheme, "http") != 0) {
        return error_set(error, ERR_INVALID, "the URL must begin with https://");
    }
    if (!is_loopback(host)) {
        return error_set(error, ERR_INVALID,
                         "http:// is for loopback addresses only: use https://");
    }
    return OK;
}

enum err upstream_check_url(const char *url, struct error *error)
{
    CURLU *parts;
    char *scheme = NULL;
    char *host = NULL;
    enum err err;

    for (const char *c = url; *c != '\0'; c++) {
        if (*c <= ' ' || *c > '~' || strchr("?#@\\", *c) != NULL) {
            return error_set(error, ERR_INVALID,
                             "the URL must have no user, query, fragment, white space or "
                             "characters outside ASCII");
        }
    }
    parts = curl_url();
    assert(parts != NULL);
    if (!has_two_slashes(url) || curl_url_set(parts, CURLUPART_URL, url, 0) != CURLUE_OK ||
        curl_url_get(parts, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
        curl_url_get(parts, CURLUPART_HOST, &host, 0) != CURLUE_OK) {
        err = error_set(error, ERR_INVALID, "this is not a URL such as https://host/path");
    } else {
        err = check_parts(scheme, host, error);
    }
    curl_free(scheme);
    curl_free(host);
    curl_url_cleanup(parts);
    return err;
}
