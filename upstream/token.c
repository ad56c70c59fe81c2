/* Token: see token.h.
 *
 * One timer drives both ways to a token. It goes off at least every POLL_MS, so that a machine
 * that slept finds out, and attempts when next_ms (boot clock) has come: a file is looked at each
 * time, the token endpoint is asked when the token grows old, was refused, or could not be had. */
#include "upstream/token.h"

#include "common/clock.h"
#include "common/crypto.h"
#include "common/file.h"
#include "upstream/token_answer.h"

#include <assert.h>
#include <curl/curl.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define POLL_MS          1000
#define BACKOFF_MIN_MS   1000
#define BACKOFF_MAX_MS   60000
#define REFRESH_AHEAD_MS 60000
#define REFRESH_MIN_MS   1000
#define MAX_ANSWER_BYTES 65536
#define NEVER            INT64_MAX

/* What tells one content of a file from another, without reading it. */
struct file_mark {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec modified;
    struct timespec changed; /* also by chmod, which may be the repair */
};

struct token {
    struct transfers *transfers;
    struct upstream_callbacks callbacks;
    char *client_id;
    char *client_secret_file;
    char *url;
    char *token_file; /* NULL = the token comes from url */
    char *ca_file;
    int64_t connect_timeout_ms;
    int64_t timeout_ms;

    struct event *timer;
    int64_t next_ms; /* of the next attempt */
    bool fetching;
    int failures; /* in a row */
    struct file_mark mark;
    struct secret *client_secret; /* as last read */

    struct secret *current; /* NULL = none yet */
    uint64_t generation;    /* of current */
    bool rejected;          /* current was refused */
    bool told;              /* and callers know that the file needs a new one */
    int64_t expires_ms;     /* boot clock; NEVER = not known */
};

static void schedule(struct token *token, int64_t next_ms)
{
    int64_t delay_ms = next_ms - clock_boot_ms();
    struct timeval delay;

    token->next_ms = next_ms;
    delay_ms = delay_ms < 0 ? 0 : delay_ms > POLL_MS ? POLL_MS : delay_ms;
    delay = (struct timeval){.tv_sec = delay_ms / 1000, .tv_usec = delay_ms % 1000 * 1000};
    (void)evtimer_add(token->timer, &delay);
}

/* The callback may free token: nothing comes after this. */
static void notify(const struct token *token, enum token_event event, int64_t expires_wall_ms,
                   const char *detail)
{
    if (token->callbacks.on_token != NULL) {
        token->callbacks.on_token(event, expires_wall_ms, detail, token->callbacks.arg);
    }
}

/* Twice as long each time, and up to a quarter more, so that replicas do not ask in step. */
static int64_t backoff_ms(int failures)
{
    int64_t least = failures < 7 ? (int64_t)BACKOFF_MIN_MS << (failures - 1) : BACKOFF_MAX_MS;
    uint32_t random;

    if (least > BACKOFF_MAX_MS * 4 / 5) {
        least = BACKOFF_MAX_MS * 4 / 5;
    }
    crypto_random(&random, sizeof(random));
    return least + random % (least / 4 + 1);
}

static void fail(struct token *token, const char *detail)
{
    token->failures += token->failures < 100;
    schedule(token,
             clock_boot_ms() + (token->token_file != NULL ? POLL_MS : backoff_ms(token->failures)));
    notify(token, TOKEN_FAILED, 0, detail);
}

/* life_s 0 = not known. */
static void succeed(struct token *token, struct secret *take, int64_t life_s, const char *detail)
{
    int64_t now_ms = clock_boot_ms();
    int64_t life_ms = life_s * 1000;
    int64_t refresh_ms = life_ms * 8 / 10;

    secret_free(token->current);
    token->current = take;
    token->generation++;
    token->rejected = false;
    token->failures = 0;
    token->expires_ms = life_ms > 0 ? now_ms + life_ms : NEVER;
    if (refresh_ms < life_ms - REFRESH_AHEAD_MS) {
        refresh_ms = life_ms - REFRESH_AHEAD_MS;
    }
    if (refresh_ms < REFRESH_MIN_MS) {
        refresh_ms = REFRESH_MIN_MS;
    }
    if (token->token_file != NULL) {
        schedule(token, now_ms + POLL_MS);
    } else {
        schedule(token, life_ms > 0 ? now_ms + refresh_ms : NEVER);
    }
    notify(token, TOKEN_REFRESHED, life_ms > 0 ? clock_wall_ms() + life_ms : 0, detail);
}

