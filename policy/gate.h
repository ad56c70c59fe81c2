/* Gate: how many action calls may be under way at once, so that those that are stay quick. Under
 * way is a call from when it came until it is recorded (or refused): what takes long there is the
 * disk, and then the processor.
 *
 * It is open, but for a bound, until for half a second on end a crowd of calls is slow, or more are
 * under way than can be quick, or come than the bound allows. From then on only as many may be
 * under way as are recorded in the time that is aimed at (Little's law: under way = rate × time),
 * which is twice what a call takes when there are few. The number follows what is measured, ten
 * times a second, and grows until the gate is open again while nobody is refused.
 *
 * Parties (teams) share it: one that has less than an even share under way is let in although
 * others fill it. Pure; one thread at a time; now_us is of a clock that does not go back. */
#ifndef POLICY_GATE_H
#define POLICY_GATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GATE_MOST    1024 /* under way, ever */
#define GATE_CROWD   64   /* as many are never too many, */
#define GATE_MANY    320  /* and more than these are, unless they are as quick as is aimed at */
#define GATE_LEAST   2    /* may be under way, always */
#define GATE_FEW     4    /* how long a call takes with as many is how long it has to */
#define GATE_PARTIES 256  /* that are told apart; more share */

struct gate;

/* Embedded in what is under way; zeroed: not in. */
struct gate_pass {
    int64_t since_us;
    size_t party;
};

struct gate *gate_new(void);
void gate_free(struct gate *gate);

/* Lets one of the party in, or not. The pass is for gate_leave(). */
bool gate_enter(struct gate *gate, size_t party, int64_t now_us, struct gate_pass *ret_pass);

/* It is over; a pass that is not in is fine. */
void gate_leave(struct gate *gate, struct gate_pass *pass, int64_t now_us);

/* How many may be under way now; GATE_MOST: it is open. */
size_t gate_limit(const struct gate *gate);

/* How long a call takes when there are few; 0: not known yet. */
int64_t gate_least_us(const struct gate *gate);

#endif
