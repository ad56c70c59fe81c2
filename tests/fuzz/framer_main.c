/* Framer, as a program: each line of stdin is a stream of bytes in hex; each line of stdout says
 * what the framer makes of it, as JSON:
 *   {"verdict":"more","status":0,"end":37,
 *    "messages":[{"method":"GET","target":"/","body":"<hex>"}]}
 * end: how many bytes the messages have that were let through.
 * The argument, if any, is the number of bytes that are fed at once. */
#include "hex.h"

#include "common/crypto.h"
#include "common/json.h"
#include "gateway/framer.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct framer_limits limits = {
    .max_header_bytes = 8192, .max_headers = 64, .max_body_bytes = 1048576};

static const char *const verdicts[] = {
    [FRAMER_MORE] = "more", [FRAMER_DONE] = "done", [FRAMER_REFUSED] = "refused"};

/* Takes the chunks together, in place. The framer let them through: they are well formed. */
static size_t join_chunks(char *body)
{
    char *at = body;
    size_t len = 0;
    size_t chunk;

    while ((chunk = strtoul(at, &at, 16)) > 0) {
        at += 2;
        memmove(body + len, at, chunk);
        len += chunk;
        at += chunk + 2;
    }
    return len;
}

/* A message that was let through, as it would be handed on. The byte behind it may be changed. */
static json_t *describe(char *message, size_t size)
{
    char *blank = memmem(message, size, "\r\n\r\n", 4);
    char *body = blank + 4;
    size_t len = size - (size_t)(body - message);
    char *space = strchr(message, ' ');
    char *end = strchr(space + 1, ' ');

    assert(blank != NULL);
    *blank = '\0';
    if (strcasestr(end, "\r\nTransfer-Encoding:") != NULL) {
        len = join_chunks(body);
    }
    CLEANUP(cleanup_free) char *hex = xcalloc(2 * len + 1, 1);
    crypto_hex((const uint8_t *)body, len, hex);
    return json_pack("{s:s%, s:s%, s:s}", "method", message, (size_t)(space - message), "target",
                     space + 1, (size_t)(end - space - 1), "body", hex);
}

static json_t *frame(char *data, size_t size, size_t piece)
{
    json_t *messages = json_array();
    enum framer_verdict verdict = FRAMER_MORE;
    struct framer framer;
    size_t from = 0;
    size_t at = 0;

    framer_init(&framer, &limits);
    while (at < size && verdict != FRAMER_REFUSED) {
        size_t consumed = 0;
        size_t give = piece > 0 && piece < size - at ? piece : size - at;
        verdict = framer_feed(&framer, data + at, give, &consumed);
        at += consumed;
        if (verdict == FRAMER_DONE) {
            CLEANUP(cleanup_free) char *message = xcalloc(at - from + 1, 1);
            memcpy(message, data + from, at - from);
            (void)json_array_append_new(messages, describe(message, at - from));
            from = at;
        }
    }
    return json_pack("{s:s, s:i, s:I, s:o}", "verdict", verdicts[verdict], "status", framer.status,
                     "end", (json_int_t)from, "messages", messages);
}

int main(int argc, char **argv)
{
    size_t piece = argc > 1 ? strtoul(argv[1], NULL, 10) : 0;
    char *line = NULL;
    size_t capacity = 0;

    while (getline(&line, &capacity, stdin) > 0) {
        json_t *framed = frame(line, hex_decode(line), piece);
        CLEANUP(cleanup_free) char *text = json_write(framed);
        (void)puts(text);
        json_decref(framed);
    }
    free(line);
    return 0;
}
