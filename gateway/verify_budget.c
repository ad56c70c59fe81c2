/* Verify, the budget: that no window of an account holds more calls than allowed, however they are
 * counted. A call holds a slot from its taking until a window after the upstream had counted it at
 * the latest: when a slot is taken, fewer than `requests` others may be held. See verify_priv.h.
 *
 * Calls are compared on the clock since boot, on which the gateway decides, if they are of one
 * boot. Else the records' wall clocks must do, which may be off by some time, so with a tolerance;
 * and what was counted in another boot was counted before this one. Logs of several nodes are
 * compared at the end, on the wall clock. A call without an outcome holds its slot as long as its
 * process lives, and once that is gone, as if it had been counted when it was taken. */
#include "gateway/verify_priv.h"

#include "common/clock.h"
#include "common/scan.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define WALL_TOLERANCE_MS 2000
#define SWEEP_FOUND_MAX   1000
#define WINDOW_MAX_S      (INT64_MAX / 1000000)

void budgets_init(struct budgets *budgets)
{
    idmap_init(&budgets->accounts);
    idmap_init(&budgets->open);
}

void budgets_done(struct budgets *budgets)
{
    for (size_t i = 0; i < budgets->count; i++) {
        free(budgets->books[i].name);
        free(budgets->books[i].counted);
        free(budgets->books[i].intervals);
    }
    free(budgets->books);
    free(budgets->calls);
    idmap_done(&budgets->accounts);
    idmap_done(&budgets->open);
}

struct account_book *budgets_book(struct budgets *budgets, const char *name, size_t len)
{
    uint64_t hash = idmap_hash(&budgets->accounts, name, len);
    const uint64_t *found = idmap_find(&budgets->accounts, hash);

    if (found != NULL) {
        return &budgets->books[*found];
    }
    if ((budgets->count & (budgets->count - 1)) == 0) { /* full */
        budgets->books = xrealloc(budgets->books, budgets->count > 0 ? 2 * budgets->count : 1,
                                  sizeof(*budgets->books));
    }
    budgets->books[budgets->count] =
        (struct account_book){.name = xstrndup(name, len), .name_len = len};
    idmap_add(&budgets->accounts, hash, budgets->count);
    return &budgets->books[budgets->count++];
}

/* ---- Times ---- */

static int64_t wall_of(const struct record *record)
{
    char text[40];
    int64_t wall_ms = 0;

    if (record->time.len < sizeof(text)) {
        memcpy(text, record->time.at, record->time.len);
        text[record->time.len] = '\0';
        if (clock_parse(text, &wall_ms) != OK) {
            return 0;
        }
    }
    return wall_ms;
}

/* Times are at most 2^53, so that sums of a few cannot overflow. */
static int64_t bounded(int64_t ms)
{
    const int64_t max = INT64_C(1) << 53;

    return ms < 0 ? 0 : (ms > max ? max : ms);
}

static struct call_time time_of(const struct verify *verify, const struct record *record)
{
    struct record_piece clock = record_member(record->detail, "clock");
    struct record_piece boot = record_member(clock, "boot_id");
    int64_t ms = record_integer(record_member(clock, "ms"), -1);
    struct call_time time = {.wall_ms = bounded(wall_of(record))};

    if (boot.at != NULL && ms >= 0) {
        time.boot = idmap_hash(&verify->budgets.accounts, boot.at, boot.len);
        time.ms = bounded(ms);
    }
    return time;
}

/* Whether a call's slot was free again by then. */
static bool is_free(const struct counted_call *call, const struct call_time *then,
                    int64_t window_ms)
{
    window_ms = window_ms < call->window_ms ? window_ms : call->window_ms;
    if (call->at.boot != 0 && call->at.boot == then->boot) {
        return call->at.ms + window_ms <= then->ms;
    }
    if (call->at.wall_ms + window_ms <= then->wall_ms + WALL_TOLERANCE_MS) {
        return true;
    }
    return call->at.boot != 0 && then->boot != 0 && window_ms + call->after_ms <= then->ms;
}

/* ---- What is known of a budget ---- */

void budgets_config(struct verify *verify, const struct record *record)
{
    struct record_piece accounts = record_member(record->detail, "accounts");
    struct scan scan = {accounts.at, accounts.at + accounts.len};

    if (accounts.at == NULL || !scan_take(&scan, '{')) {
        return;
    }
    do {
        const char *name = scan.at;
        const char *value;
        struct record_piece object;
        struct account_book *book;
        int64_t requests;
        int64_t window_s;
        if (!scan_name(&scan)) {
            return; /* there are none */
        }
        value = scan.at;
        if (!scan_value(&scan, 0)) {
            return;
        }
        object = (struct record_piece){value, (size_t)(scan.at - value)};
        requests = record_integer(record_member(object, "requests"), 0);
        window_s = record_integer(record_member(object, "window_s"), 0);
        if (requests > 0 && window_s > 0 && window_s <= WINDOW_MAX_S) {
            book = budgets_book(&verify->budgets, name + 1, (size_t)(value - name) - 3);
            book->logged = (struct budget_known){requests, bounded(window_s * 1000)};
        }
    } while (scan_take(&scan, ','));
}

