/* Listener: see listener.h. */
#include "gateway/listener.h"

#include "gateway/config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 1024

union any_address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static socklen_t address_size(const union any_address *address)
{
    return address->any.sa_family == AF_INET ? sizeof(address->v4) : sizeof(address->v6);
}

static enum err resolve(const char *text, union any_address *ret_address)
{
    char host[64];
    uint16_t port;

    *ret_address = (union any_address){0};
    if (config_split_address(text, host, sizeof(host), &port) != OK) {
        return ERR_INVALID;
    }
    if (inet_pton(AF_INET, host, &ret_address->v4.sin_addr) == 1) {
        ret_address->v4.sin_family = AF_INET;
        ret_address->v4.sin_port = htons(port);
    } else {
        (void)inet_pton(AF_INET6, host, &ret_address->v6.sin6_addr);
        ret_address->v6.sin6_family = AF_INET6;
        ret_address->v6.sin6_port = htons(port);
    }
    return OK;
}

/* One socket; on success *address is the address really bound. -1 sets errno. */
static int open_one(union any_address *address)
{
    const int on = 1;
    socklen_t len = address_size(address);
    int fd = socket(address->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0) {
        return -1;
    }
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) != 0 ||
        /* Connections inherit it: without, an answer over TLS can wait 40 ms for its second half.
         */
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0 ||
        bind(fd, &address->any, len) != 0 || listen(fd, BACKLOG) != 0 ||
        getsockname(fd, &address->any, &len) != 0) {
        int saved = errno;
        (void)close(fd);
        errno = saved;
        return -1;
    }
    return fd;
}

static void format(const union any_address *address, char text[LISTENER_ADDRESS_SIZE])
{
    char host[INET6_ADDRSTRLEN];

    if (address->any.sa_family == AF_INET) {
        (void)inet_ntop(AF_INET, &address->v4.sin_addr, host, sizeof(host));
        (void)snprintf(text, LISTENER_ADDRESS_SIZE, "%s:%u", host, ntohs(address->v4.sin_port));
    } else {
        (void)inet_ntop(AF_INET6, &address->v6.sin6_addr, host, sizeof(host));
        (void)snprintf(text, LISTENER_ADDRESS_SIZE, "[%s]:%u", host, ntohs(address->v6.sin6_port));
    }
}

enum err listener_open(const char *address, size_t count, int *ret_fds,
                       char ret_bound[LISTENER_ADDRESS_SIZE], struct error *error)
{
    union any_address bound;
    size_t opened = 0;

    if (resolve(address, &bound) != OK) {
        return error_set(error, ERR_INVALID, "%s: not an address and port", address);
    }
    /* SO_REUSEPORT would let a second gateway of the same user share the port without a word. */
    union any_address probe = bound;
    int fd = socket(probe.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int on = 1;
    if (fd >= 0) {
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
        int failed = bind(fd, &probe.any, address_size(&probe));
        int saved = errno;
        (void)close(fd);
        if (failed != 0) {
            return error_set(error, ERR_IO, "cannot listen on %s: %s", address, strerror(saved));
        }
    }
    for (; opened < count; opened++) {
        ret_fds[opened] = open_one(&bound);
        if (ret_fds[opened] < 0) {
            (void)error_set(error, ERR_IO, "cannot listen on %s: %s", address, strerror(errno));
            while (opened > 0) {
                (void)close(ret_fds[--opened]);
            }
            return ERR_IO;
        }
    }
    format(&bound, ret_bound);
    return OK;
}
