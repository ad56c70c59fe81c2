/* Verify, the rules between records: each outcome has its intent, each intent names actions that
 * were accepted before, nothing is there twice. See verify_priv.h.
 *
 * Within one log, before means a lower seq. Logs of several nodes have no common order: what one
 * has, another may refer to wherever it stands.
 *
 * Where records were pruned, or are missing or altered, what is not found may have stood there: so
 * then nothing is said of it. Of pruned records that is how it must be: actions that were accepted
 * in them are sent later. */
#include "gateway/verify_priv.h"

#include <string.h>

/* What a table says of an id, and where the record of that stands. */
enum state {
    ACTION_ACCEPTED,
    ACTION_NAMED, /* by an intent, but not accepted */
    ACTION_ENDED, /* but not accepted */
    CALL_INTENT,
    CALL_CLOSED,  /* has its outcome */
    CALL_OUTCOME, /* but no intent */
};

#define NOT_ACCEPTED  "the action that ended was not accepted before, or had ended"
#define NAMES_UNKNOWN "the intent names an action that was not accepted before"
#define NO_INTENT     "the call had no intent before"

#define STATE_SHIFT 61
#define NODE_SHIFT  48
#define SEQ_MASK    ((UINT64_C(1) << NODE_SHIFT) - 1)

_Static_assert(VERIFY_NODES_MAX < 1 << (STATE_SHIFT - NODE_SHIFT), "a node must fit");

static uint64_t pack(const struct verify *verify, enum state state, int64_t seq)
{
    return (uint64_t)state << STATE_SHIFT | (uint64_t)verify->log.node << NODE_SHIFT |
           ((uint64_t)seq & SEQ_MASK);
}

static enum state state_of(uint64_t packed)
{
    return (enum state)(packed >> STATE_SHIFT);
}

static size_t node_of(uint64_t packed)
{
    return (packed >> NODE_SHIFT) & ((1U << (STATE_SHIFT - NODE_SHIFT)) - 1);
}

static int64_t seq_of(uint64_t packed)
{
    return (int64_t)(packed & SEQ_MASK);
}

void calls_init(struct calls *calls)
{
    idmap_init(&calls->actions);
    idmap_init(&calls->calls);
}

void calls_done(struct calls *calls)
{
    idmap_done(&calls->actions);
    idmap_done(&calls->calls);
}

/* Tells at once what is missing in the only log there is, unless it may have stood in a record that
 * is missing or altered; false: in which log it is, if any, shows at the end. */
static bool find_now(struct verify *verify, const struct record *record, enum finding_reason reason,
                     const char *detail)
{
    if (verify->several) {
        return false;
    }
    if (!verify->partial && verify->log.altered_count == 0) {
        VERIFY_FIND_REASON(verify, record->seq, reason, "%s", detail);
    }
    return true;
}

/* ---- Actions ---- */

static uint64_t action_hash(const struct verify *verify, struct record_piece id)
{
    return idmap_hash(&verify->calls.actions, id.at != NULL ? id.at : "", id.len);
}

static void add_accepted(struct verify *verify, const struct record *record)
{
    struct idmap *actions = &verify->calls.actions;
    uint64_t hash = action_hash(verify, record->action_id);
    uint64_t *found = idmap_find(actions, hash);

    if (found == NULL) {
        idmap_add(actions, hash, pack(verify, ACTION_ACCEPTED, record->seq));
    } else if (node_of(*found) != verify->log.node) {
        *found = pack(verify, ACTION_ACCEPTED, record->seq);
    }
}

static void add_ended(struct verify *verify, const struct record *record)
{
    struct idmap *actions = &verify->calls.actions;
    uint64_t hash = action_hash(verify, record->action_id);
    const uint64_t *found = idmap_find(actions, hash);

    if (found == NULL) {
        if (!find_now(verify, record, FINDING_FINISHED_WITHOUT_ACCEPTANCE, NOT_ACCEPTED)) {
            idmap_add(actions, hash, pack(verify, ACTION_ENDED, record->seq));
        }
    } else if (state_of(*found) == ACTION_ACCEPTED && !verify->several) {
        idmap_remove(actions, hash); /* nothing more may come of it */
    }
}

/* ---- Calls ---- */

