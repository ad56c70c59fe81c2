/* Transfer: see transfer.h.
 *
 * curl calls back from inside itself (sockets, timer, data); those callbacks only note things.
 * curl_multi_socket_action() is called from libevent's callbacks alone; what is complete after it
 * waits in a list for an event of its own, so that receivers may start transfers or free us. */
#include "upstream/transfer.h"

#include "common/buffer.h"
#include "common/clock.h"
#include "common/secret.h"
#include "common/wipe.h"

#include <assert.h>
#include <curl/curl.h>
#include <event2/event.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>

/* Of all headers of an answer together, interim answers included. */
#define MAX_HEADER_BYTES 65536
#define USER_AGENT       "tollgate"

struct transfer {
    TAILQ_ENTRY(transfer) entry; /* in running or in finished */
    CURL *easy;                  /* NULL once finished */
    struct curl_slist *headers;
    char *body;
    size_t body_len;
    size_t body_taken; /* by curl: nobody can have got more of it */
    size_t header_bytes;
    struct buffer received;
    struct transfer_answer answer;
    char trouble[CURL_ERROR_SIZE];
    transfer_cb on_done;
    void *arg;
};

TAILQ_HEAD(transfer_list, transfer);

struct transfers {
    struct event_base *base;
    CURLM *multi;
    struct event *timer;
    struct event *deliver;
    struct transfer_list running;
    struct transfer_list finished;
};

static void init_process(void)
{
    /* curl keeps copies of URLs, which carry the token. */
    CURLcode code = curl_global_init_mem(CURL_GLOBAL_DEFAULT, wipe_malloc, wipe_free, wipe_realloc,
                                         wipe_strdup, wipe_calloc);

    assert(code == CURLE_OK);
    (void)code;
    (void)signal(SIGPIPE, SIG_IGN);
}

static void free_transfer(struct transfer *transfer)
{
    curl_easy_cleanup(transfer->easy);
    curl_slist_free_all(transfer->headers);
    secret_cleanse(transfer->body, transfer->body_len);
    free(transfer->body);
    if (transfer->received.data != NULL) {
        secret_cleanse(transfer->received.data, transfer->received.len);
    }
    buffer_done(&transfer->received);
    free(transfer);
}

/* What peers and libraries say may end on a terminal. */
static void make_printable(char *text)
{
    for (; *text != '\0'; text++) {
        if (*text < ' ' || *text > '~') {
            *text = '?';
        }
    }
}

static void finish(struct transfers *transfers, struct transfer *transfer, CURLcode code)
{
    long request_bytes = 0;
    long status = 0;

    (void)curl_easy_getinfo(transfer->easy, CURLINFO_REQUEST_SIZE, &request_bytes);
    (void)curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
    transfer->answer.complete = code == CURLE_OK;
    /* curl's count alone is no proof: it leaves out what a full socket made it send later. */
    transfer->answer.request_bytes = request_bytes + (int64_t)transfer->body_taken;
    transfer->answer.status = (int)status;
    if (transfer->trouble[0] == '\0') {
        (void)snprintf(transfer->trouble, sizeof(transfer->trouble), "%s",
                       curl_easy_strerror(code));
    }
    make_printable(transfer->trouble);

    (void)curl_multi_remove_handle(transfers->multi, transfer->easy);
    curl_easy_cleanup(TAKE(transfer->easy));
    TAILQ_REMOVE(&transfers->running, transfer, entry);
    TAILQ_INSERT_TAIL(&transfers->finished, transfer, entry);
    event_active(transfers->deliver, EV_TIMEOUT, 0);
}

