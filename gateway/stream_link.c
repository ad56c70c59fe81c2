/* Stream link: see stream_link.h. A link first connects a plain socket, then puts a bufferevent on
 * it; datagrams do without. */
#include "gateway/stream_link.h"

#include "common/clock.h"
#include "gateway/stream_lookup.h"
#include "gateway/tls.h"

#include <assert.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define BUFFER_HIGH 262144 /* bytes that may wait in our buffer: no more are taken */
#define BUFFER_LOW  65536  /* until there are only so many */
#define CONNECT_MS  10000  /* for a look-up, a connection, and TLS's handshake, each */
#define ENDED_MS    500    /* to see how the other side ended a connection */
#define SILENCE_MS  120000 /* without a word from the other system: the connection is dead */

#define TCP_MARGIN  (4U << 20) /* Linux lets a program leave about so much unread */
#define UNIX_BUFFER (1 << 20)  /* asked for; the system gives what it allows */

struct stream_link {
    const struct stream_config *config;
    struct stream_address address;
    struct event_base *base;
    void (*wake)(void *arg);
    void *arg;
    enum stream_state state;
    struct error why;
    struct stream_lookup *lookup;
    size_t attempt;
    int64_t deadline_ms; /* OPENING */
    int64_t ended_ms;    /* OPEN: when the other side ended it; 0: it did not */
    bool finishing;      /* we said that we send no more */
    int fd;              /* -1: none; the bufferevent's once there is one */
    struct event *ready; /* connecting: it is decided; datagrams: there is room */
    struct bufferevent *bev;
    SSL *ssl; /* the bufferevent's, or NULL */
    bool datagrams;
    bool full; /* datagrams */
    size_t sndbuf;
    uint64_t added; /* bytes taken */
};

/* ---- State ---- */

static void become(struct stream_link *link, enum stream_state state)
{
    link->state = state;
    link->wake(link->arg);
}

static void on_failed(struct stream_link *link, const char *what, const char *reason)
{
    (void)error_set(&link->why, ERR_UNAVAILABLE, "%s: %s: %s", link->config->address, what, reason);
    become(link, STREAM_FAILED);
}

enum stream_state stream_link_state(const struct stream_link *link, struct error *ret_why)
{
    if (ret_why != NULL) {
        *ret_why = link->why;
    }
    return link->state;
}

/* ---- Bufferevents ---- */

static void on_written(struct bufferevent *bev, void *arg)
{
    struct stream_link *link = arg;

    (void)bev;
    link->wake(link->arg);
}

/* Nothing that a receiver says means anything. */
static void on_read(struct bufferevent *bev, void *arg)
{
    struct evbuffer *input = bufferevent_get_input(bev);

    (void)arg;
    (void)evbuffer_drain(input, evbuffer_get_length(input));
}

/* Why TLS ended. Few say goodbye in TLS's own way. One who does not may have been cut off, unless
 * we said that all is sent: then true. */
static bool tls_problem(struct stream_link *link, char *text, size_t size)
{
    unsigned long problem = bufferevent_get_openssl_error(link->bev);
    long verified = SSL_get_verify_result(link->ssl);

    if (ERR_GET_REASON(problem) == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
        (void)snprintf(text, size, "the receiver closed it without a word");
        return link->finishing;
    }
    if (verified != X509_V_OK) {
        (void)snprintf(text, size, "%s", X509_verify_cert_error_string(verified));
    } else if (ERR_GET_LIB(problem) != 0) {
        ERR_error_string_n(problem, text, size);
    }
    return false;
}

static void become_ended(struct stream_link *link)
{
    (void)error_set(&link->why, ERR_UNAVAILABLE, "%s: the receiver closed the connection",
                    link->config->address);
    become(link, STREAM_ENDED);
}

/* A system that closes a connection with unread data says so, but its program may have said that it
 * will send no more just before that, and only this has come yet. */