/* ---- from a file ---- */

static enum err read_token_file(const char *path, struct secret **ret_secret, struct error *error)
{
    struct secret *secret = NULL;
    const char *text;
    size_t len;
    enum err err = file_read_secret(path, &secret, error);

    if (err != OK) {
        return err;
    }
    text = secret_reveal(secret, &len);
    if (!token_is_sane(text, len)) {
        secret_free(secret);
        return error_set(error, ERR_INVALID,
                         "%s: a token is one word of 1 to %d visible ASCII characters", path,
                         TOKEN_MAX_BYTES);
    }
    *ret_secret = secret;
    return OK;
}

static bool same_mark(const struct file_mark *a, const struct file_mark *b)
{
    return a->device == b->device && a->inode == b->inode && a->size == b->size &&
           a->modified.tv_sec == b->modified.tv_sec && a->modified.tv_nsec == b->modified.tv_nsec &&
           a->changed.tv_sec == b->changed.tv_sec && a->changed.tv_nsec == b->changed.tv_nsec;
}

static void look_at_file(struct token *token)
{
    struct stat info;
    struct file_mark mark = {0};
    struct secret *secret = NULL;
    struct error error;

    /* Marked before it is read: what changes in between is seen next time. */
    if (stat(token->token_file, &info) == 0) {
        mark = (struct file_mark){.device = info.st_dev,
                                  .inode = info.st_ino,
                                  .size = info.st_size,
                                  .modified = info.st_mtim,
                                  .changed = info.st_ctim};
    }
    if (same_mark(&mark, &token->mark)) {
        schedule(token, clock_boot_ms() + POLL_MS);
        if (token->rejected && !token->told) {
            token->told = true;
            notify(token, TOKEN_FAILED, 0,
                   "the upstream refused the token in the file: put a new one there");
        }
        return;
    }
    token->mark = mark;
    token->told = false;
    if (read_token_file(token->token_file, &secret, &error) != OK) {
        fail(token, error.text);
    } else {
        succeed(token, secret, 0, "the token was read from its file");
    }
}

/* ---- from the token endpoint ---- */

static enum err judge_answer(struct token *token, struct transfer_answer *answer,
                             struct secret **ret_secret, int64_t *ret_life_s, struct error *error)
{
    int status = answer->status;

    if (status == 400 || status == 401 || status == 403) {
        return error_set(
            error, ERR_DENIED,
            "the token endpoint answered %d: check client_id and the client secret file", status);
    }
    if (status != 0 && status != 200) {
        return error_set(error, ERR_UNAVAILABLE, "the token endpoint answered %d", status);
    }
    if (answer->too_long) {
        return error_set(error, ERR_MALFORMED, "the token endpoint's answer is too long");
    }
    if (!answer->complete) {
        token_scrub(token, answer->trouble, strlen(answer->trouble));
        return error_set(error, ERR_UNAVAILABLE, "no answer from the token endpoint: %s",
                         answer->trouble);
    }
    if (answer->encoded) {
        return error_set(error, ERR_MALFORMED,
                         "the token endpoint answered 200, but not with JSON");
    }
    return token_answer_read(answer->body, answer->body_len, ret_secret, ret_life_s, error);
}

static void on_fetched(struct transfer_answer *answer, void *arg)
{
    struct token *token = arg;
    struct secret *secret = NULL;
    int64_t life_s = 0;
    struct error error;

    token->fetching = false;
    if (judge_answer(token, answer, &secret, &life_s, &error) != OK) {
        fail(token, error.text);
    } else {
        succeed(token, secret, life_s, "the token endpoint gave a token");
    }
}

static char *make_form(const struct token *token)
{
    size_t len;
    const char *secret = secret_reveal(token->client_secret, &len);
    char *id_text = curl_easy_escape(NULL, token->client_id, 0);
    char *secret_text = curl_easy_escape(NULL, secret, (int)len);
    char *form;

    assert(id_text != NULL && secret_text != NULL);
    form = xasprintf("grant_type=client_credentials&client_id=%s&client_secret=%s", id_text,
                     secret_text);
    secret_cleanse(secret_text, strlen(secret_text));
    curl_free(secret_text);
    curl_free(id_text);
    return form;
}