static struct budget_known known_of(const struct account_book *book)
{
    return book->logged.requests > 0 ? book->logged : book->given;
}

/* ---- Calls that are counted ---- */

static void drop_free(struct account_book *book, const struct call_time *now, int64_t window_ms)
{
    size_t kept = 0;

    for (size_t i = 0; i < book->counted_count; i++) {
        if (!is_free(&book->counted[i], now, window_ms)) {
            book->counted[kept++] = book->counted[i];
        }
    }
    book->counted_count = kept;
}

static void add_counted(struct account_book *book, const struct counted_call *call)
{
    struct budget_known known = known_of(book);

    if (known.requests == 0) {
        return;
    }
    if (book->counted_count == book->counted_capacity) {
        drop_free(book, &call->at, known.window_ms);
        if (book->counted_count >= book->counted_capacity / 2) {
            book->counted_capacity = book->counted_capacity > 0 ? 2 * book->counted_capacity : 16;
            book->counted = xrealloc(book->counted, book->counted_capacity, sizeof(*book->counted));
        }
    }
    book->counted[book->counted_count] = *call;
    book->counted[book->counted_count++].window_ms = known.window_ms;
}

static void add_interval(struct verify *verify, struct account_book *book,
                         const struct open_call *call, int64_t free_ms)
{
    struct budget_known known = known_of(book);

    if (!verify->several || known.requests == 0) {
        return;
    }
    if (book->interval_count == book->interval_capacity) {
        book->interval_capacity = book->interval_capacity > 0 ? 2 * book->interval_capacity : 64;
        book->intervals =
            xrealloc(book->intervals, book->interval_capacity, sizeof(*book->intervals));
    }
    book->intervals[book->interval_count++] =
        (struct interval){.taken_ms = call->taken.wall_ms,
                          .free_ms = free_ms,
                          .intent = {verify->log.node, call->seq},
                          .requests = known.requests};
}

/* It was counted at that time at the latest. */
static void count_call(struct verify *verify, const struct open_call *call,
                       const struct counted_call *counted)
{
    struct account_book *book = &verify->budgets.books[call->account];

    add_counted(book, counted);
    add_interval(verify, book, call, counted->at.wall_ms + known_of(book).window_ms);
}

/* ---- Open calls ---- */

/* Processes that are gone left them without an outcome. */
static void give_up_open(struct verify *verify)
{
    struct budgets *budgets = &verify->budgets;

    for (size_t i = 0; i < budgets->call_count; i++) {
        const struct open_call *call = &budgets->calls[i];
        struct counted_call counted = {.at = call->taken};
        budgets->books[call->account].open--;
        count_call(verify, call, &counted);
    }
    budgets->call_count = 0;
    idmap_clear(&budgets->open);
}

static void add_open(struct budgets *budgets, const struct open_call *call)
{
    if (budgets->call_count == budgets->call_capacity) {
        budgets->call_capacity = budgets->call_capacity > 0 ? 2 * budgets->call_capacity : 16;
        budgets->calls = xrealloc(budgets->calls, budgets->call_capacity, sizeof(*budgets->calls));
    }
    idmap_add(&budgets->open, call->hash, budgets->call_count);
    budgets->calls[budgets->call_count++] = *call;
    budgets->books[call->account].open++;
}

/* False: it is not open. */
static bool take_open(struct budgets *budgets, uint64_t hash, struct open_call *ret_call)
{
    const uint64_t *found = idmap_find(&budgets->open, hash);
    size_t at;

    if (found == NULL) {
        return false;
    }
    at = *found;
    *ret_call = budgets->calls[at];
    idmap_remove(&budgets->open, hash);
    budgets->books[ret_call->account].open--;
    budgets->call_count--;
    if (at < budgets->call_count) { /* the last one goes into the hole */
        budgets->calls[at] = budgets->calls[budgets->call_count];
        *idmap_find(&budgets->open, budgets->calls[at].hash) = at;
    }
    return true;
}

/* ---- What the log says ---- */

void budgets_begin_node(struct budgets *budgets)
{
    budgets->restarted = false;
    for (size_t i = 0; i < budgets->count; i++) {
        budgets->books[i].logged = (struct budget_known){0, 0};
        budgets->books[i].counted_count = 0;
    }
}

void budgets_end_node(struct verify *verify)
{
    give_up_open(verify);
}

void budgets_started(struct verify *verify)
{
    verify->budgets.restarted = true;
}

