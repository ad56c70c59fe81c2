/*
 * Splits addresses, binds them and tells what was bound.
 */
#include "listen.h"

#include <event2/http.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define HOST_SIZE 256

/* ret_host holds HOST_SIZE. */
static bool address_split(const char *address, char *ret_host, uint16_t *ret_port)
{
    const char *colon = strrchr(address, ':');
    size_t host_len = colon ? (size_t)(colon - address) : 0;
    char *end = NULL;
    unsigned long port = 0;

    if (host_len > 2 && address[0] == '[' && address[host_len - 1] == ']') {
        address++;
        host_len -= 2;
    } else if (memchr(address, ':', host_len)) {
        return false;
    }
    if (host_len == 0 || host_len >= HOST_SIZE || colon[1] < '0' || colon[1] > '9') {
        return false;
    }
    port = strtoul(colon + 1, &end, 10);
    if (*end != '\0' || port > UINT16_MAX) {
        return false;
    }
    memcpy(ret_host, address, host_len);
    ret_host[host_len] = '\0';
    *ret_port = (uint16_t)port;
    return true;
}

bool listen_address_is_valid(const char *address)
{
    char host[HOST_SIZE];
    uint16_t port = 0;

    return address_split(address, host, &port);
}

static json_t *bound_address(evutil_socket_t fd)
{
    struct sockaddr_storage address = {0};
    socklen_t address_len = sizeof(address);
    char host[NI_MAXHOST];
    char port[NI_MAXSERV];

    if (getsockname(fd, (struct sockaddr *)&address, &address_len) != 0 ||
        getnameinfo((struct sockaddr *)&address, address_len, host, sizeof(host), port,
                    sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        return NULL;
    }
    return json_sprintf(address.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

bool listen_bind(struct evhttp *http, const char *address, json_t *bound_addresses,
                 struct problem *problem)
{
    char host[HOST_SIZE];
    uint16_t port = 0;
    const int on = 1;
    struct evhttp_bound_socket *bound = NULL;
    evutil_socket_t fd = -1;

    if (address_split(address, host, &port)) {
        bound = evhttp_bind_socket_with_handle(http, host, port);
    }
    fd = bound ? evhttp_bound_socket_get_fd(bound) : -1;
    if (!bound || json_array_append_new(bound_addresses, bound_address(fd)) != 0) {
        problem_set(problem, "cannot listen on %s", address);
        return false;
    }
    /* Connections inherit it. Over TLS head and body leave as two segments, and without it the
     * second waits for the client's delayed acknowledgement, 40 ms. */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return true;
}