static void fetch(struct token *token)
{
    struct secret *secret = NULL;
    struct error error;
    char *form;

    /* Read each time, so that it can be changed while the gateway runs. */
    if (file_read_secret(token->client_secret_file, &secret, &error) != OK) {
        fail(token, error.text);
        return;
    }
    secret_free(token->client_secret);
    token->client_secret = secret;
    form = make_form(token);
    token->fetching = true;
    transfer_start(token->transfers,
                   &(struct transfer_request){.url = token->url,
                                              .content_type = "application/x-www-form-urlencoded",
                                              .body = form,
                                              .body_len = strlen(form),
                                              .ca_file = token->ca_file,
                                              .connect_timeout_ms = token->connect_timeout_ms,
                                              .timeout_ms = token->timeout_ms,
                                              .max_answer_bytes = MAX_ANSWER_BYTES},
                   on_fetched, token);
    secret_cleanse(form, strlen(form));
    free(form);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct token *token = arg;

    (void)fd;
    (void)what;
    if (token->fetching) {
        return; /* its end sets the timer */
    }
    if (clock_boot_ms() < token->next_ms) {
        schedule(token, token->next_ms);
    } else if (token->token_file != NULL) {
        look_at_file(token);
    } else {
        fetch(token);
    }
}

/* ---- public ---- */

bool token_ready(const struct token *token)
{
    return token->current != NULL && !token->rejected && clock_boot_ms() < token->expires_ms;
}

const struct secret *token_get(const struct token *token, uint64_t *ret_generation)
{
    *ret_generation = token->generation;
    return token_ready(token) ? token->current : NULL;
}

void token_reject(struct token *token, uint64_t generation)
{
    if (generation != token->generation || token->rejected) {
        return;
    }
    token->rejected = true;
    if (token->token_file == NULL && !token->fetching) {
        schedule(token, clock_boot_ms());
    }
}

bool token_probe(struct token *token)
{
    if (token->token_file != NULL) {
        return false;
    }
    if (!token->fetching) {
        schedule(token, clock_boot_ms());
    }
    return true;
}

void token_scrub(const struct token *token, char *data, size_t len)
{
    if (token->current != NULL) {
        (void)secret_scrub(token->current, data, len);
    }
    if (token->client_secret != NULL) {
        (void)secret_scrub(token->client_secret, data, len);
    }
}

static enum err check_files(const struct upstream_options *options, struct error *error)
{
    struct secret *secret = NULL;
    enum err err = options->access_token_file != NULL
                       ? read_token_file(options->access_token_file, &secret, error)
                       : file_read_secret(options->client_secret_file, &secret, error);

    secret_free(secret);
    return err;
}

enum err token_new(struct event_base *base, struct transfers *transfers,
                   const struct upstream_options *options,
                   const struct upstream_callbacks *callbacks, struct token **ret_token,
                   struct error *error)
{
    struct token *token;
    enum err err = check_files(options, error);

    if (err != OK) {
        return err;
    }
    token = xcalloc(1, sizeof(*token));
    token->transfers = transfers;
    token->callbacks = *callbacks;
    token->client_id = xstrdup(options->client_id);
    token->client_secret_file = xstrdup(options->client_secret_file);
    token->url = options->token_url != NULL ? xstrdup(options->token_url)
                                            : xasprintf("%s/o/oauth/token", options->base_url);
    token->token_file = xstrdup(options->access_token_file);
    token->ca_file = xstrdup(options->ca_file);
    token->connect_timeout_ms = options->connect_timeout_ms;
    token->timeout_ms = options->timeout_ms;
    token->timer = evtimer_new(base, on_timer, token);
    assert(token->timer != NULL);
    schedule(token, clock_boot_ms());
    *ret_token = token;
    return OK;
}

void token_free(struct token *token)
{
    if (token == NULL) {
        return;
    }
    event_free(token->timer);
    secret_free(token->client_secret);
    secret_free(token->current);
    free(token->client_id);
    free(token->client_secret_file);
    free(token->url);
    free(token->token_file);
    free(token->ca_file);
    free(token);
}
