/* Stream lookup: see stream_lookup.h. The C library asks the name servers on a thread of its own,
 * so names mean here what they mean to every other program of the machine. */
#include "gateway/stream_lookup.h"

#include <stdlib.h>

struct stream_lookup {
    struct gaicb request;
    struct addrinfo hints;
    char *host;
    char *port;
    int refused; /* why the request was not even taken */
};

struct stream_lookup *stream_lookup_new(const char *host, const char *port)
{
    struct stream_lookup *lookup = xcalloc(1, sizeof(*lookup));
    struct gaicb *list[1];

    list[0] = &lookup->request;
    lookup->host = xstrdup(host);
    lookup->port = xstrdup(port);
    lookup->hints = (struct addrinfo){
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    lookup->request = (struct gaicb){
        .ar_name = lookup->host, .ar_service = lookup->port, .ar_request = &lookup->hints};
    lookup->refused = getaddrinfo_a(GAI_NOWAIT, list, 1, NULL);
    return lookup;
}

enum err stream_lookup_result(struct stream_lookup *lookup, const struct addrinfo **ret_list,
                              struct error *error)
{
    int result = lookup->refused != 0 ? lookup->refused : gai_error(&lookup->request);

    if (result == EAI_INPROGRESS) {
        return ERR_UNAVAILABLE;
    }
    if (result != 0 || lookup->request.ar_result == NULL) {
        return error_set(error, ERR_NOT_FOUND, "looking up %s: %s", lookup->host,
                         result != 0 ? gai_strerror(result) : "it has no address");
    }
    *ret_list = lookup->request.ar_result;
    return OK;
}

void stream_lookup_free(struct stream_lookup *lookup)
{
    if (lookup == NULL) {
        return;
    }
    if (lookup->refused == 0 && gai_error(&lookup->request) == EAI_INPROGRESS &&
        gai_cancel(&lookup->request) == EAI_NOTCANCELED) {
        return; /* the library still writes to it: the lesser evil is to let it have it */
    }
    if (lookup->request.ar_result != NULL) {
        freeaddrinfo(lookup->request.ar_result);
    }
    free(lookup->host);
    free(lookup->port);
    free(lookup);
}
