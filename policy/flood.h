/* Flood: what becomes of the refusals of clients that nobody knows, so that a flood of them fills
 * neither log nor memory. So many, for each address and for all together, are recorded one by one;
 * the rest is counted, for its address and a stretch of time. It also says whose bad keys come too
 * often.
 *
 * Nothing is lost: each refusal is either to be recorded or in exactly one count. All is bounded:
 * the table of addresses (a new one takes the place of the one that was quiet longest), the records
 * and the counts in any time; what then has no place is counted for FLOOD_OTHER.
 *
 * An address is an IPv4 address or an IPv6 network of 64 bits, which is what one client gets. Pure;
 * one thread at a time; now_ms is of a clock that does not go back. */
#ifndef POLICY_FLOOD_H
#define POLICY_FLOOD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FLOOD_KINDS       4
#define FLOOD_REMOTE_SIZE 56
#define FLOOD_OTHER       "other"

/* So many at once, and then so many a minute: a token bucket. Both more than 0. */
struct flood_rate {
    int64_t at_once;
    int64_t per_minute;
};

struct flood_options {
    size_t addresses;           /* that the table holds; more than 0 */
    struct flood_rate each;     /* records of one address */
    struct flood_rate all;      /* records of all addresses */
    struct flood_rate counts;   /* counts of all addresses */
    struct flood_rate bad_keys; /* of one address, that are answered at once */
    int64_t interval_ms;        /* from a count's first refusal until it is due */
    uint64_t seed;              /* random, so that nobody can choose addresses that collide */
};

/* Refusals that are not recorded one by one. */
struct flood_count {
    char remote[FLOOD_REMOTE_SIZE]; /* 192.0.2.1, 2001:db8::/64, or FLOOD_OTHER */
    int64_t from_ms;                /* the first and the last of them */
    int64_t to_ms;
    uint64_t kinds[FLOOD_KINDS]; /* how many of each kind */
};

struct flood_verdict {
    bool record;   /* to be recorded by itself; else it was counted */
    bool throttle; /* a bad key over the rate */
    bool evicted;  /* the table was full; the count in `count` is to be recorded now */
    struct flood_count count;
};

struct flood;

struct flood *flood_new(const struct flood_options *options);
void flood_free(struct flood *flood);

/* Another rate of bad keys from now on. */
void flood_set_bad_keys(struct flood *flood, const struct flood_rate *rate);

/* A refusal of that kind (less than FLOOD_KINDS) of a client at the numeric address remote; what
 * is no address is one address, "unknown". */
void flood_add(struct flood *flood, const char *remote, unsigned kind, bool bad_key, int64_t now_ms,
               struct flood_verdict *ret_verdict);

/* Takes out a count that is due and that the rate of counts allows; with `all`, any. False: there
 * is none now. */
bool flood_next(struct flood *flood, bool all, int64_t now_ms, struct flood_count *ret_count);

/* Counts again what could not be recorded: a count that was taken out, or a single refusal, whose
 * remote may be the address itself. */
void flood_return(struct flood *flood, const struct flood_count *count, int64_t now_ms);

#endif