static void on_ended(struct stream_link *link)
{
    (void)bufferevent_disable(link->bev, EV_READ | EV_WRITE);
    if (link->finishing) {
        become_ended(link);
    } else {
        link->ended_ms = clock_boot_ms();
    }
}

static void check_ended(struct stream_link *link)
{
    int failure = 0;
    socklen_t len = sizeof(failure);

    if (link->ended_ms == 0 || clock_boot_ms() - link->ended_ms < ENDED_MS) {
        return;
    }
    if (getsockopt(link->fd, SOL_SOCKET, SO_ERROR, &failure, &len) != 0 || failure != 0) {
        on_failed(link, "the receiver closed the connection", "it had not read everything");
    } else {
        become_ended(link);
    }
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
    struct stream_link *link = arg;
    int failure = EVUTIL_SOCKET_ERROR();
    char reason[256];
    bool ended = (what & BEV_EVENT_EOF) != 0;

    (void)bev;
    if (link->state != STREAM_OPENING && link->state != STREAM_OPEN) {
        return;
    }
    if ((what & BEV_EVENT_CONNECTED) != 0) {
        become(link, STREAM_OPEN);
        return;
    }
    (void)snprintf(reason, sizeof(reason), "%s", strerror(failure));
    if (!ended && link->ssl != NULL) {
        ended = tls_problem(link, reason, sizeof(reason));
    }
    if (link->state == STREAM_OPENING) {
        on_failed(link, "TLS", ended ? "the receiver closed it" : reason);
    } else if (ended) {
        on_ended(link);
    } else {
        on_failed(link, "the connection broke", reason);
    }
}

static void set_up_bufferevent(struct stream_link *link)
{
    bufferevent_setcb(link->bev, on_read, on_written, on_event, link);
    bufferevent_setwatermark(link->bev, EV_WRITE, BUFFER_LOW, 0);
    (void)bufferevent_enable(link->bev, EV_READ | EV_WRITE);
}

static bool start_tls(struct stream_link *link)
{
    const struct stream_config *config = link->config;
    const char *host = link->address.host;
    SSL_CTX *context = NULL;
    bool named;

    if (tls_client_context(config->ca_file, config->certificate, config->key, &context,
                           &link->why) != OK) {
        become(link, STREAM_FAILED);
        return false;
    }
    link->ssl = SSL_new(context);
    SSL_CTX_free(context);
    named = link->ssl != NULL &&
            (link->address.host_is_ip
                 ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(link->ssl), host) == 1
                 : SSL_set1_host(link->ssl, host) == 1 &&
                       SSL_set_tlsext_host_name(link->ssl, host) == 1);
    if (!named) {
        SSL_free(link->ssl);
        link->ssl = NULL;
        on_failed(link, "TLS", "the name of the receiver cannot be checked");
        return false;
    }
    link->bev = bufferevent_openssl_socket_new(link->base, link->fd, link->ssl,
                                               BUFFEREVENT_SSL_CONNECTING, BEV_OPT_CLOSE_ON_FREE);
    assert(link->bev != NULL);
    return true;
}

/* ---- Connecting ---- */

static void drop(struct stream_link *link)
{
    if (link->ready != NULL) {
        event_free(link->ready);
        link->ready = NULL;
    }
    if (link->bev != NULL) {
        bufferevent_free(link->bev); /* and ssl, and fd */
    } else if (link->fd >= 0) {
        (void)close(link->fd);
    }
    stream_lookup_free(link->lookup);
    link->lookup = NULL;
    link->bev = NULL;
    link->ssl = NULL;
    link->fd = -1;
    link->datagrams = false;
    link->full = false;
    link->finishing = false;
    link->ended_ms = 0;
    link->added = 0;
}

static void set_deadline(struct stream_link *link)
{
    link->deadline_ms = clock_boot_ms() + CONNECT_MS;
}

