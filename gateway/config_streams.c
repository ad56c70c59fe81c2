/* Config, audit.streams: what goes together, and the files that they name. See config.h. */
#include "gateway/config.h"

#include "common/file.h"
#include "gateway/stream_address.h"
#include "gateway/tls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const struct stream_config *config_stream(const struct config *config, size_t index)
{
    return (const struct stream_config *)config->audit.streams.items + index;
}

/* Says one thing about one place: what has the wrong form is not also missing. */
static void add_problem(struct problems *problems, size_t index, const char *option,
                        const char *detail)
{
    CLEANUP(cleanup_free) char *pointer = xasprintf("/audit/streams/%zu%s", index, option);

    for (size_t i = 0; i < problems->count; i++) {
        if (strcmp(problems->items[i].pointer, pointer) == 0) {
            return;
        }
    }
    problems_add(problems, pointer, "%s", detail);
}

/* An option that the stream's type has no use for is a mistake. */
static void check_none(const char *value, size_t index, const char *option, const char *owner,
                       struct problems *problems)
{
    if (value != NULL) {
        CLEANUP(cleanup_free) char *detail = xasprintf("is only for %s: leave it out", owner);
        add_problem(problems, index, option, detail);
    }
}

static void check_readable(const char *path, size_t index, const char *option,
                           struct problems *problems)
{
    if (path != NULL && access(path, R_OK) != 0) {
        CLEANUP(cleanup_free) char *detail = xasprintf("%s: %s", path, strerror(errno));
        add_problem(problems, index, option, detail);
    }
}

static void check_file(const struct stream_config *stream, size_t index, struct problems *problems)
{
    if (stream->path == NULL) {
        add_problem(problems, index, "/path", "is required: the file to append to");
    } else {
        const char *slash = strrchr(stream->path, '/');
        CLEANUP(cleanup_free)
        char *folder = slash == NULL ? xstrdup(".")
                                     : xstrndup(stream->path, (size_t)(slash - stream->path) + 1);
        if (access(folder, W_OK | X_OK) != 0) {
            CLEANUP(cleanup_free)
            char *detail = xasprintf("the folder %s: %s", folder, strerror(errno));
            add_problem(problems, index, "/path", detail);
        }
    }
    check_none(stream->address, index, "/address", "syslog", problems);
    check_none(stream->ca_file, index, "/ca_file", "syslog over TLS", problems);
    check_none(stream->certificate, index, "/certificate", "syslog over TLS", problems);
    check_none(stream->key, index, "/key", "syslog over TLS", problems);
}

static void check_tls(const struct stream_config *stream, size_t index, struct problems *problems)
{
    size_t before = problems->count;

    check_readable(stream->ca_file, index, "/ca_file", problems);
    check_readable(stream->certificate, index, "/certificate", problems);
    if ((stream->certificate == NULL) != (stream->key == NULL)) {
        add_problem(problems, index, "", "certificate and key go together");
    }
    if (stream->key != NULL) {
        struct secret *secret = NULL;
        struct error error;
        if (file_read_secret(stream->key, &secret, &error) != OK) {
            add_problem(problems, index, "/key", error.text);
        }
        secret_free(secret);
    }
    if (problems->count == before) {
        SSL_CTX *context = NULL;
        struct error error;
        if (tls_client_context(stream->ca_file, stream->certificate, stream->key, &context,
                               &error) != OK) {
            add_problem(problems, index, "", error.text);
        }
        SSL_CTX_free(context);
    }
}

static void check_syslog(const struct stream_config *stream, size_t index,
                         struct problems *problems)
{
    struct stream_address address;

    check_none(stream->path, index, "/path", "files", problems);
    if (stream->address == NULL) {
        add_problem(problems, index, "/address", "is required: where the messages go");
    } else if (stream_address_read(stream->address, &address) == NULL &&
               address.transport == STREAM_TLS) {
        check_tls(stream, index, problems);
    } else {
        check_none(stream->ca_file, index, "/ca_file", "tls://", problems);
        check_none(stream->certificate, index, "/certificate", "tls://", problems);
        check_none(stream->key, index, "/key", "tls://", problems);
    }
}

static bool same(const char *a, const char *b)
{
    return a != NULL && b != NULL && strcmp(a, b) == 0;
}

static void check_unique(const struct config *config, size_t index, struct problems *problems)
{
    const struct stream_config *stream = config_stream(config, index);

    for (size_t i = 0; i < index; i++) {
        const struct stream_config *other = config_stream(config, i);
        if (same(stream->name, other->name)) {
            add_problem(problems, index, "/name",
                        "another stream has this name: names must differ");
        }
        if (same(stream->path, other->path)) {
            add_problem(problems, index, "/path", "another stream writes this file");
        }
    }
}

void config_check_streams(const struct config *config, struct problems *problems)
{
    for (size_t i = 0; i < config->audit.streams.count; i++) {
        const struct stream_config *stream = config_stream(config, i);
        check_unique(config, i, problems);
        if (same(stream->type, "file")) {
            check_file(stream, i, problems);
        } else if (same(stream->type, "syslog")) {
            check_syslog(stream, i, problems);
        }
    }
}