static void check_named_actions(struct verify *verify, const struct record *record)
{
    struct idmap *actions = &verify->calls.actions;
    struct record_piece ids = record_member(record->detail, "actions");
    struct record_piece id;
    const char *at = NULL;
    size_t count = 0;
    bool told = false;

    while (record_next_string(ids, &at, &id)) {
        uint64_t hash = action_hash(verify, id);
        count++;
        if (told || idmap_find(actions, hash) != NULL) {
            continue;
        }
        told = find_now(verify, record, FINDING_INTENT_WITHOUT_ACTION, NAMES_UNKNOWN);
        if (!told) {
            idmap_add(actions, hash, pack(verify, ACTION_NAMED, record->seq));
        }
    }
    if (count == 0) {
        VERIFY_FIND(verify, record->seq, INTENT_WITHOUT_ACTION, "the intent names no action");
    }
}

static void add_intent(struct verify *verify, const struct record *record)
{
    struct idmap *calls = &verify->calls.calls;
    uint64_t hash = idmap_hash(calls, record->call_id.at, record->call_id.len);
    uint64_t *found = idmap_find(calls, hash);

    check_named_actions(verify, record);
    if (found == NULL) {
        idmap_add(calls, hash, pack(verify, CALL_INTENT, record->seq));
    } else if (state_of(*found) == CALL_OUTCOME) { /* told already, unless of another node */
        if (node_of(*found) != verify->log.node) {
            *found = pack(verify, CALL_CLOSED, record->seq);
        }
    } else {
        VERIFY_FIND(verify, record->seq, INTENT_DUPLICATE, "the call had an intent before");
        return;
    }
    budgets_intent(verify, record, hash);
}

static void add_outcome(struct verify *verify, const struct record *record)
{
    struct idmap *calls = &verify->calls.calls;
    uint64_t hash = idmap_hash(calls, record->call_id.at, record->call_id.len);
    uint64_t *found = idmap_find(calls, hash);

    if (found == NULL) {
        (void)find_now(verify, record, FINDING_OUTCOME_WITHOUT_INTENT, NO_INTENT);
        idmap_add(calls, hash, pack(verify, CALL_OUTCOME, record->seq));
    } else if (state_of(*found) == CALL_INTENT) {
        *found = pack(verify, CALL_CLOSED, record->seq);
        budgets_outcome(verify, record, hash);
    } else {
        VERIFY_FIND(verify, record->seq, OUTCOME_DUPLICATE, "the call had an outcome before");
    }
}

static bool is(struct record_piece piece, const char *text)
{
    return piece.len == strlen(text) && memcmp(piece.at, text, piece.len) == 0;
}

void calls_add(struct verify *verify, const struct record *record)
{
    struct record_piece event = record->event;
    bool has_call = record->call_id.at != NULL;

    if (is(event, "action.accepted")) {
        add_accepted(verify, record);
    } else if (is(event, "action.finished") || is(event, "action.cancelled") ||
               is(event, "action.expired") || is(event, "action.rejected")) {
        add_ended(verify, record);
    } else if (is(event, "call.intent")) {
        if (has_call) {
            add_intent(verify, record);
        } else {
            VERIFY_FIND(verify, record->seq, INTENT_WITHOUT_ACTION, "the intent names no call");
        }
    } else if (is(event, "call.outcome")) {
        if (has_call) {
            add_outcome(verify, record);
        } else {
            VERIFY_FIND(verify, record->seq, OUTCOME_WITHOUT_INTENT, "the outcome names no call");
        }
    } else if (is(event, "config.loaded")) {
        budgets_config(verify, record);
    } else if (is(event, "node.started")) {
        budgets_started(verify);
    }
}

/* ---- The end ---- */

static void find_left(uint64_t hash, uint64_t packed, void *arg)
{
    struct verify *verify = arg;
    struct findings *findings = &verify->findings;

    (void)hash;
    switch (state_of(packed)) {
    case ACTION_NAMED:
        findings_add(findings, node_of(packed), seq_of(packed), FINDING_INTENT_WITHOUT_ACTION,
                     NAMES_UNKNOWN);
        break;
    case ACTION_ENDED:
        findings_add(findings, node_of(packed), seq_of(packed), FINDING_FINISHED_WITHOUT_ACCEPTANCE,
                     "the action that ended was not accepted before, or had ended");
        break;
    case CALL_OUTCOME:
        findings_add(findings, node_of(packed), seq_of(packed), FINDING_OUTCOME_WITHOUT_INTENT,
                     NO_INTENT);
        break;
    case ACTION_ACCEPTED:
    case CALL_INTENT:
    case CALL_CLOSED:
    default:
        break;
    }
}

void calls_finish(struct verify *verify)
{
    if (verify->several && !verify->partial) {
        idmap_each(&verify->calls.actions, find_left, verify);
        idmap_each(&verify->calls.calls, find_left, verify);
    }
}
