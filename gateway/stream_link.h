/* Stream link: a connection that messages go over, and that nobody answers on: TLS, TCP, or a Unix
 * socket of either kind. Bounded, never waits. On the streams' thread. */
#ifndef GATEWAY_STREAM_LINK_H
#define GATEWAY_STREAM_LINK_H

#include "gateway/stream.h"
#include "gateway/stream_address.h"

struct stream_link;

/* address is copied. */
struct stream_link *stream_link_new(const struct stream_setup *setup,
                                    const struct stream_address *address);
void stream_link_free(struct stream_link *link);

/* Begins to connect. Of several addresses of a name the next one is tried each time. */
void stream_link_open(struct stream_link *link);
void stream_link_close(struct stream_link *link);

/* CLOSED, OPENING, OPEN, ENDED (the other side closed it and had read all that its system had
 * acknowledged) or FAILED, with the reason. Changes only in calls of this module and in the event
 * loop; there setup's wake follows. */
enum stream_state stream_link_state(const struct stream_link *link, struct error *ret_why);

/* OPEN: whether messages are datagrams, of at most *ret_max bytes; else they need framing. */
bool stream_link_datagrams(const struct stream_link *link, size_t *ret_max);

/* OPEN: whether a message would be taken now. If not, wake is called when it would. */
bool stream_link_has_room(const struct stream_link *link);

/* OPEN, with room: takes a message, head and body together. False: a datagram could not be sent now
 * (wake is called when to try again), or the link failed. */
bool stream_link_send(struct stream_link *link, const char *head, size_t head_len, const char *body,
                      size_t body_len);

/* Since it was opened: bytes that still wait in its own buffer, bytes given to the system, and how
 * many of these the other side has not got. */
void stream_link_count(const struct stream_link *link, size_t *ret_buffered, uint64_t *ret_written,
                       uint64_t *ret_missing);

/* What the other side may have got without having read it, in bytes. */
uint64_t stream_link_margin(const struct stream_link *link);

/* Five times a second: look-ups and time-outs. */
void stream_link_check(struct stream_link *link);

/* OPEN, nothing buffered: sends no more. It becomes ENDED when the other side closes, too. */
void stream_link_finish(struct stream_link *link);

#endif
