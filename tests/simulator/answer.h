/*
 * What the simulator is going to answer to one request, and in which manner, right or broken.
 */
#ifndef SIM_ANSWER_H
#define SIM_ANSWER_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

enum delivery {
    DELIVER_WHOLE,
    DELIVER_HALF,    /* the full Content-Length, half of the body, then close */
    DELIVER_ENDLESS, /* a chunked body that never stops */
    DELIVER_CLOSE,   /* nothing, close */
    DELIVER_HANG,    /* nothing, leave the connection open */
};

/* Zeroed is an answer without a status. The body is json until answer_render(), then text. */
struct answer {
    int status;
    json_t *headers; /* object of strings; NULL for none */
    json_t *json;
    char *text;
    size_t text_bytes;
    enum delivery delivery;
    int64_t delay_ms;
    int64_t call; /* handle in calls of what was executed, or 0 */
};

/* Each replaces status and body. The json is taken over; the text of len bytes too. */
void answer_set_json(struct answer *answer, int status, json_t *json_take);
void answer_set_text(struct answer *answer, int status, char *text_take, size_t len);

/* An error body: {"error":code,"error_description":detail}; detail NULL leaves that out. */
void answer_set_error(struct answer *answer, int status, const char *code, const char *detail);

void answer_add_header(struct answer *answer, const char *name, const char *value);

/* Turns a json body into its text. */
void answer_render(struct answer *answer);

/* Frees what the answer holds and zeroes it. */
void answer_done(struct answer *answer);

#endif