/* Takes a slot at that time. */
static void take(struct verify *verify, struct account_book *book, const struct open_call *call)
{
    struct budget_known known = known_of(book);
    uint64_t held = (uint64_t)book->open + book->counted_count;

    book->calls++;
    if (known.requests == 0) {
        book->unchecked++;
        return;
    }
    book->last = known;
    if (held >= (uint64_t)known.requests) {
        drop_free(book, &call->taken, known.window_ms);
        held = (uint64_t)book->open + book->counted_count;
    }
    if (held >= (uint64_t)known.requests) {
        char name[64];
        VERIFY_FIND(verify, call->seq, OVER_BUDGET,
                    "account %s may have %" PRId64 " calls in %" PRId64 " s, and this is number "
                    "%" PRIu64,
                    findings_printable(book->name, book->name_len, name, sizeof(name)),
                    known.requests, known.window_ms / 1000, held + 1);
    }
}

void budgets_intent(struct verify *verify, const struct record *record, uint64_t hash)
{
    struct budgets *budgets = &verify->budgets;
    struct record_piece name = record->account;
    struct account_book *book = budgets_book(budgets, name.at != NULL ? name.at : "", name.len);
    struct open_call call = {.hash = hash,
                             .account = (size_t)(book - budgets->books),
                             .seq = record->seq,
                             .taken = time_of(verify, record)};

    if (budgets->restarted) { /* the outcomes of its calls came before this, if ever */
        budgets->restarted = false;
        give_up_open(verify);
    }
    take(verify, book, &call);
    add_open(budgets, &call);
}

void budgets_outcome(struct verify *verify, const struct record *record, uint64_t hash)
{
    struct budgets *budgets = &verify->budgets;
    struct counted_call counted = {.at = time_of(verify, record)};
    struct open_call call;

    if (!take_open(budgets, hash, &call)) {
        return;
    }
    if (record_equals(record_member(record->detail, "nothing_sent"), "true")) {
        add_interval(verify, &budgets->books[call.account], &call, counted.at.wall_ms);
        return;
    }
    if (counted.at.boot != 0 && counted.at.boot == call.taken.boot) {
        counted.after_ms = bounded(counted.at.ms - call.taken.ms);
        counted.at.wall_ms = call.taken.wall_ms + counted.after_ms;
    } else if (counted.at.boot == 0 && budgets->restarted) {
        /* Without a clock, of version 0.1, a later process could only say when it found out. */
        counted.at.wall_ms = call.taken.wall_ms;
    }
    count_call(verify, &call, &counted);
}

/* ---- Several nodes ---- */

static int by_taken(const void *left, const void *right)
{
    const struct interval *a = left;
    const struct interval *b = right;

    return a->taken_ms < b->taken_ms ? -1 : a->taken_ms > b->taken_ms;
}

static int by_time(const void *left, const void *right)
{
    int64_t a = *(const int64_t *)left;
    int64_t b = *(const int64_t *)right;

    return a < b ? -1 : a > b;
}

/* Whether the calls held when that one was taken are of several nodes: those of one were looked at
 * with better clocks. */
static bool spans_nodes(const struct account_book *book, size_t index)
{
    const struct interval *call = &book->intervals[index];

    for (size_t i = 0; i < index; i++) {
        if (book->intervals[i].free_ms > call->taken_ms + WALL_TOLERANCE_MS &&
            book->intervals[i].intent.node != call->intent.node) {
            return true;
        }
    }
    return false;
}

static void sweep(struct verify *verify, struct account_book *book)
{
    int64_t *frees = xcalloc(book->interval_count, sizeof(*frees));
    size_t freed = 0;
    size_t found = 0;

    qsort(book->intervals, book->interval_count, sizeof(*book->intervals), by_taken);
    for (size_t i = 0; i < book->interval_count; i++) {
        frees[i] = book->intervals[i].free_ms;
    }
    qsort(frees, book->interval_count, sizeof(*frees), by_time);
    for (size_t i = 0; i < book->interval_count && found < SWEEP_FOUND_MAX; i++) {
        const struct interval *call = &book->intervals[i];
        while (freed < i && frees[freed] <= call->taken_ms + WALL_TOLERANCE_MS) {
            freed++;
        }
        if (i - freed < (uint64_t)call->requests) {
            continue;
        }
        found++;
        if (spans_nodes(book, i)) {
            findings_add(&verify->findings, call->intent.node, call->intent.seq,
                         FINDING_OVER_BUDGET,
                         "an account may have %" PRId64 " calls in its window, and with those of "
                         "other nodes this is number %zu",
                         call->requests, i - freed + 1);
        }
    }
    free(frees);
}

void budgets_finish(struct verify *verify)
{
    for (size_t i = 0; verify->several && i < verify->budgets.count; i++) {
        if (verify->budgets.books[i].interval_count > 0) {
            sweep(verify, &verify->budgets.books[i]);
        }
    }
}
