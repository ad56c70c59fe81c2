/* Guard, shared by its own files: guard.c (the life of a connection) and guard_answer.c (what a
 * client is told whose request is none). */
#ifndef GATEWAY_GUARD_PRIV_H
#define GATEWAY_GUARD_PRIV_H

struct evbuffer;

/* Adds the guard's answer, a problem, to what is sent. status is one that the framer gives. Returns
 * the NAME of the problem; static. */
const char *guard_answer(struct evbuffer *output, int status, const char *detail,
                         const char *request_id);

#endif
