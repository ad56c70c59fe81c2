/* Gate: see gate.h. It is judged by intervals, closed by whoever comes or leaves first after their
 * end. */
#include "policy/gate.h"

#include "common/memory.h"

#include <assert.h>
#include <stdlib.h>

#define INTERVAL_US   100000
#define SLOW_IN_A_ROW 5     /* intervals that close the gate */
#define SLOW_US       50000 /* what is slow, at least; and times the least that a call takes: */
#define SLOW_TIMES    5
#define AIM_US        5000 /* the time aimed at, at least; and times the least: */
#define AIM_TIMES     2
#define CALM_IN_A_ROW 5  /* intervals without a refusal that begin to open it again */
#define MANY_PARTIES  32 /* that have one each, when the limit is the least */
#define LEARN_PART    8  /* of what an interval says is believed; */
#define DOUBT_PART    64 /* while many are refused, which takes time of the processor, too */

struct gate {
    size_t limit;
    size_t under_way;
    size_t parties; /* with any under way */
    size_t under_way_of[GATE_PARTIES];
    int64_t least_us;   /* 0: not known */
    int64_t limited_us; /* since when: how long earlier ones took says nothing about the limit */
    int slow;           /* intervals in a row */
    int calm;           /* likewise */

    /* The present interval. */
    int64_t began_us;
    size_t peak; /* of under_way */
    size_t left;
    int64_t sum_us; /* that those who left had been under way */
    size_t refused;
};

struct gate *gate_new(void)
{
    struct gate *gate = xcalloc(1, sizeof(*gate));

    gate->limit = GATE_MOST;
    return gate;
}

void gate_free(struct gate *gate)
{
    free(gate);
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* One that is far off counts for twice what is known at most: a disk has its moments. */
static void learn_least(struct gate *gate, int64_t mean_us)
{
    if (gate->least_us == 0) {
        gate->least_us = mean_us;
    } else {
        int64_t part = gate->limit == GATE_MOST ? LEARN_PART : DOUBT_PART;
        int64_t seen_us = mean_us < 2 * gate->least_us ? mean_us : 2 * gate->least_us;
        gate->least_us = larger(1, gate->least_us + (seen_us - gate->least_us) / part);
    }
}

/* Between the least and the gate being open. */
static void set_limit(struct gate *gate, int64_t limit)
{
    gate->limit = limit < GATE_LEAST   ? GATE_LEAST
                  : limit >= GATE_MOST ? GATE_MOST - 1
                                       : (size_t)limit;
}

static void judge_open(struct gate *gate, int64_t mean_us, int64_t aim_us, int64_t now_us)
{
    int64_t passed_us = now_us - gate->began_us;
    bool stuck = gate->left == 0 && gate->under_way > 0;
    bool slow = stuck || mean_us > larger(SLOW_US, SLOW_TIMES * gate->least_us);
    bool late = stuck || mean_us > aim_us;
    bool rested = gate->under_way == 0 && passed_us > 2 * INTERVAL_US;
    bool over =
        gate->refused > 0 || (slow && gate->peak > GATE_CROWD) || (late && gate->peak > GATE_MANY);

    gate->slow = over && !rested ? gate->slow + 1 : 0;
    if (gate->slow >= SLOW_IN_A_ROW) {
        gate->slow = 0;
        gate->calm = 0;
        gate->limited_us = now_us;
        set_limit(gate, (int64_t)gate->left * aim_us / passed_us);
    }
}

/* Half way to what would be right if the rate stays; it is no more than half as many again. Those
 * who were refused together may come back together: a moment without them is not the end. */
static void judge_limited(struct gate *gate, int64_t mean_us, int64_t aim_us)
{
    int64_t limit = (int64_t)gate->limit;

    gate->calm = gate->refused == 0 ? gate->calm + 1 : 0;
    if (gate->calm > CALM_IN_A_ROW) {
        limit += limit / 4 + 1;
        if (limit >= GATE_MOST) {
            gate->limit = GATE_MOST;
            return;
        }
    } else if (gate->refused > 0 && mean_us > 0) {
        int64_t right = limit * aim_us / mean_us;
        limit = (limit + (right < 2 * limit ? right : 2 * limit) + 1) / 2;
    }
    set_limit(gate, limit);
}

/* Of the present interval. With the lowest limit they are as few as they can be: many parties may
 * have one each. */
static bool are_few(const struct gate *gate)
{
    return gate->peak <= (gate->limit == GATE_LEAST ? MANY_PARTIES : GATE_FEW);
}

static void judge(struct gate *gate, int64_t now_us)
{
    int64_t passed_us = now_us - gate->began_us;
    int64_t mean_us = 0; /* 0: nothing is known */

    if (passed_us < INTERVAL_US) {
        return;
    }
    if (gate->left > 0) {
        mean_us = larger(1, gate->sum_us / (int64_t)gate->left);
        if (are_few(gate)) {
            learn_least(gate, mean_us);
        }
    }
    int64_t aim_us = larger(AIM_US, AIM_TIMES * gate->least_us);
    if (gate->limit == GATE_MOST) {
        judge_open(gate, mean_us, aim_us, now_us);
    } else {
        judge_limited(gate, mean_us, aim_us);
    }
    gate->began_us = now_us;
    gate->peak = gate->under_way;
    gate->left = 0;
    gate->sum_us = 0;
    gate->refused = 0;
}

/* Whether a party has less than an even share of the limit. */
static bool is_owed(const struct gate *gate, size_t party)
{
    size_t own = gate->under_way_of[party];
    size_t share = gate->limit / (gate->parties + (own == 0 ? 1 : 0));

    return own < (share > 1 ? share : 1);
}

bool gate_enter(struct gate *gate, size_t party, int64_t now_us, struct gate_pass *ret_pass)
{
    party %= GATE_PARTIES;
    judge(gate, now_us);
    if (gate->under_way >= GATE_MOST || (gate->under_way >= gate->limit && !is_owed(gate, party))) {
        gate->refused++;
        return false;
    }
    gate->parties += gate->under_way_of[party]++ == 0 ? 1 : 0;
    gate->under_way++;
    gate->peak = gate->under_way > gate->peak ? gate->under_way : gate->peak;
    *ret_pass = (struct gate_pass){.since_us = now_us, .party = party};
    return true;
}

void gate_leave(struct gate *gate, struct gate_pass *pass, int64_t now_us)
{
    if (pass->since_us == 0) {
        return;
    }
    assert(gate->under_way_of[pass->party] > 0);
    gate->parties -= --gate->under_way_of[pass->party] == 0 ? 1 : 0;
    gate->under_way--;
    if (gate->limit == GATE_MOST || pass->since_us >= gate->limited_us) {
        gate->left++;
        gate->sum_us += now_us - pass->since_us;
    }
    pass->since_us = 0;
    judge(gate, now_us);
}

size_t gate_limit(const struct gate *gate)
{
    return gate->limit;
}

int64_t gate_least_us(const struct gate *gate)
{
    return gate->least_us;
}