static void act(struct transfers *transfers, curl_socket_t fd, int what)
{
    CURLMsg *message;
    int running;
    int waiting;

    (void)curl_multi_socket_action(transfers->multi, fd, what, &running);
    while ((message = curl_multi_info_read(transfers->multi, &waiting)) != NULL) {
        struct transfer *transfer = NULL;

        if (message->msg == CURLMSG_DONE) {
            (void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
            finish(transfers, transfer, message->data.result);
        }
    }
}

static void on_socket_ready(evutil_socket_t fd, short what, void *arg)
{
    act(arg, fd,
        ((what & EV_READ) != 0 ? CURL_CSELECT_IN : 0) |
            ((what & EV_WRITE) != 0 ? CURL_CSELECT_OUT : 0));
}

static void on_timeout(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    act(arg, CURL_SOCKET_TIMEOUT, 0);
}

/* One at a time, the callback last: it may free transfers. */
static void on_deliver(evutil_socket_t fd, short what, void *arg)
{
    struct transfers *transfers = arg;
    struct transfer *transfer = TAILQ_FIRST(&transfers->finished);
    char nothing[1] = "";

    (void)fd;
    (void)what;
    if (transfer == NULL) {
        return;
    }
    TAILQ_REMOVE(&transfers->finished, transfer, entry);
    if (!TAILQ_EMPTY(&transfers->finished)) {
        event_active(transfers->deliver, EV_TIMEOUT, 0);
    }
    transfer->answer.body = transfer->received.data != NULL ? transfer->received.data : nothing;
    transfer->answer.body_len = transfer->received.len;
    transfer->answer.trouble = transfer->trouble;
    transfer->on_done(&transfer->answer, transfer->arg);
    free_transfer(transfer);
}

/* Called by curl: which events of a socket it waits for. curl keeps the event for us:
 * curl_multi_assign() is the one function it allows here. */
static int on_watch(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
    struct transfers *transfers = arg;
    struct event *watch = socket_arg;
    int events = EV_PERSIST | ((what & CURL_POLL_IN) != 0 ? EV_READ : 0) |
                 ((what & CURL_POLL_OUT) != 0 ? EV_WRITE : 0);

    (void)easy;
    if (watch != NULL) {
        event_free(watch);
        watch = NULL;
    }
    if (what != CURL_POLL_REMOVE) {
        watch = event_new(transfers->base, fd, (short)events, on_socket_ready, transfers);
        assert(watch != NULL);
        (void)event_add(watch, NULL);
    }
    (void)curl_multi_assign(transfers->multi, fd, watch);
    return 0;
}

/* Called by curl: when it wants to be called next. */
static int on_set_timer(CURLM *multi, long timeout_ms, void *arg)
{
    struct transfers *transfers = arg;
    struct timeval timeout = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};

    (void)multi;
    if (timeout_ms < 0) {
        (void)evtimer_del(transfers->timer);
    } else {
        (void)evtimer_add(transfers->timer, &timeout);
    }
    return 0;
}

static size_t on_body_wanted(char *data, size_t size, size_t count, void *arg)
{
    struct transfer *transfer = arg;
    size_t len = transfer->body_len - transfer->body_taken;

    len = len < size * count ? len : size * count;
    memcpy(data, transfer->body + transfer->body_taken, len);
    transfer->body_taken += len;
    return len;
}

/* curl goes back to the start of a body only to send it again. */
static int on_seek(void *arg, curl_off_t offset, int origin)
{
    (void)arg;
    (void)offset;
    (void)origin;
    return CURL_SEEKFUNC_FAIL;
}

static void read_encoding(struct transfer *transfer, const char *line, size_t len)
{
    const char *value;
    size_t value_len;

    if (rate_header_value(line, len, "Content-Encoding", &value, &value_len)) {
        transfer->answer.encoded |= value_len != 8 || strncasecmp(value, "identity", 8) != 0;
    } else if (rate_header_value(line, len, "Transfer-Encoding", &value, &value_len)) {
        transfer->answer.encoded |= value_len != 7 || strncasecmp(value, "chunked", 7) != 0;
    }
}

