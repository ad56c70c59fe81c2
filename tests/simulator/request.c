/*
 * What handlers want to know of a request, beyond what evhttp tells.
 */
#include <event2/buffer.h>
#include <string.h>
#include <strings.h>

#include "sim.h"

const char *sim_request_body(struct evhttp_request *req, size_t *ret_len)
{
    struct evbuffer *body = evhttp_request_get_input_buffer(req);
    const unsigned char *bytes = evbuffer_pullup(body, -1);

    *ret_len = evbuffer_get_length(body);
    return bytes ? (const char *)bytes : "";
}

bool sim_request_has_type(struct evhttp_request *req, const char *type)
{
    const char *value = evhttp_find_header(evhttp_request_get_input_headers(req), "Content-Type");

    return value && strncasecmp(value, type, strlen(type)) == 0 &&
           strchr("; \t", value[strlen(type)]) != NULL;
}
