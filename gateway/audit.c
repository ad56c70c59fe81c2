/* Audit: see audit.h. */
#include "gateway/audit.h"

#include "common/clock.h"
#include "common/json.h"
#include "common/memory.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void subject_copy(struct subject *to, const struct subject *from)
{
    *to = (struct subject){
        .request_id = xstrdup(from->request_id),
        .client = xstrdup(from->client),
        .key_id = xstrdup(from->key_id),
        .team = xstrdup(from->team),
        .remote = xstrdup(from->remote),
        .traceparent = xstrdup(from->traceparent),
    };
}

void subject_done(struct subject *subject)
{
    free(subject->request_id);
    free(subject->client);
    free(subject->key_id);
    free(subject->team);
    free(subject->remote);
    free(subject->traceparent);
    *subject = (struct subject){0};
}

json_t *audit_begin(const char *event, const struct subject *subject)
{
    static const struct subject nobody;

    if (subject == NULL) {
        subject = &nobody;
    }
    return json_pack("{s:s, s:s*, s:s*, s:s*, s:s*, s:s*, s:s*}", "event", event, "request_id",
                     subject->request_id, "client", subject->client, "key_id", subject->key_id,
                     "team", subject->team, "remote", subject->remote, "traceparent",
                     subject->traceparent);
}

void audit_add_text(json_t *record, const char *name, const char *text)
{
    if (text != NULL) {
        (void)json_object_set_new(record, name, json_string(text));
    }
}

void audit_add(json_t *record, const char *name, json_t *value_take)
{
    if (value_take != NULL) {
        (void)json_object_set_new(record, name, value_take);
    }
}

json_t *audit_clock(int64_t boot_ms)
{
    return json_pack("{s:s, s:I}", "boot_id", clock_boot_id(), "ms", (json_int_t)boot_ms);
}

char *audit_end(json_t *record_take)
{
    char *text = json_write(record_take);

    json_decref(record_take);
    assert(text[0] == '{');
    memmove(text, text + 1, strlen(text));
    return text;
}
