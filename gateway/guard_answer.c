/* Guard, what it answers in evhttp's place. See guard_priv.h. */
#include "gateway/guard_priv.h"

#include "common/json.h"
#include "common/memory.h"
#include "gateway/problem.h"

#include <event2/buffer.h>
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
