"""Contract section 5: slots go to teams by weight, reservations and maxima hold, a team's queue is
its own, urgency orders a team's requests, and requests for one device keep their order."""
import pytest
from kit.bodies import exempt, macs, move, unexempt, use_slots
from kit.checks import assert_problem
from kit.gateway import SUBMIT
from kit.load import submit_all
from kit.waiting import Together, wait_for

NEVER_S = 3600  # a window that does not end while a test runs
NOW_OR_NEVER = {"Prefer": "wait=1"}


def make(site, teams, requests, window_s, latency_ms=0, **account):
    """Teams by name with their options, each with one client of its name; no two devices share a
    call unless max_devices_per_call says so."""
    simulator = site.simulator(limit=requests, window_s=window_s, latency_ms=latency_ms)
    account.setdefault("max_devices_per_call", 1)
    config = site.config(simulator, requests=requests, window_s=window_s, **account)
    for name, options in teams.items():
        config.add_team(name, **options)
        config.add_client(name, name)
    return simulator, site.gateway(config)


def devices(team, count):
    return [unexempt(f"any-{team}-{number}") for number in range(count)]


def sent_by(gateway, start=0):
    """The team of each call in the order of the intents, of calls of one action."""
    records = gateway.audit()
    teams = {record["action_id"]: record["team"] for record in records
             if record["event"] == "action.accepted"}
    intents = [record for record in records if record["event"] == "call.intent"]
    return [teams[intent["detail"]["actions"][0]] for intent in intents][start:]


# ---- Weights ----

@pytest.mark.slow
def test_saturating_teams_share_by_weight(site):
    """3:1 within 5 %, and at no moment further from it than a call for each team."""
    requests, calls = 60, 240
    simulator, gateway = make(site, {"heavy": {"weight": 3}, "light": {"weight": 1}}, requests, 1,
                              latency_ms="5-40")
    use_slots(gateway, simulator, requests)
    together = Together()
    for team in ("heavy", "light"):
        together.start(submit_all, gateway, devices(team, calls), client=team, connections=16)
    together.results()
    wait_for("the calls", lambda: len(simulator.calls()) >= calls, every_s=0.1)
    assert simulator.stats()["refused_429"] == 0
    sent = sent_by(gateway, start=requests)[:calls]
    heavy = sent.count("heavy")
    assert 3 * 0.95 <= heavy / (calls - heavy) <= 3 * 1.05, heavy
    # While it was queued the first of them went before the others came.
    first = next(at for at in range(calls) if {"heavy", "light"} <= set(sent[:at + 1]))
    for end in range(first, calls):
        share = sent[first:end].count("heavy") - 0.75 * (end - first)
        assert abs(share) <= 2, (end, share)


def test_an_idle_share_is_borrowed(site):
    simulator, gateway = make(site, {"one": {"weight": 1}, "idle": {"weight": 1000}}, 5, NEVER_S)
    ids = [action["id"] for action in submit_all(gateway, devices("one", 5), client="one")]
    for id in ids:
        assert gateway.wait_final(id, client="one")["state"] == "completed"
    assert len(simulator.calls()) == 5


@pytest.mark.slow
@pytest.mark.parametrize("waits", [True, False], ids=["waits", "async"])
def test_a_light_teams_lone_request_takes_the_next_slot(site, waits):
    """Whatever the others have queued: at most the call whose turn it already was goes before."""
    requests = 4
    simulator, gateway = make(site, {"red": {"weight": 3}, "blue": {"weight": 2}, "light": {}},
                              requests, 1, latency_ms="20-60")
    for team in ("red", "blue"):
        submit_all(gateway, devices(team, 80), client=team)
    wait_for("a window of load", lambda: len(simulator.calls()) > 2 * requests)
    for number in range(3):
        if waits:
            answer = gateway.post(unexempt(f"any-light-{number}"), client="light")
            assert answer.status_code == 200, answer.text
        else:
            action = gateway.submit(unexempt(f"any-light-{number}"), client="light")
            gateway.wait_final(action["id"], client="light")
        # Enough turns of the others for the next one to be as lone.
        wait_for("calls of the others", lambda seen=len(simulator.calls()):
                 len(simulator.calls()) >= seen + 8)
    records = gateway.audit()
    own = {record["action_id"] for record in records
           if record["event"] == "action.accepted" and record["team"] == "light"}
    assert len(own) == 3
    for id in own:
        accepted = next(at for at, record in enumerate(records)
                        if record["event"] == "action.accepted" and record["action_id"] == id)
        sent = next(at for at, record in enumerate(records)
                    if record["event"] == "call.intent" and id in record["detail"]["actions"])
        between = [record for record in records[accepted:sent] if record["event"] == "call.intent"]
        assert len(between) <= 1, (id, between)
    assert gateway.metric("tollgate_queue_depth", team="red") > 0, "there was no load"


