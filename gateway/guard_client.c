/* Guard, the client: see guard_priv.h. */
#include "gateway/guard_priv.h"

#include "common/json.h"
#include "common/memory.h"
#include "gateway/problem.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <string.h>

static const struct answer {
    int status;
    const char *reason; /* the status line's */
    enum problem_type problem;
} answers[] = {
    {400, "Bad Request", PROBLEM_MALFORMED_REQUEST},
    {413, "Content Too Large", PROBLEM_BODY_TOO_LARGE},
    {431, "Request Header Fields Too Large", PROBLEM_HEADER_TOO_LARGE},
};

void guard_greet(int fd, struct sockaddr_storage *ret_address, char *ret_remote, size_t size)
{
    int yes = 1;
    socklen_t len = sizeof(*ret_address);

    *ret_address = (struct sockaddr_storage){0};
    /* A reply goes out in pieces over TLS, and each would wait for the one before. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
    if (getpeername(fd, (struct sockaddr *)ret_address, &len) != 0 ||
        getnameinfo((struct sockaddr *)ret_address, len, ret_remote, (socklen_t)size, NULL, 0,
                    NI_NUMERICHOST) != 0) {
        (void)snprintf(ret_remote, size, "unknown");
    }
}

const char *guard_answer(struct evbuffer *output, int status, const char *detail,
                         const char *request_id)
{
    const struct answer *answer = answers;
    CLEANUP(cleanup_json) json_t *problem = NULL;
    CLEANUP(cleanup_free) char *body = NULL;

    while (answer->status != status) {
        answer++;
    }
    problem = problem_json(answer->problem, detail, request_id);
    body = json_write(problem);
    (void)evbuffer_add_printf(
        output,
        "HTTP/1.1 %d %s\r\nContent-Type: application/problem+json\r\n"
        "Content-Length: %zu\r\nConnection: close\r\nX-Request-ID: %s\r\n\r\n%s",
        status, answer->reason, strlen(body), request_id, body);
    return problem_name(answer->problem);
}

void guard_end_output(struct bufferevent *underlying)
{
    SSL *ssl = bufferevent_openssl_get_ssl(underlying);

    if (ssl != NULL) {
        (void)SSL_shutdown(ssl);
        ERR_clear_error();
    }
    (void)shutdown(bufferevent_getfd(underlying), SHUT_WR);
}
