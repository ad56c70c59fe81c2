/* Flood: see flood.h. Addresses are found by a hash table, the quietest and the next that is due by
 * a heap each. An address that comes back after it had to leave begins anew. */
#include "policy/flood.h"

#include "common/memory.h"
#include "policy/heap.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOKEN 60000 /* one is gained in a minute at a rate of 1 a minute: 1 a millisecond */

struct bucket {
    int64_t level;
    int64_t at_ms;
};

struct address {
    struct address *next; /* in the bucket of the hash table */
    struct bucket records;
    struct bucket bad_keys;
    uint64_t used; /* when last, as a number that each use increases */
    size_t used_place;
    struct flood_count count; /* without remote, only while it is in the heap of due counts */
    uint64_t opened;          /* the same kind of number */
    int64_t due_ms;
    size_t due_place; /* 0: nothing is counted */
};

struct flood {
    struct flood_options options;
    struct bucket records;
    struct bucket counts;
    uint64_t sequence;
    struct heap used;     /* all addresses but other */
    struct heap due;      /* those with a count: the interval is the same for all, so in the order
                             in which they were opened */
    struct address other; /* not in the table */
    struct address **table;
};

/* ---- Buckets ---- */

static struct bucket full_bucket(const struct flood_rate *rate, int64_t now_ms)
{
    return (struct bucket){.level = rate->at_once * TOKEN, .at_ms = now_ms};
}

static bool bucket_has(struct bucket *bucket, const struct flood_rate *rate, int64_t now_ms)
{
    int64_t missing = rate->at_once * TOKEN - bucket->level;
    int64_t passed_ms = now_ms - bucket->at_ms;

    if (passed_ms > missing / rate->per_minute) {
        bucket->level += missing;
    } else {
        bucket->level += passed_ms * rate->per_minute;
    }
    bucket->at_ms = now_ms;
    return bucket->level >= TOKEN;
}

static bool bucket_take(struct bucket *bucket, const struct flood_rate *rate, int64_t now_ms)
{
    bool has = bucket_has(bucket, rate, now_ms);

    bucket->level -= has ? TOKEN : 0;
    return has;
}

/* ---- Addresses ---- */

/* An IPv4 client of an IPv6 socket is an IPv4 client; a scope (%eth0) says nothing more. What this
 * names is named the same again. */
static void name_address(const char *remote, char ret_name[FLOOD_REMOTE_SIZE])
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    size_t len = strcspn(remote, "%/");
    uint8_t bytes[16];
    char text[INET6_ADDRSTRLEN];

    (void)snprintf(text, sizeof(text), "%.*s", (int)(len < sizeof(text) ? len : 0), remote);
    if (inet_pton(AF_INET, text, bytes) == 1) {
        (void)inet_ntop(AF_INET, bytes, ret_name, FLOOD_REMOTE_SIZE);
    } else if (inet_pton(AF_INET6, text, bytes) != 1) {
        (void)snprintf(ret_name, FLOOD_REMOTE_SIZE, "unknown");
    } else if (memcmp(bytes, mapped, sizeof(mapped)) == 0) {
        (void)inet_ntop(AF_INET, bytes + sizeof(mapped), ret_name, FLOOD_REMOTE_SIZE);
    } else {
        memset(bytes + 8, 0, 8);
        (void)inet_ntop(AF_INET6, bytes, text, sizeof(text));
        (void)snprintf(ret_name, FLOOD_REMOTE_SIZE, "%s/64", text);
    }
}

/* FNV-1a (Fowler, Noll, Vo) from the seed on. */
static struct address **find(struct flood *flood, const char *name)
{
    uint64_t hash = flood->options.seed;
    struct address **link;

    for (const char *at = name; *at != '\0'; at++) {
        hash = (hash ^ (uint8_t)*at) * UINT64_C(0x100000001b3);
    }
    link = &flood->table[(hash ^ hash >> 32) % flood->options.addresses];
    while (*link != NULL && strcmp((*link)->count.remote, name) != 0) {
        link = &(*link)->next;
    }
    return link;
}

static bool was_used_before(const void *a, const void *b)
{
    return ((const struct address *)a)->used < ((const struct address *)b)->used;
}

static bool was_opened_before(const void *a, const void *b)
{
    return ((const struct address *)a)->opened < ((const struct address *)b)->opened;
}

/* ---- Counts ---- */

static void merge(struct flood *flood, struct address *into, const struct flood_count *count,
                  int64_t now_ms)
{
    if (into->due_place == 0) {
        into->count.from_ms = count->from_ms;
        into->count.to_ms = count->to_ms;
        memset(into->count.kinds, 0, sizeof(into->count.kinds));
        into->opened = ++flood->sequence;
        into->due_ms = now_ms + flood->options.interval_ms;
        heap_add(&flood->due, into);
    }
    if (count->from_ms < into->count.from_ms) {
        into->count.from_ms = count->from_ms;
    }
    if (count->to_ms > into->count.to_ms) {
        into->count.to_ms = count->to_ms;
    }
    for (size_t i = 0; i < FLOOD_KINDS; i++) {
        into->count.kinds[i] += count->kinds[i];
    }
}