def test_a_shared_call_is_paid_by_share_of_devices(site):
    """One device of a hundred in others' call costs a team next to nothing of its turn."""
    simulator, gateway = make(site, {"big": {}, "small": {}}, 1, 1, max_devices_per_call=100)
    use_slots(gateway, simulator, 1)
    gateway.submit(unexempt(*[f"any-{number}" for number in range(99)]), client="big")
    gateway.submit(unexempt("any-99"), client="small")
    # Both have another request, of kinds of their own: now it is the turn of the small one.
    last = gateway.submit(move("big", "any-100"), client="big")
    gateway.submit(move("small", "any-101"), client="small")
    gateway.wait_final(last["id"], client="big")
    wait_for("the calls", lambda: len(simulator.calls()) == 3)
    assert [(call["params"] or {}).get("group_id") for call in simulator.calls()] == \
        [None, "small", "big"]


def test_a_flood_is_bounded_and_harms_nobody(site):
    """Case 17."""
    simulator, gateway = make(site, {"flood": {"queue_limit": 20}, "calm": {}}, 5, 1)
    use_slots(gateway, simulator, 5)
    together = Together()
    for number in range(100):
        together.start(gateway.post, unexempt(f"any-flood-{number}"), SUBMIT, client="flood")
    answers = together.results()
    calm = [action["id"] for action in submit_all(gateway, devices("calm", 10), client="calm")]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert {answer.status_code for answer in answers} == {202, 429}
    assert len(refused) >= 60
    for answer in refused:
        assert_problem(answer, 429, "quota-exceeded")
        assert int(answer.headers["Retry-After"]) >= 1
    for id in calm:
        assert gateway.wait_final(id, client="calm")["state"] == "completed"
    sent = sent_by(gateway, start=5)
    last = len(sent) - 1 - sent[::-1].index("calm")
    first = sent.index("calm")
    assert sent[first:last + 1].count("flood") <= 10 + 1, "more than its share"
    assert simulator.stats()["refused_429"] == 0


# ---- Reserved and max ----

def test_reserved_slots_are_kept(site):
    """Even from a team that has work for them, and even while their owner is idle."""
    simulator, gateway = make(site, {"flood": {}, "vip": {"reserved": 2}}, 5, NEVER_S)
    submit_all(gateway, devices("flood", 10), client="flood")
    wait_for("the free slots to be used", lambda: len(simulator.calls()) == 3)
    budget = gateway.get("/v1/budget").json()
    assert (budget["free"], budget["queued"]) == (2, 7)
    for number in range(2):
        assert gateway.post(unexempt(f"any-vip-{number}"), client="vip").status_code == 200
    assert_problem(gateway.post(unexempt("any-vip-3"), client="vip"), 429, "quota-exceeded")
    assert len(simulator.calls()) == 5
    assert sent_by(gateway) == ["flood"] * 3 + ["vip"] * 2


def test_max_holds_while_slots_are_free(site):
    simulator, gateway = make(site, {"capped": {"max": 2}, "other": {}}, 5, NEVER_S)
    submit_all(gateway, devices("capped", 5), client="capped")
    for number in range(3):
        assert gateway.post(unexempt(f"any-o-{number}"), client="other").status_code == 200
    assert sorted(sent_by(gateway)) == ["capped"] * 2 + ["other"] * 3
    assert len(simulator.calls()) == 5


def test_a_capped_team_is_told_at_once_that_it_waits_long(site):
    """The estimate is longer than the caller waits: 429, and nothing is queued. Slots are free, but
    not for this team."""
    _, gateway = make(site, {"capped": {"max": 1}}, 5, NEVER_S)
    assert gateway.post(unexempt("any-1"), client="capped").status_code == 200
    answer = gateway.post(unexempt("any-2"), client="capped", headers=NOW_OR_NEVER)
    assert_problem(answer, 429, "quota-exceeded")


def test_a_team_is_told_at_once_that_the_rest_is_reserved(site):
    _, gateway = make(site, {"vip": {"reserved": 4}}, 5, NEVER_S)
    assert gateway.post(unexempt("any-1")).status_code == 200
    assert_problem(gateway.post(unexempt("any-2"), headers=NOW_OR_NEVER), 429, "quota-exceeded")


def test_max_comes_free_with_the_window(site):
    simulator, gateway = make(site, {"capped": {"max": 1}}, 5, 1)
    ids = [action["id"] for action in submit_all(gateway, devices("capped", 3), client="capped")]
    for id in ids:
        assert gateway.wait_final(id, client="capped")["state"] == "completed"
    arrivals = [call["mono_ms"] for call in simulator.calls()]
    assert min(later - earlier for earlier, later in zip(arrivals, arrivals[1:])) >= 1000 - 2


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_a_restart_forgets_no_teams_maximum(site, how):
    simulator, gateway = make(site, {"capped": {"max": 1}}, 5, NEVER_S)
    assert gateway.post(unexempt("any-1"), client="capped").status_code == 200
    gateway.kill() if how == "kill" else gateway.stop()
    gateway.start()
    gateway.submit(unexempt("any-2"), client="capped")
    assert gateway.post(unexempt("any-3")).status_code == 200
    assert [call["ids"] for call in simulator.calls()] == [["any-1"], ["any-3"]]


