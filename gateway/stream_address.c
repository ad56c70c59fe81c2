/* Stream address: see stream_address.h. */
#include "gateway/stream_address.h"

#include "common/memory.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#define EXPECTED                                                                                   \
    "tls://HOST:PORT, tcp://LOOPBACK-ADDRESS:PORT or unix:/PATH (107 bytes at most), such as "     \
    "tls://logs.example.com:6514 or unix:/dev/log"

static bool is_loopback(const char *host)
{
    struct in_addr v4;
    struct in6_addr v6;

    return (inet_pton(AF_INET, host, &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127) ||
           (inet_pton(AF_INET6, host, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6));
}

static bool is_ip(const char *host)
{
    uint8_t parsed[sizeof(struct in6_addr)];

    return inet_pton(AF_INET, host, parsed) == 1 || inet_pton(AF_INET6, host, parsed) == 1;
}

static bool is_name(const char *host)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-";

    return host[0] != '-' && host[0] != '.' && strspn(host, allowed) == strlen(host);
}

/* HOST:PORT or [IPv6]:PORT. */
static bool read_host(const char *text, struct stream_address *address)
{
    const char *colon = strrchr(text, ':');
    bool bracketed = text[0] == '[';
    const char *from = text + (bracketed ? 1 : 0);
    size_t len;
    size_t digits;

    if (colon == NULL || (bracketed && (colon - text < 3 || colon[-1] != ']'))) {
        return false;
    }
    len = (size_t)(colon - from) - (bracketed ? 1 : 0);
    digits = strspn(colon + 1, "0123456789");
    if (len == 0 || len >= sizeof(address->host) || digits == 0 || digits > 5 ||
        colon[1 + digits] != '\0' || colon[1] == '0' || strtol(colon + 1, NULL, 10) > 65535) {
        return false;
    }
    memcpy(address->host, from, len);
    address->host[len] = '\0';
    memcpy(address->port, colon + 1, digits + 1);
    address->host_is_ip = is_ip(address->host);
    return bracketed ? address->host_is_ip && strchr(address->host, ':') != NULL
                     : is_name(address->host);
}

const char *stream_address_read(const char *text, struct stream_address *ret_address)
{
    struct stream_address address = {.transport = STREAM_TLS};
    bool good = false;

    if (strncmp(text, "tls://", 6) == 0) {
        good = read_host(text + 6, &address);
    } else if (strncmp(text, "tcp://", 6) == 0) {
        address.transport = STREAM_TCP;
        good = read_host(text + 6, &address);
        if (good && !is_loopback(address.host)) {
            return "tls:// for anything but a loopback address: TCP is not encrypted";
        }
    } else if (strncmp(text, "unix:", 5) == 0) {
        size_t len = strlen(text + 5);
        address.transport = STREAM_UNIX;
        good = text[5] == '/' && len < sizeof(address.path);
        if (good) {
            memcpy(address.path, text + 5, len + 1);
        }
    }
    if (good && ret_address != NULL) {
        *ret_address = address;
    }
    return good ? NULL : EXPECTED;
}
