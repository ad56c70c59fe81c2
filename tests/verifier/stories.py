"""Logs that tell of calls, right and wrong, for every verifier to judge. Each story is told to a
database with the audit log's empty tables, and returns what must be found: (node, seq, reason) of
each problem, by node and seq."""
import forge

NODE = "gw-1"
STORIES = []


def story(function):
    STORIES.append(function)
    return function


def node(sqlite, key, name=NODE, **budget):
    log = forge.Forge(sqlite, key, name, boot="boot of " + name)
    log.start(**budget)
    return log


def take(log, at_ms, counted_ms=None):
    """A call taken then, and counted; without that, under way. Returns the seq of its intent."""
    action = log.accept()
    log.now_ms = at_ms
    seq = log.tree.size
    call = log.intend(action)
    if counted_ms is not None:
        log.outcome(call, action, ahead_ms=counted_ms - log.now_ms)
    return seq


# ---- Intents, outcomes and actions ----

@story
def all_in_order(sqlite, key):
    log = node(sqlite, key)
    log.work(3)
    shared = [log.accept(), log.accept()]
    call = log.intend(*shared)
    log.outcome(call, *shared, outcome="failed", nothing_sent=True)
    log.intend(shared[0])  # under way
    return []


@story
def outcomes_without_intents(sqlite, key):
    log = node(sqlite, key)
    action = log.accept()
    log.outcome("call_none", action)
    log.outcome("call_late", action)
    log.intend(action, call="call_late")
    return [(NODE, 3, "outcome-without-intent"), (NODE, 4, "outcome-without-intent")]


@story
def intents_without_actions(sqlite, key):
    log = node(sqlite, key)
    log.intend("act_none")
    log.intend()
    log.intend(log.accept(), "act_neither")
    return [(NODE, seq, "intent-without-action") for seq in (2, 3, 5)]


@story
def an_intent_before_its_action(sqlite, key):
    log = node(sqlite, key)
    log.intend("act_gw-1_2")
    log.accept()
    return [(NODE, 2, "intent-without-action")]


@story
def ends_without_beginnings(sqlite, key):
    log = node(sqlite, key)
    for event in ("action.finished", "action.cancelled", "action.expired"):
        log.add(event, action_id="of " + event, account="main")
    return [(NODE, seq, "finished-without-acceptance") for seq in (2, 3, 4)]


@story
def a_second_intent(sqlite, key):
    log = node(sqlite, key)
    action = log.accept()
    call = log.intend(action)
    log.intend(action, call=call)
    log.outcome(call, action)
    return [(NODE, 4, "intent-duplicate")]


@story
def a_second_outcome(sqlite, key):
    log = node(sqlite, key)
    action = log.accept()
    call = log.intend(action)
    log.outcome(call, action)
    log.outcome(call, action)
    return [(NODE, 5, "outcome-duplicate")]


@story
def a_call_taken_over(sqlite, key):
    """One node accepts, another calls, and a third tells the outcome after that one died."""
    one, two, three = (node(sqlite, key, name) for name in ("gw-1", "gw-2", "gw-3"))
    action = one.accept()
    call = two.intend(action)
    three.outcome(call, action, outcome="unknown")
    return []


# ---- Budgets ----

@story
def a_full_budget(sqlite, key):
    log = node(sqlite, key, requests=2, window_s=60)
    take(log, 0, 100)
    take(log, 200, 5000)
    take(log, 60100, 60200)
    take(log, 65000, 65001)
    return []


@story
def a_millisecond_too_early(sqlite, key):
    log = node(sqlite, key, requests=2, window_s=60)
    take(log, 0, 100)
    take(log, 200, 5000)
    return [(NODE, take(log, 60099, 60200), "over-budget")]


@story
def a_burst_too_large(sqlite, key):
    """All within one millisecond: the last ones are those too many."""
    log = node(sqlite, key, requests=10, window_s=60)
    seqs = [take(log, 5, 6) for _ in range(12)]
    return [(NODE, seq, "over-budget") for seq in seqs[10:]]


@story
def a_call_under_way_holds_its_slot(sqlite, key):
    log = node(sqlite, key, requests=1, window_s=1)
    take(log, 0)
    return [(NODE, take(log, 500000, 500100), "over-budget")]


@story
def what_may_still_be_counted(sqlite, key):
    """The latest moment lies ahead of the record."""
    log = node(sqlite, key, requests=1, window_s=10)
    take(log, 0, 30000)
    take(log, 40000, 40100)
    return [(NODE, take(log, 50099, 50200), "over-budget")]


@story
def nothing_sent_is_no_call(sqlite, key):
    log = node(sqlite, key, requests=1, window_s=60)
    for _ in range(5):
        action = log.accept()
        log.outcome(log.intend(action), action, outcome="failed", nothing_sent=True)
    take(log, 10, 20)
    return []


