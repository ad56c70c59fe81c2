/* Stream lookup: see stream_lookup.h. The C library may wait long for a name server, so it is asked
 * on a thread of its own, which nobody waits for: who of the two comes last frees the lookup. */
#include "gateway/stream_lookup.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

struct stream_lookup {
    char *host;
    char *port;
    pthread_mutex_t lock;
    int owners; /* under lock, as are the others */
    bool done;
    int result;
    struct addrinfo *list;
};

static void *run(void *arg);

/* Asks; an IP address is not looked up anywhere. */
static int ask(const struct stream_lookup *lookup, int flags, struct addrinfo **ret_list)
{
    const struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | flags};

    return getaddrinfo(lookup->host, lookup->port, &hints, ret_list);
}

struct stream_lookup *stream_lookup_new(const char *host, const char *port)
{
    struct stream_lookup *lookup = xcalloc(1, sizeof(*lookup));
    pthread_t thread;

    lookup->host = xstrdup(host);
    lookup->port = xstrdup(port);
    lookup->owners = 1;
    (void)pthread_mutex_init(&lookup->lock, NULL);
    if (ask(lookup, AI_NUMERICHOST, &lookup->list) == 0) {
        lookup->done = true;
        return lookup;
    }
    lookup->owners = 2;
    if (pthread_create(&thread, NULL, run, lookup) == 0) {
        (void)pthread_detach(thread);
    } else {
        lookup->owners = 1;
        lookup->done = true;
        lookup->result = EAI_MEMORY;
    }
    return lookup;
}

enum err stream_lookup_result(struct stream_lookup *lookup, const struct addrinfo **ret_list,
                              struct error *error)
{
    enum err err = ERR_UNAVAILABLE;

    (void)pthread_mutex_lock(&lookup->lock);
    if (lookup->done && lookup->result != 0) {
        err = error_set(error, ERR_NOT_FOUND, "looking up %s: %s", lookup->host,
                        gai_strerror(lookup->result));
    } else if (lookup->done) {
        err = OK;
        *ret_list = lookup->list;
    }
    (void)pthread_mutex_unlock(&lookup->lock);
    return err;
}

void stream_lookup_free(struct stream_lookup *lookup)
{
    bool last;

    if (lookup == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&lookup->lock);
    last = --lookup->owners == 0;
    (void)pthread_mutex_unlock(&lookup->lock);
    if (last) {
        if (lookup->list != NULL) {
            freeaddrinfo(lookup->list);
        }
        (void)pthread_mutex_destroy(&lookup->lock);
        free(lookup->host);
        free(lookup->port);
        free(lookup);
    }
}

static void *run(void *arg)
{
    struct stream_lookup *lookup = arg;
    struct addrinfo *list = NULL;
    int result = ask(lookup, 0, &list);

    (void)pthread_mutex_lock(&lookup->lock);
    lookup->list = list;
    lookup->result = result;
    lookup->done = true;
    (void)pthread_mutex_unlock(&lookup->lock);
    stream_lookup_free(lookup);
    return NULL;
}