static void on_connected(struct stream_link *link)
{
    if (link->ready != NULL) {
        event_free(link->ready);
        link->ready = NULL;
    }
    if (link->address.transport == STREAM_TLS) {
        set_deadline(link);
        if (start_tls(link)) {
            set_up_bufferevent(link);
        }
        return;
    }
    link->bev = bufferevent_socket_new(link->base, link->fd, BEV_OPT_CLOSE_ON_FREE);
    assert(link->bev != NULL);
    set_up_bufferevent(link);
    become(link, STREAM_OPEN);
}

static void on_decided(evutil_socket_t fd, short what, void *arg)
{
    struct stream_link *link = arg;
    int failure = 0;
    socklen_t len = sizeof(failure);

    (void)what;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &len) != 0 || failure != 0) {
        on_failed(link, "connecting", strerror(failure));
    } else {
        on_connected(link);
    }
}

/* A dead machine is noticed while something is sent, and while nothing is. */
static void set_tcp_options(int fd)
{
    const int on = 1;
    const int idle_s = 60;
    const unsigned silence_ms = SILENCE_MS;

    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &silence_ms, sizeof(silence_ms));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static void connect_tcp(struct stream_link *link, const struct addrinfo *list)
{
    size_t count = 1;
    const struct addrinfo *chosen = list;

    for (const struct addrinfo *at = list->ai_next; at != NULL; at = at->ai_next) {
        count++;
    }
    for (size_t i = link->attempt++ % count; i > 0; i--) {
        chosen = chosen->ai_next;
    }
    set_deadline(link);
    link->fd = socket(chosen->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (link->fd < 0) {
        on_failed(link, "connecting", strerror(errno));
        return;
    }
    set_tcp_options(link->fd);
    if (connect(link->fd, chosen->ai_addr, chosen->ai_addrlen) == 0) {
        on_connected(link);
    } else if (errno == EINPROGRESS) {
        link->ready = event_new(link->base, link->fd, EV_WRITE, on_decided, link);
        (void)event_add(link->ready, NULL);
    } else {
        on_failed(link, "connecting", strerror(errno));
    }
}

static void on_room(evutil_socket_t fd, short what, void *arg)
{
    struct stream_link *link = arg;

    (void)fd;
    (void)what;
    link->full = false;
    link->wake(link->arg);
}

/* A Unix socket connects at once or not at all. EPROTOTYPE: it is of the other kind. */
static int connect_unix(struct stream_link *link, int type)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    const int wanted = UNIX_BUFFER;
    int got = 0;
    socklen_t len = sizeof(got);

    (void)snprintf(to.sun_path, sizeof(to.sun_path), "%s", link->address.path);
    link->fd = socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (link->fd < 0 || connect(link->fd, (struct sockaddr *)&to, sizeof(to)) != 0) {
        return errno;
    }
    (void)setsockopt(link->fd, SOL_SOCKET, SO_SNDBUF, &wanted, sizeof(wanted));
    (void)getsockopt(link->fd, SOL_SOCKET, SO_SNDBUF, &got, &len);
    link->sndbuf = got > 4096 ? (size_t)got : 4096;
    return 0;
}

static void open_unix(struct stream_link *link)
{
    int failure = connect_unix(link, SOCK_DGRAM);

    if (failure == 0) {
        link->datagrams = true;
        link->ready = event_new(link->base, link->fd, EV_WRITE, on_room, link);
        become(link, STREAM_OPEN);
        return;
    }
    if (failure == EPROTOTYPE) {
        (void)close(link->fd);
        failure = connect_unix(link, SOCK_STREAM);
    }
    if (failure == 0) {
        on_connected(link);
    } else {
        on_failed(link, "connecting", strerror(failure));
    }
}

void stream_link_open(struct stream_link *link)
{
    drop(link);
    link->state = STREAM_OPENING;
    link->why = (struct error){0};
    set_deadline(link);
    if (link->address.transport == STREAM_UNIX) {
        open_unix(link);
    } else {
        link->lookup = stream_lookup_new(link->address.host, link->address.port);
        stream_link_check(link);
    }
}