static size_t on_header(char *line, size_t size, size_t count, void *arg)
{
    struct transfer *transfer = arg;
    size_t len = size * count;

    if (len > MAX_HEADER_BYTES - transfer->header_bytes) {
        transfer->answer.too_long = true;
        return 0;
    }
    transfer->header_bytes += len;
    if (len >= 5 && memcmp(line, "HTTP/", 5) == 0) {
        /* Another answer begins: the one before was an interim one. */
        transfer->answer.encoded = false;
        rate_init(&transfer->answer.rate);
    }
    read_encoding(transfer, line, len);
    rate_read_header(&transfer->answer.rate, line, len, clock_wall_ms() / 1000);
    return len;
}

static size_t on_body(char *data, size_t size, size_t count, void *arg)
{
    struct transfer *transfer = arg;
    size_t len = size * count;

    if (buffer_add(&transfer->received, data, len) != OK) {
        transfer->answer.too_long = true;
        return 0;
    }
    return len;
}

/* Setting an option fails only when there is no memory or the library lacks it. */
#define SET(easy, option, value)                                                                   \
    do {                                                                                           \
        CURLcode set_code_ = curl_easy_setopt((easy), (option), (value));                          \
        assert(set_code_ == CURLE_OK);                                                             \
        (void)set_code_;                                                                           \
    } while (0)

/* Called by curl. OpenSSL's buffers of an answer, which may hold a token, are overwritten. */
static CURLcode on_tls(CURL *easy, void *context, void *arg)
{
    (void)easy;
    (void)arg;
    (void)SSL_CTX_set_options(context, SSL_OP_CLEANSE_PLAINTEXT);
    return CURLE_OK;
}