# ---- Order ----

@pytest.mark.slow
def test_urgency_orders_a_teams_requests(site):
    """RFC 9218: 0 before 3, which is the default, before 7; in order of arrival among equals."""
    simulator, gateway = make(site, {}, 1, 1)
    use_slots(gateway, simulator, 1)
    asked = ["u=7", None, "u=0", "u=7, i", "nonsense", "i, u=0", "u=8"]
    ids = [gateway.submit(unexempt(f"any-{number}"),
                          headers={"Priority": urgency} if urgency else None)["id"]
           for number, urgency in enumerate(asked)]
    assert gateway.get("/v1/actions?limit=1").status_code == 200
    for id in ids:
        gateway.wait_final(id)
    assert [call["ids"][0] for call in simulator.calls()] == \
        [f"any-{number}" for number in (2, 5, 1, 4, 6, 0, 3)]


def test_urgency_wins_nothing_from_other_teams(site):
    simulator, gateway = make(site, {"red": {}, "blue": {}}, 1, 1)
    use_slots(gateway, simulator, 1)
    for number in range(2):
        gateway.submit(unexempt(f"any-red-{number}"), client="red", headers={"Priority": "u=7"})
    for number in range(2):
        gateway.submit(unexempt(f"any-blue-{number}"), client="blue", headers={"Priority": "u=0"})
    wait_for("the calls", lambda: len(simulator.calls()) == 4)
    assert sent_by(gateway, start=1) == ["red", "blue", "red", "blue"]


def test_contradicting_requests_for_a_device_keep_their_order(site):
    """Across teams, whatever their urgency and although the first and the last could share."""
    simulator, gateway = make(site, {"red": {}, "blue": {}}, 10, 1, latency_ms="100-150",
                              max_devices_per_call=100)
    use_slots(gateway, simulator, 10)
    device = "normal-042"
    ids = [gateway.submit(exempt(24, device), client="red", headers={"Priority": "u=7"}),
           gateway.submit(unexempt("any-1", device), client="blue", headers={"Priority": "u=3"}),
           gateway.submit(exempt(24, device, "any-2"), client="red", headers={"Priority": "u=0"})]
    for action, client in zip(ids, ("red", "blue", "red")):
        assert gateway.wait_final(action["id"], client=client)["state"] == "completed"
    calls = simulator.calls()
    assert [call["types"] for call in calls if device in call["ids"]] == \
        ["exempt", "unexempt", "exempt"]
    times = [call["mono_ms"] for call in calls if device in call["ids"]]
    assert min(later - earlier for earlier, later in zip(times, times[1:])) >= 100 - 2, \
        "one left before the answer to the one before"
    assert simulator.devices()[device]["state"] == "exempt"


def test_the_order_holds_for_macs_in_any_spelling(site):
    simulator, gateway = make(site, {}, 10, 1, latency_ms="50", max_devices_per_call=100)
    use_slots(gateway, simulator, 10)
    ids = [gateway.submit(macs("00:0C:29:FF:00:01"))["id"],
           gateway.submit({"types": "exempt", "macs": ["000c29ff0001"]})["id"],
           gateway.submit(macs("00-0c-29-ff-00-01"))["id"]]
    for id in ids:
        gateway.wait_final(id)
    assert [call["types"] for call in simulator.calls()] == ["unexempt", "exempt", "unexempt"]


def test_equal_requests_for_a_device_need_no_order(site):
    simulator, gateway = make(site, {}, 10, 1, max_devices_per_call=100)
    use_slots(gateway, simulator, 10)
    ids = [gateway.submit(unexempt("any-1"))["id"] for _ in range(5)]
    for id in ids:
        assert gateway.wait_final(id)["state"] == "completed"
    assert len(simulator.calls()) == 1


def test_the_order_survives_a_kill(site):
    simulator, gateway = make(site, {}, 1, 1, max_devices_per_call=100)
    use_slots(gateway, simulator, 1)
    bodies = [exempt(1, "any-1"), unexempt("any-1"), exempt(1, "any-1"), exempt(2, "any-1")]
    ids = [gateway.submit(body)["id"] for body in bodies]
    gateway.kill()
    gateway.start()
    for id in ids:
        assert gateway.wait_final(id)["state"] in ("completed", "unknown")
    sent = [(call["types"], (call["params"] or {}).get("exempt_time"))
            for call in simulator.calls()]
    assert sent == [("exempt", 1), ("unexempt", None), ("exempt", 1), ("exempt", 2)]