void stream_link_check(struct stream_link *link)
{
    const struct addrinfo *list = NULL;

    if (link->state == STREAM_OPEN) {
        check_ended(link);
    }
    if (link->state != STREAM_OPENING) {
        return;
    }
    if (link->lookup != NULL && link->fd < 0) {
        enum err err = stream_lookup_result(link->lookup, &list, &link->why);
        if (err == OK) {
            connect_tcp(link, list);
            return;
        }
        if (err != ERR_UNAVAILABLE) {
            become(link, STREAM_FAILED);
            return;
        }
    }
    if (clock_boot_ms() > link->deadline_ms) {
        on_failed(link, "connecting", "no answer in time");
    }
}

/* ---- Sending ---- */

bool stream_link_datagrams(const struct stream_link *link, size_t *ret_max)
{
    *ret_max = link->datagrams ? link->sndbuf - 32 : SIZE_MAX; /* the system's own share */
    return link->datagrams;
}

bool stream_link_has_room(const struct stream_link *link)
{
    if (link->datagrams) {
        return !link->full;
    }
    return link->ended_ms == 0 &&
           evbuffer_get_length(bufferevent_get_output(link->bev)) < BUFFER_HIGH;
}

static bool send_datagram(struct stream_link *link, const char *body, size_t len)
{
    if (send(link->fd, body, len, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) {
        link->added += len;
        return true;
    }
    if (errno == EAGAIN || errno == ENOBUFS || errno == EINTR) {
        link->full = true;
        (void)event_add(link->ready, NULL);
    } else {
        on_failed(link, "sending", strerror(errno));
    }
    return false;
}

bool stream_link_send(struct stream_link *link, const char *head, size_t head_len, const char *body,
                      size_t body_len)
{
    struct evbuffer *output;

    if (link->datagrams) {
        return send_datagram(link, body, body_len);
    }
    output = bufferevent_get_output(link->bev);
    (void)evbuffer_add(output, head, head_len);
    (void)evbuffer_add(output, body, body_len);
    link->added += head_len + body_len;
    return true;
}

void stream_link_count(const struct stream_link *link, size_t *ret_buffered, uint64_t *ret_written,
                       uint64_t *ret_missing)
{
    int missing = 0;

    *ret_buffered = link->bev != NULL ? evbuffer_get_length(bufferevent_get_output(link->bev)) : 0;
    *ret_written = link->ssl != NULL ? BIO_number_written(SSL_get_wbio(link->ssl))
                                     : link->added - *ret_buffered;
    if (ioctl(link->fd, SIOCOUTQ, &missing) != 0 || missing < 0) {
        *ret_missing = *ret_written; /* then nothing is known to have arrived */
    } else {
        *ret_missing = (uint64_t)missing;
    }
}

uint64_t stream_link_margin(const struct stream_link *link)
{
    return link->address.transport == STREAM_UNIX ? link->sndbuf : TCP_MARGIN;
}

void stream_link_finish(struct stream_link *link)
{
    if (link->datagrams) {
        become(link, STREAM_ENDED);
        return;
    }
    link->finishing = true;
    if (link->ended_ms != 0) {
        return;
    }
    if (link->ssl != NULL) {
        ERR_clear_error();
        (void)SSL_shutdown(link->ssl);
        ERR_clear_error();
    }
    (void)shutdown(link->fd, SHUT_WR);
}

/* ---- Life ---- */

struct stream_link *stream_link_new(const struct stream_setup *setup,
                                    const struct stream_address *address)
{
    struct stream_link *link = xcalloc(1, sizeof(*link));

    link->config = setup->config;
    link->address = *address;
    link->base = setup->base;
    link->wake = setup->wake;
    link->arg = setup->arg;
    link->fd = -1;
    return link;
}

void stream_link_close(struct stream_link *link)
{
    drop(link);
    link->state = STREAM_CLOSED;
}

void stream_link_free(struct stream_link *link)
{
    drop(link);
    free(link);
}
