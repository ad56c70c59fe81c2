/* Guard, shared by its own files: guard.c (the life of a connection) and guard_client.c (who is at
 * the other end of it, and what it is told). */
#ifndef GATEWAY_GUARD_PRIV_H
#define GATEWAY_GUARD_PRIV_H

#include <stddef.h>
#include <sys/socket.h>

struct bufferevent;
struct evbuffer;

/* Sets up a new socket, and says whose it is: the address (zeroed if the client is gone already)
 * and its numeric text ("unknown" then). */
void guard_greet(int fd, struct sockaddr_storage *ret_address, char *ret_remote, size_t size);

/* Adds the guard's answer, a problem, to what is sent. status is one that the framer gives. Returns
 * the NAME of the problem; static. */
const char *guard_answer(struct evbuffer *output, int status, const char *detail,
                         const char *request_id);

/* Says that nothing follows what was sent. */
void guard_end_output(struct bufferevent *underlying);

#endif