@story
def the_wall_clock_jumps(sqlite, key):
    """An hour ahead and back; the clock since boot goes on, and decides."""
    log = node(sqlite, key, requests=1, window_s=60)
    for at_ms in range(0, 600000, 60200):
        take(log, at_ms, at_ms + 200)
        log.wall_ms = 3600000 if log.wall_ms == 0 else 0
    return [(NODE, take(log, log.now_ms + 59000, log.now_ms + 59100), "over-budget")]


@story
def after_another_boot_the_wall_clock_decides(sqlite, key):
    log = node(sqlite, key, requests=1, window_s=60)
    take(log, 500000, 500100)
    log.boot, log.wall_ms = "boot-2", 500200
    seq = take(log, 50000, 50100)
    log.boot, log.wall_ms = "boot-3", 700000
    take(log, 10, 20)
    return [(NODE, seq, "over-budget")]


@story
def what_lies_ahead_after_another_boot(sqlite, key):
    log = node(sqlite, key, requests=1, window_s=10)
    take(log, 0, 30000)
    log.boot, log.wall_ms = "boot-2", 35000
    return [(NODE, take(log, 900, 1500), "over-budget")]


@story
def what_was_counted_in_another_boot_was_before_this_one(sqlite, key):
    """Whatever the wall clock says, that was set back by an hour."""
    log = node(sqlite, key, requests=1, window_s=60)
    take(log, 500000, 500100)
    log.boot, log.wall_ms = "boot-2", -3000000
    take(log, 60200, 60300)
    return []


@story
def nodes_share_a_budget(sqlite, key):
    one, two = (node(sqlite, key, name) for name in ("gw-1", "gw-2"))
    for number in range(10):
        take([one, two][number % 2], number * 10, number * 10 + 1)
    return [("gw-2", take(two, 1000, 1001), "over-budget")]


@story
def a_budget_that_changed(sqlite, key):
    log = node(sqlite, key, requests=5, window_s=60)
    for number in range(5):
        take(log, number, number + 1)
    log.start(requests=2, window_s=60)
    early = take(log, 60003, 60004)  # with the third, fourth and fifth
    take(log, 120004, 120005)
    log.start(requests=100, window_s=60)
    for number in range(90):
        take(log, 120010 + number, 120200)
    return [(NODE, early, "over-budget")]


@story
def a_window_that_became_longer(sqlite, key):
    """What was free before is not held again."""
    log = node(sqlite, key, requests=2, window_s=60)
    take(log, 0, 1)
    take(log, 1, 2)
    log.now_ms = 70000
    log.start(requests=2, window_s=600)
    take(log, 70001, 70002)
    take(log, 70003, 70004)
    return [(NODE, take(log, 140000, 140001), "over-budget")]


@story
def a_window_that_became_shorter(sqlite, key):
    log = node(sqlite, key, requests=1, window_s=600)
    take(log, 0, 1)
    log.now_ms = 50000
    log.start(requests=1, window_s=60)
    early = take(log, 60000, 60001)
    take(log, 120001, 120002)
    return [(NODE, early, "over-budget")]


@story
def without_a_budget_there_is_none_to_hold(sqlite, key):
    log = forge.Forge(sqlite, key)
    log.add("config.loaded", detail={"sha256": "0" * 64})
    for number in range(50):
        take(log, number, number)
    return []


@story
def without_clocks_the_wall_clock_decides(sqlite, key):
    log = node(sqlite, key, requests=2, window_s=60)
    log.clock = lambda ahead_ms=0: None  # as version 0.1 wrote them
    seqs = []
    for at_ms in (0, 1000, 2000, 70000):
        action = log.accept()
        log.now_ms = at_ms
        seqs.append(log.tree.size)
        log.outcome(log.intend(action), action)
    return [(NODE, seqs[2], "over-budget")]


# ---- What is left of a log ----

@story
def what_was_pruned_may_have_been_there(sqlite, key):
    log = node(sqlite, key)
    action = log.accept()
    call = log.intend(action)
    log.work(100, checkpoint_every=19)
    log.outcome(call, action)
    log.intend(action)
    log.checkpoint()
    log.prune(256)
    return []


@story
def what_follows_a_bad_record_is_no_evidence(sqlite, key):
    log = node(sqlite, key)
    seq = log.tree.size
    log.run()
    sqlite.execute("UPDATE audit SET leaf = zeroblob(32) WHERE seq = ?", (seq,))
    log.outcome("call_none")
    return [(NODE, seq, "record-altered")]


@story
def what_stands_before_a_bad_record_is(sqlite, key):
    log = node(sqlite, key)
    log.outcome("call_none")
    seq = log.tree.size
    log.run()
    sqlite.execute("UPDATE audit SET leaf = zeroblob(32) WHERE seq = ?", (seq,))
    return [(NODE, 2, "outcome-without-intent"), (NODE, seq, "record-altered")]
