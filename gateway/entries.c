/* Entries: see entries.h. */
#include "gateway/entries.h"

#include "gateway/dispatcher_priv.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_BUCKETS 256

struct entries {
    struct entry **buckets;
    size_t bucket_count; /* a power of two */
    size_t count;
};

struct entries *entries_new(void)
{
    struct entries *entries = xcalloc(1, sizeof(*entries));

    entries->bucket_count = FIRST_BUCKETS;
    entries->buckets = xcalloc(FIRST_BUCKETS, sizeof(struct entry *));
    return entries;
}

void entries_free(struct entries *entries)
{
    if (entries != NULL) {
        free(entries->buckets);
        free(entries);
    }
}

/* Ids are random texts: their characters are as good as a hash. */
static size_t bucket_of(const char *id, size_t count)
{
    uint64_t hash = 0;

    for (; *id != '\0'; id++) {
        hash = hash * 31 + (uint8_t)*id;
    }
    return (size_t)(hash ^ hash >> 17) & (count - 1);
}

static void grow(struct entries *entries)
{
    size_t count = 2 * entries->bucket_count;
    struct entry **buckets = xcalloc(count, sizeof(struct entry *));

    for (size_t i = 0; i < entries->bucket_count; i++) {
        struct entry *next;
        for (struct entry *entry = entries->buckets[i]; entry != NULL; entry = next) {
            size_t at = bucket_of(entry->id, count);
            next = entry->next;
            entry->next = buckets[at];
            buckets[at] = entry;
        }
    }
    free(entries->buckets);
    entries->buckets = buckets;
    entries->bucket_count = count;
}

void entries_add(struct entries *entries, struct entry *entry)
{
    size_t at;

    if (entries->count++ == entries->bucket_count) {
        grow(entries);
    }
    at = bucket_of(entry->id, entries->bucket_count);
    entry->next = entries->buckets[at];
    entries->buckets[at] = entry;
    TAILQ_INSERT_TAIL(&entry->account->entries, entry, link);
    entry->listed = true;
}

void entries_remove(struct entries *entries, struct entry *entry)
{
    struct entry **at = &entries->buckets[bucket_of(entry->id, entries->bucket_count)];

    while (*at != entry) {
        at = &(*at)->next;
    }
    *at = entry->next;
    entries->count--;
    TAILQ_REMOVE(&entry->account->entries, entry, link);
    entry->listed = false;
}

struct entry *entries_find(const struct entries *entries, const char *id)
{
    struct entry *entry = entries->buckets[bucket_of(id, entries->bucket_count)];

    while (entry != NULL && strcmp(entry->id, id) != 0) {
        entry = entry->next;
    }
    return entry;
}

void entry_free(struct entry *entry)
{
    if (entry != NULL) {
        subject_done(&entry->subject);
        action_unref(entry->action);
        free(entry->reason);
        free(entry->rule);
        json_decref(entry->report);
        progress_done(&entry->progress);
        free(entry);
    }
}
