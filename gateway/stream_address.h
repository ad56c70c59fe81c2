/* Stream address: where a syslog stream goes. Pure; any thread. */
#ifndef GATEWAY_STREAM_ADDRESS_H
#define GATEWAY_STREAM_ADDRESS_H

#include <stdbool.h>

enum stream_transport {
    STREAM_TLS,  /* RFC 5425 */
    STREAM_TCP,  /* RFC 6587, octet counting */
    STREAM_UNIX, /* a datagram for each message, or RFC 6587 if a stream socket listens */
};

struct stream_address {
    enum stream_transport transport;
    char host[256]; /* TLS, TCP: without brackets */
    char port[6];
    bool host_is_ip;
    char path[108]; /* UNIX: as long as the system allows */
};

/* Reads "tls://HOST:PORT", "tcp://IP:PORT" or "unix:/PATH". TCP is not encrypted, so the IP must be
 * a loopback address. NULL: it is good and in *ret_address, which may be NULL; else what is
 * expected (static). */
const char *stream_address_read(const char *text, struct stream_address *ret_address);

#endif