/* Takes out the address that was quiet longest. Its count is to be recorded at once, if that may
 * be. */
static struct address *evict(struct flood *flood, int64_t now_ms, struct flood_verdict *verdict)
{
    struct address *address = heap_first(&flood->used);
    struct address **link = find(flood, address->count.remote);

    assert(*link == address);
    *link = address->next;
    heap_remove(&flood->used, address);
    if (address->due_place != 0) {
        heap_remove(&flood->due, address);
        verdict->evicted = bucket_take(&flood->counts, &flood->options.counts, now_ms);
        if (verdict->evicted) {
            verdict->count = address->count;
        } else {
            merge(flood, &flood->other, &address->count, now_ms);
        }
    }
    return address;
}

static struct address *use(struct flood *flood, const char *name, int64_t now_ms,
                           struct flood_verdict *verdict)
{
    struct address **link = find(flood, name);
    struct address *address = *link;

    if (address != NULL) {
        heap_remove(&flood->used, address);
    } else {
        address = flood->used.count < flood->options.addresses ? xcalloc(1, sizeof(*address))
                                                               : evict(flood, now_ms, verdict);
        link = find(flood, name); /* the evicted one may have been in the same bucket */
        *address = (struct address){
            .records = full_bucket(&flood->options.each, now_ms),
            .bad_keys = full_bucket(&flood->options.bad_keys, now_ms),
        };
        (void)snprintf(address->count.remote, FLOOD_REMOTE_SIZE, "%s", name);
        *link = address;
    }
    address->used = ++flood->sequence;
    heap_add(&flood->used, address);
    return address;
}

/* ---- The interface ---- */

struct flood *flood_new(const struct flood_options *options)
{
    struct flood *flood = xcalloc(1, sizeof(*flood));

    assert(options->addresses > 0 && options->interval_ms >= 0);
    flood->options = *options;
    flood->records.level = options->all.at_once * TOKEN;
    flood->counts.level = options->counts.at_once * TOKEN;
    heap_init(&flood->used, was_used_before, offsetof(struct address, used_place));
    heap_init(&flood->due, was_opened_before, offsetof(struct address, due_place));
    (void)snprintf(flood->other.count.remote, FLOOD_REMOTE_SIZE, FLOOD_OTHER);
    flood->table = xcalloc(options->addresses, sizeof(struct address *));
    return flood;
}

void flood_free(struct flood *flood)
{
    if (flood == NULL) {
        return;
    }
    for (size_t i = 0; i < flood->used.count; i++) {
        free(flood->used.items[i]);
    }
    heap_done(&flood->used);
    heap_done(&flood->due);
    free(flood->table);
    free(flood);
}

void flood_set_bad_keys(struct flood *flood, const struct flood_rate *rate)
{
    flood->options.bad_keys = *rate;
}

void flood_add(struct flood *flood, const char *remote, unsigned kind, bool bad_key, int64_t now_ms,
               struct flood_verdict *ret_verdict)
{
    const struct flood_options *options = &flood->options;
    char name[FLOOD_REMOTE_SIZE];
    struct address *address;

    assert(kind < FLOOD_KINDS);
    *ret_verdict = (struct flood_verdict){0};
    name_address(remote, name);
    address = use(flood, name, now_ms, ret_verdict);
    ret_verdict->throttle = bad_key && !bucket_take(&address->bad_keys, &options->bad_keys, now_ms);
    /* One that is not recorded must take nothing of what all have. */
    ret_verdict->record = bucket_has(&address->records, &options->each, now_ms) &&
                          bucket_take(&flood->records, &options->all, now_ms);
    if (ret_verdict->record) {
        address->records.level -= TOKEN;
    } else {
        struct flood_count one = {.from_ms = now_ms, .to_ms = now_ms};
        one.kinds[kind] = 1;
        merge(flood, address, &one, now_ms);
    }
}

bool flood_next(struct flood *flood, bool all, int64_t now_ms, struct flood_count *ret_count)
{
    struct address *address = heap_first(&flood->due);

    if (address == NULL ||
        (!all && (address->due_ms > now_ms ||
                  !bucket_take(&flood->counts, &flood->options.counts, now_ms)))) {
        return false;
    }
    heap_remove(&flood->due, address);
    *ret_count = address->count;
    return true;
}

void flood_return(struct flood *flood, const struct flood_count *count, int64_t now_ms)
{
    char name[FLOOD_REMOTE_SIZE];
    struct address *address;

    name_address(count->remote, name);
    address = strcmp(count->remote, FLOOD_OTHER) != 0 ? *find(flood, name) : NULL;
    merge(flood, address != NULL ? address : &flood->other, count, now_ms);
}