/* Whom to talk to: nobody but the host in the URL, as its certificate says. */
static void set_peer(CURL *easy, const struct transfer_request *request)
{
    bool https = strncasecmp(request->url, "https:", 6) == 0;

    SET(easy, CURLOPT_PROTOCOLS_STR, https ? "https" : "http");
    SET(easy, CURLOPT_FOLLOWLOCATION, 0L);
    SET(easy, CURLOPT_PROXY, "");
    SET(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    SET(easy, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
    SET(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(easy, CURLOPT_SSL_CTX_FUNCTION, on_tls);
    SET(easy, CURLOPT_SSL_VERIFYPEER, 1L);
    SET(easy, CURLOPT_SSL_VERIFYHOST, 2L);
    if (request->ca_file != NULL) {
        SET(easy, CURLOPT_CAINFO, request->ca_file);
        SET(easy, CURLOPT_CAPATH, (char *)NULL); /* else the system's directory is trusted too */
    }
}

static void set_connection(CURL *easy, const struct transfer_request *request)
{
    SET(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(easy, CURLOPT_HTTP09_ALLOWED, 0L);
    SET(easy, CURLOPT_FRESH_CONNECT, 1L);
    SET(easy, CURLOPT_FORBID_REUSE, 1L);
    SET(easy, CURLOPT_NOSIGNAL, 1L);
    SET(easy, CURLOPT_QUICK_EXIT, 1L); /* a time-out while resolving must not wait for DNS */
    SET(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)request->connect_timeout_ms);
    SET(easy, CURLOPT_TIMEOUT_MS, (long)request->timeout_ms);
}

static struct curl_slist *make_headers(const char *content_type)
{
    static const char *const fixed[] = {
        "Accept: application/json", "Connection: close",
        "Expect:", /* never sent: an interim answer would only add cases */
    };
    CLEANUP(cleanup_free) char *type = xasprintf("Content-Type: %s", content_type);
    struct curl_slist *headers = curl_slist_append(NULL, type);

    for (size_t i = 0; i < ARRAY_LEN(fixed); i++) {
        headers = curl_slist_append(headers, fixed[i]);
        assert(headers != NULL);
    }
    return headers;
}

static void set_request(struct transfer *transfer, const struct transfer_request *request)
{
    CURL *easy = transfer->easy;

    SET(easy, CURLOPT_URL, request->url);
    SET(easy, CURLOPT_USERAGENT, USER_AGENT);
    SET(easy, CURLOPT_HTTPHEADER, transfer->headers);
    SET(easy, CURLOPT_POST, 1L);
    SET(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body_len);
    SET(easy, CURLOPT_READFUNCTION, on_body_wanted);
    SET(easy, CURLOPT_READDATA, transfer);
    SET(easy, CURLOPT_SEEKFUNCTION, on_seek);
    SET(easy, CURLOPT_HEADERFUNCTION, on_header);
    SET(easy, CURLOPT_HEADERDATA, transfer);
    SET(easy, CURLOPT_WRITEFUNCTION, on_body);
    SET(easy, CURLOPT_WRITEDATA, transfer);
    SET(easy, CURLOPT_ERRORBUFFER, transfer->trouble);
    SET(easy, CURLOPT_PRIVATE, transfer);
}

void transfer_start(struct transfers *transfers, const struct transfer_request *request,
                    transfer_cb on_done, void *arg)
{
    struct transfer *transfer = xcalloc(1, sizeof(*transfer));
    CURLMcode code;

    assert(request->body_len > 0); /* curl repeats a request with an empty body */
    transfer->easy = curl_easy_init();
    assert(transfer->easy != NULL);
    transfer->headers = make_headers(request->content_type);
    transfer->body = xcalloc(request->body_len, 1);
    memcpy(transfer->body, request->body, request->body_len);
    transfer->body_len = request->body_len;
    buffer_init(&transfer->received, request->max_answer_bytes);
    rate_init(&transfer->answer.rate);
    transfer->on_done = on_done;
    transfer->arg = arg;
    set_peer(transfer->easy, request);
    set_connection(transfer->easy, request);
    set_request(transfer, request);
    TAILQ_INSERT_TAIL(&transfers->running, transfer, entry);
    code = curl_multi_add_handle(transfers->multi, transfer->easy);
    assert(code == CURLM_OK);
    (void)code;
}

struct transfers *transfers_new(struct event_base *base)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct transfers *transfers = xcalloc(1, sizeof(*transfers));

    (void)pthread_once(&once, init_process);
    TAILQ_INIT(&transfers->running);
    TAILQ_INIT(&transfers->finished);
    transfers->base = base;
    transfers->timer = evtimer_new(base, on_timeout, transfers);
    transfers->deliver = evtimer_new(base, on_deliver, transfers);
    transfers->multi = curl_multi_init();
    assert(transfers->timer != NULL && transfers->deliver != NULL && transfers->multi != NULL);
    (void)curl_multi_setopt(transfers->multi, CURLMOPT_SOCKETFUNCTION, on_watch);
    (void)curl_multi_setopt(transfers->multi, CURLMOPT_SOCKETDATA, transfers);
    (void)curl_multi_setopt(transfers->multi, CURLMOPT_TIMERFUNCTION, on_set_timer);
    (void)curl_multi_setopt(transfers->multi, CURLMOPT_TIMERDATA, transfers);
    return transfers;
}

void transfers_free(struct transfers *transfers)
{
    struct transfer *transfer;

    if (transfers == NULL) {
        return;
    }
    while ((transfer = TAILQ_FIRST(&transfers->running)) != NULL) {
        TAILQ_REMOVE(&transfers->running, transfer, entry);
        (void)curl_multi_remove_handle(transfers->multi, transfer->easy);
        free_transfer(transfer);
    }
    while ((transfer = TAILQ_FIRST(&transfers->finished)) != NULL) {
        TAILQ_REMOVE(&transfers->finished, transfer, entry);
        free_transfer(transfer);
    }
    (void)curl_multi_cleanup(transfers->multi);
    event_free(transfers->timer);
    event_free(transfers->deliver);
    free(transfers);
}
