/* Connections: see connections.h. A hash table with a seed of its own, so that nobody can choose
 * addresses that collide. */
#include "gateway/connections.h"

#include "common/crypto.h"

#include <assert.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 16384 /* not a bound */

/* The first 64 bits of an IPv6 address, or all 32 of an IPv4 address. */
struct name {
    uint64_t bits;
    uint64_t family;
};

struct origin {
    struct origin *next; /* in its bucket */
    struct name name;
    size_t open;
};

struct connections {
    pthread_mutex_t lock;
    uint64_t seed[2];
    bool abandoned; /* under lock, as all below */
    size_t open;
    size_t origins;
    struct origin *buckets[BUCKETS];
};

struct connections *connections_new(void)
{
    struct connections *connections = xcalloc(1, sizeof(*connections));

    (void)pthread_mutex_init(&connections->lock, NULL);
    crypto_random(connections->seed, sizeof(connections->seed));
    return connections;
}

/* Unlocks; and ends it, if nobody needs it any more. */
static void unlock(struct connections *connections)
{
    bool ended = connections->abandoned && connections->open == 0;

    (void)pthread_mutex_unlock(&connections->lock);
    if (ended) {
        (void)pthread_mutex_destroy(&connections->lock);
        free(connections);
    }
}

void connections_free(struct connections *connections)
{
    if (connections != NULL) {
        (void)pthread_mutex_lock(&connections->lock);
        connections->abandoned = true;
        unlock(connections);
    }
}

/* An IPv4 client of an IPv6 socket is an IPv4 client. */
static struct name name_of(const struct sockaddr *address)
{
    struct name name = {.family = AF_UNSPEC};

    if (address != NULL && address->sa_family == AF_INET) {
        name.bits = ((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr;
        name.family = AF_INET;
    } else if (address != NULL && address->sa_family == AF_INET6) {
        const struct in6_addr *in6 =
            &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
        bool is_mapped = IN6_IS_ADDR_V4MAPPED(in6);
        memcpy(&name.bits, in6->s6_addr + (is_mapped ? 12 : 0), is_mapped ? 4 : 8);
        name.family = is_mapped ? AF_INET : AF_INET6;
    }
    return name;
}

/* Of the multiply-and-fold kind (wyhash, Wang Yi): both halves of a 128-bit product. */
static struct origin **find(struct connections *connections, const struct name *name)
{
    unsigned __int128 product = (unsigned __int128)(name->bits ^ connections->seed[0]) *
                                ((name->family ^ connections->seed[1]) | 1);
    uint64_t hash = (uint64_t)product ^ (uint64_t)(product >> 64);
    struct origin **link = &connections->buckets[(hash ^ hash >> 32) % BUCKETS];

    while (*link != NULL &&
           ((*link)->name.bits != name->bits || (*link)->name.family != name->family)) {
        link = &(*link)->next;
    }
    return link;
}

enum err connections_enter(struct connections *connections, const struct sockaddr *address,
                           size_t max, size_t max_per_address, struct origin **ret_origin)
{
    struct name name = name_of(address);
    struct origin **link;
    enum err err = OK;

    (void)pthread_mutex_lock(&connections->lock);
    link = find(connections, &name);
    if (connections->open >= max) {
        err = ERR_FULL;
    } else if ((*link != NULL ? (*link)->open : 0) >= max_per_address) {
        err = ERR_DENIED;
    } else {
        if (*link == NULL) {
            *link = xcalloc(1, sizeof(**link));
            (*link)->name = name;
            connections->origins++;
        }
        connections->open++;
        (*link)->open++;
        *ret_origin = *link;
    }
    (void)pthread_mutex_unlock(&connections->lock);
    return err;
}

void connections_leave(struct connections *connections, struct origin *origin)
{
    (void)pthread_mutex_lock(&connections->lock);
    connections->open--;
    if (--origin->open == 0) {
        struct origin **link = find(connections, &origin->name);
        assert(*link == origin);
        *link = origin->next;
        connections->origins--;
        free(origin);
    }
    unlock(connections);
}

size_t connections_open(struct connections *connections)
{
    size_t open;

    (void)pthread_mutex_lock(&connections->lock);
    open = connections->open;
    (void)pthread_mutex_unlock(&connections->lock);
    return open;
}

size_t connections_origins(struct connections *connections)
{
    size_t origins;

    (void)pthread_mutex_lock(&connections->lock);
    origins = connections->origins;
    (void)pthread_mutex_unlock(&connections->lock);
    return origins;
}
