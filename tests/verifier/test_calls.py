"""What the records tell of calls: intents, outcomes, actions and budgets."""
import forge
import pytest
import verify


class Logs:
    """Some nodes' logs in one database, and what a verifier says of them."""

    def __init__(self, folder, key):
        self.path, self.key = folder / "log.db", key
        self.sqlite = forge.write_database(self.path)

    def node(self, name="gw-1", **options):
        log = forge.Forge(self.sqlite, self.key, name)
        log.start(**options)
        return log

    def found(self):
        return [problem[:3] for problem in self.report().problems]

    def report(self, *files):
        return verify.verify(str(self.path), [self.key.verifier()], files)


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    return forge.SigningKey(tmp_path_factory.mktemp("key"))


@pytest.fixture
def logs(tmp_path, key):
    logs = Logs(tmp_path, key)
    yield logs
    logs.sqlite.close()


def test_all_in_order(logs):
    log = logs.node()
    log.work(3)
    shared = [log.accept(), log.accept()]
    call = log.intend(*shared)
    log.outcome(call, *shared, outcome="failed", nothing_sent=True)
    log.intend(shared[0])  # under way
    assert logs.found() == []


def test_outcomes_without_intents(logs):
    log = logs.node()
    action = log.accept()
    log.outcome("call_none", action)
    call = "call_late"
    log.outcome(call, action)
    log.intend(action, call=call)
    assert logs.found() == [("gw-1", 3, "outcome-without-intent"),
                            ("gw-1", 4, "outcome-without-intent")]


def test_intents_without_actions(logs):
    log = logs.node()
    log.intend("act_none")
    log.intend()
    log.intend(log.accept(), "act_none")
    assert logs.found() == [("gw-1", seq, "intent-without-action") for seq in (2, 3, 5)]


def test_ends_without_beginnings(logs):
    log = logs.node()
    for event in ("action.finished", "action.cancelled", "action.expired"):
        log.add(event, action_id="act_none", account="main")
    assert logs.found() == [("gw-1", seq, "finished-without-acceptance") for seq in (2, 3, 4)]


def test_a_second_one(logs):
    log = logs.node()
    action = log.accept()
    call = log.intend(action)
    log.intend(action, call=call)
    log.outcome(call, action)
    log.outcome(call, action)
    assert logs.found() == [("gw-1", 4, "intent-duplicate"), ("gw-1", 6, "outcome-duplicate")]


def test_other_nodes(logs):
    """One node accepts, another calls, and a third tells the outcome after that one died."""
    one, two, three = map(logs.node, ("gw-1", "gw-2", "gw-3"))
    action = one.accept()
    call = two.intend(action)
    three.outcome(call, action, outcome="unknown")
    assert logs.found() == []


# ---- Budgets ----

def take(log, at_ms, counted_ms=None):
    """A call taken then, and counted; without that, under way. Returns the seq of its intent."""
    action = log.accept()
    log.now_ms = at_ms
    seq = log.tree.size
    call = log.intend(action)
    if counted_ms is not None:
        log.outcome(call, action, ahead_ms=counted_ms - log.now_ms)
    return seq


def test_a_full_budget(logs):
    log = logs.node(requests=2, window_s=60)
    take(log, 0, 100)
    take(log, 200, 5000)
    take(log, 60100, 60200)
    take(log, 65000, 65001)
    assert logs.found() == []


def test_a_millisecond_too_early(logs):
    log = logs.node(requests=2, window_s=60)
    take(log, 0, 100)
    take(log, 200, 5000)
    seq = take(log, 60099, 60200)
    assert logs.found() == [("gw-1", seq, "over-budget")]


def test_calls_under_way_hold_their_slot(logs):
    log = logs.node(requests=1, window_s=1)
    take(log, 0)
    seq = take(log, 500000, 500100)
    assert logs.found() == [("gw-1", seq, "over-budget")]


def test_what_may_still_be_counted(logs):
    """The latest moment lies ahead of the record."""
    log = logs.node(requests=1, window_s=10)
    take(log, 0, 30000)
    take(log, 40000, 40100)
    seq = take(log, 50099, 50200)
    assert logs.found() == [("gw-1", seq, "over-budget")]


