/* Writes: building them, on the sender's thread. Their strings are copied once, into the write's
 * arena; the backends bind them from there. */
#include "store/store_priv.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct store_write *store_write_new(void)
{
    struct store_write *write = xcalloc(1, sizeof(*write));

    write->last = &write->first;
    return write;
}

void store_write_free(struct store_write *write)
{
    if (write == NULL) {
        return;
    }
    for (struct store_op *op = write->first; op != NULL; op = op->next) {
        if (op->kind == STORE_ADD_RECORD) {
            free(op->record.tail);
        }
    }
    arena_done(&write->arena);
    free(write);
}

static struct store_op *add_op(struct store_write *write, enum store_op_kind kind)
{
    struct store_op *op = arena_alloc(&write->arena, sizeof(*op));

    op->kind = kind;
    *write->last = op;
    write->last = &op->next;
    write->count++;
    return op;
}

void store_write_add_action(struct store_write *write, const struct store_action *action)
{
    struct arena *arena = &write->arena;

    add_op(write, STORE_ADD_ACTION)->action = (struct store_action){
        .id = arena_text(arena, action->id),
        .account = arena_text(arena, action->account),
        .team = arena_text(arena, action->team),
        .client = arena_text(arena, action->client),
        .key_id = arena_text(arena, action->key_id),
        .request_id = arena_text(arena, action->request_id),
        .state = arena_text(arena, action->state),
        .submitted_ms = action->submitted_ms,
        .finished_ms = action->finished_ms,
        .priority = action->priority,
        .deadline_ms = action->deadline_ms,
        .reason = arena_text(arena, action->reason),
        .rule = arena_text(arena, action->rule),
        .request = arena_text(arena, action->request),
        .results = arena_text(arena, action->results),
        .problem = arena_text(arena, action->problem),
        .call_id = arena_text(arena, action->call_id),
        .progress = arena_text(arena, action->progress),
    };
}

void store_write_set_state(struct store_write *write, const char *id, const char *state,
                           const char *call_id)
{
    add_op(write, STORE_SET_STATE)->action = (struct store_action){
        .id = arena_text(&write->arena, id),
        .state = arena_text(&write->arena, state),
        .call_id = arena_text(&write->arena, call_id),
    };
}

void store_write_set_progress(struct store_write *write, const char *id, const char *state,
                              const char *progress)
{
    add_op(write, STORE_SET_PROGRESS)->action = (struct store_action){
        .id = arena_text(&write->arena, id),
        .state = arena_text(&write->arena, state),
        .progress = arena_text(&write->arena, progress),
    };
}

void store_write_finish_action(struct store_write *write, const char *id, const char *state,
                               int64_t finished_ms, const char *results, const char *problem)
{
    assert(finished_ms > 0);
    add_op(write, STORE_FINISH_ACTION)->action = (struct store_action){
        .id = arena_text(&write->arena, id),
        .state = arena_text(&write->arena, state),
        .finished_ms = finished_ms,
        .results = arena_text(&write->arena, results),
        .problem = arena_text(&write->arena, problem),
    };
}

void store_write_add_idempotency(struct store_write *write,
                                 const struct store_idempotency *idempotency)
{
    struct arena *arena = &write->arena;

    add_op(write, STORE_ADD_IDEMPOTENCY)->idempotency = (struct store_idempotency){
        .team = arena_text(arena, idempotency->team),
        .key = arena_text(arena, idempotency->key),
        .body_sha256 = arena_text(arena, idempotency->body_sha256),
        .action_id = arena_text(arena, idempotency->action_id),
        .expires_ms = idempotency->expires_ms,
        .now_ms = idempotency->now_ms,
    };
}

void store_write_drop_expired(struct store_write *write, int64_t now_ms)
{
    add_op(write, STORE_DROP_EXPIRED)->idempotency.now_ms = now_ms;
}

void store_write_add_grant(struct store_write *write, const struct store_grant *grant)
{
    add_op(write, STORE_ADD_GRANT)->grant = (struct store_grant){
        .call_id = arena_text(&write->arena, grant->call_id),
        .account = arena_text(&write->arena, grant->account),
        .boot_id = arena_text(&write->arena, grant->boot_id),
        .taken_boot_ms = grant->taken_boot_ms,
        .taken_wall_ms = grant->taken_wall_ms,
        .answered_boot_ms = grant->answered_boot_ms,
        .answered_wall_ms = grant->answered_wall_ms,
        .detail = arena_text(&write->arena, grant->detail),
    };
}

void store_write_answer_grant(struct store_write *write, const char *call_id, int64_t boot_ms,
                              int64_t wall_ms)
{
    add_op(write, STORE_ANSWER_GRANT)->grant = (struct store_grant){
        .call_id = arena_text(&write->arena, call_id),
        .answered_boot_ms = boot_ms,
        .answered_wall_ms = wall_ms,
    };
}

void store_write_drop_grant(struct store_write *write, const char *call_id)
{
    add_op(write, STORE_DROP_GRANT)->grant = (struct store_grant){
        .call_id = arena_text(&write->arena, call_id),
    };
}

void store_write_add_record(struct store_write *write, char *tail_take)
{
    struct store_op *op = add_op(write, STORE_ADD_RECORD);

    assert(tail_take[0] == '"');
    op->record.tail = tail_take;
    op->record.len = strlen(tail_take);
    write->bytes += op->record.len;
}

void store_write_add_checkpoint(struct store_write *write, store_sign_cb sign, void *arg)
{
    struct store_op *op = add_op(write, STORE_ADD_CHECKPOINT);

    op->checkpoint.sign = sign;
    op->checkpoint.arg = arg;
}

void store_write_add_segment(struct store_write *write, const struct segment *segment)
{
    add_op(write, STORE_ADD_SEGMENT)->segment = segment;
}

void store_write_set_stream(struct store_write *write, const char *name, const char *node,
                            int64_t seq)
{
    struct store_op *op = add_op(write, STORE_SET_STREAM);

    op->stream.name = arena_text(&write->arena, name);
    op->stream.node = arena_text(&write->arena, node);
    op->stream.seq = seq;
}

void store_write_prune(struct store_write *write, int64_t size, const char *note)
{
    struct store_op *op = add_op(write, STORE_PRUNE);

    op->prune.size = size;
    op->prune.note = arena_text(&write->arena, note);
}