def test_nothing_sent_is_no_call(logs):
    log = logs.node(requests=1, window_s=60)
    for _ in range(5):
        action = log.accept()
        log.outcome(log.intend(action), action, outcome="failed", nothing_sent=True)
    take(log, 10, 20)
    assert logs.found() == []


def test_the_wall_clock_is_not_asked(logs):
    """It jumps an hour ahead and back; the clock since boot goes on."""
    log = logs.node(requests=1, window_s=60)
    for at_ms in range(0, 600000, 60200):
        take(log, at_ms, at_ms + 200)
        log.wall_ms = 3600000 if log.wall_ms == 0 else 0
    assert logs.found() == []
    seq = take(log, log.now_ms + 59000, log.now_ms + 59100)
    assert logs.found() == [("gw-1", seq, "over-budget")]


def test_after_another_boot_it_is(logs):
    log = logs.node(requests=1, window_s=60)
    take(log, 500000, 500100)
    log.boot, log.wall_ms = "boot-2", 500200
    seq = take(log, 59000, 59100)
    log.wall_ms += 1000
    assert logs.found() == [("gw-1", seq, "over-budget")]
    log.boot, log.wall_ms = "boot-3", 700000
    take(log, 10, 20)
    assert len(logs.found()) == 1


def test_what_lies_ahead_after_another_boot(logs):
    log = logs.node(requests=1, window_s=10)
    take(log, 0, 30000)
    log.boot, log.wall_ms = "boot-2", 39000
    seq = take(log, 999, 1500)
    assert logs.found() == [("gw-1", seq, "over-budget")]


def test_nodes_share_a_budget(logs):
    one, two = map(logs.node, ("gw-1", "gw-2"))
    two.boot = "boot-2"
    for number in range(10):
        take([one, two][number % 2], number * 10, number * 10 + 1)
    assert logs.found() == []
    seq = take(two, 1000, 1001)
    assert logs.found() == [("gw-2", seq, "over-budget")]


def test_a_budget_that_changed(logs):
    log = logs.node(requests=5, window_s=60)
    for number in range(5):
        take(log, number, number + 1)
    log.start(requests=2, window_s=60)
    early = take(log, 60003, 60004)  # with the third, fourth and fifth
    take(log, 120004, 120005)
    log.start(requests=2, window_s=600)
    late = take(log, 180010, 180020)  # all of them are within ten minutes
    log.start(requests=100, window_s=600)
    take(log, 180030, 180040)
    assert logs.found() == [("gw-1", early, "over-budget"), ("gw-1", late, "over-budget")]


def test_without_a_budget_there_is_none_to_hold(logs):
    log = forge.Forge(logs.sqlite, logs.key)
    log.add("config.loaded", detail={"sha256": "0" * 64})
    for number in range(50):
        take(log, number, number)
    assert logs.found() == []


def test_what_is_not_as_it_should_be(logs):
    """A log that somebody made up may hold anything."""
    log = forge.Forge(logs.sqlite, logs.key)
    for value in (None, 5, "x", [], [[]], {}, {"accounts": 7}, {"accounts": {"main": 3}},
                  {"accounts": {"main": {"requests": "x"}}}, {"actions": 5}, {"clock": 4},
                  {"clock": {"boot_id": [], "ms": "x"}}):
        for event in ("config.loaded", "action.accepted", "call.intent", "call.outcome"):
            log.add(event, detail=value, call_id=value, action_id=value, account=value)
    assert "intent-without-action" in {reason for _, _, reason in logs.found()}


# ---- What is left of a log ----

def test_what_was_pruned_may_have_been_there(logs):
    log = logs.node()
    action = log.accept()
    call = log.intend(action)
    log.work(100)
    log.outcome(call, action)
    log.intend(action)
    log.checkpoint()
    log.prune(256)
    assert logs.found() == []


def test_what_follows_a_bad_record_is_no_evidence(logs):
    log = logs.node()
    seq = log.accept() and 2
    log.run()
    logs.sqlite.execute("UPDATE audit SET leaf = zeroblob(32) WHERE seq = ?", (seq,))
    log.outcome("call_none")
    assert logs.found() == [("gw-1", seq, "record-altered")]
