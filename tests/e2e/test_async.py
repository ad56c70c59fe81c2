"""Actions nobody waits for: their status, listing, cancelling, expiry; and idempotency keys."""
import json
import sqlite3
import time

import pytest
from kit.bodies import exempt, unexempt, use_slots
from kit.checks import assert_problem
from kit.gateway import DROP_IN, SUBMIT
from kit.waiting import Together, wait_for

NEVER_S = 3600
REQUESTS = 2


@pytest.fixture(scope="module")
def pair(module_site):
    """All slots are used, for as long as the tests run: what is submitted stays queued."""
    simulator = module_site.simulator()
    config = module_site.config(simulator, requests=REQUESTS, window_s=NEVER_S)
    config.add_team("red")
    config.add_client("red", "red")
    config.add_client("second", "ops")
    config.add_client("auditor", roles=["auditor"])
    config.add_client("operator", roles=["operator"])
    gateway = module_site.gateway(config)
    use_slots(gateway, simulator, REQUESTS)
    return simulator, gateway


@pytest.fixture
def full(pair):
    return pair[1]


@pytest.fixture
def free_pair(site):
    """A gateway that sends at once."""
    simulator = site.simulator()
    config = site.config(simulator)
    config.add_team("red")
    config.add_client("red", "red")
    return simulator, site.gateway(config)


# ---- Status ----

def test_a_queued_action_tells_its_place(full):
    first = full.submit(exempt(101, "any-1"))
    second = full.submit(exempt(102, "any-1"))
    answer = full.get(f"{SUBMIT}/{second['id']}")
    shown = answer.json()
    assert shown["state"] == "queued"
    assert shown["position"] == second["position"] == first["position"] + 1
    assert 0 < shown["eta_s"] <= second["eta_s"] <= 1000 * NEVER_S
    assert int(answer.headers["Retry-After"]) >= 1
    assert list(shown) == list(second)
    for name in ("id", "team", "client", "submitted_at", "request", "reason"):
        assert shown[name] == second[name]
    assert full.request("DELETE", f"{SUBMIT}/{first['id']}").status_code == 200
    assert full.action(second["id"])["position"] == shown["position"] - 1


def test_a_dispatched_action_is_pending_too(free_pair):
    simulator, gateway = free_pair
    simulator.order({"do": "delay", "ms": 1500})
    id = gateway.submit(unexempt("any-1"))["id"]
    wait_for("the call", simulator.calls)
    answer = gateway.get(f"{SUBMIT}/{id}")
    assert answer.json()["state"] == "dispatched"
    assert int(answer.headers["Retry-After"]) >= 1
    assert isinstance(answer.json()["eta_s"], int)
    gateway.wait_final(id)
    answer = gateway.get(f"{SUBMIT}/{id}")
    assert "Retry-After" not in answer.headers
    assert answer.json()["position"] is answer.json()["eta_s"] is None


def test_another_team_sees_nothing(full):
    id = full.submit(unexempt("any-1"))["id"]
    theirs = assert_problem(full.get(f"{SUBMIT}/{id}", client="red"), 404, "not-found")
    none = assert_problem(full.get(f"{SUBMIT}/act_000000000000000000000000", client="red"), 404,
                          "not-found")
    assert {**theirs, "request_id": None} == {**none, "request_id": None}
    assert full.get(f"{SUBMIT}/{id}", client="second").status_code == 200
    for client in ("auditor", "operator"):
        assert full.get(f"{SUBMIT}/{id}", client=client).status_code == 200


# ---- Listing ----

def pages(gateway, query="", client="script", limit=None):
    """All actions of a listing, page by page."""
    found, cursor = [], None
    for _ in range(1000):
        parts = [query, f"limit={limit}" if limit else "", f"cursor={cursor}" if cursor else ""]
        answer = gateway.get(f"{SUBMIT}?{'&'.join(filter(None, parts))}", client=client)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert list(page) == ["actions", "next"]
        assert limit is None or len(page["actions"]) <= limit
        found += page["actions"]
        cursor = page["next"]
        if cursor is None:
            return found
    raise AssertionError("the listing has no end")


@pytest.fixture(scope="module")
def listed(module_site):
    """Actions of two teams in several states: (gateway, ids by team, newest last)."""
    simulator = module_site.simulator()
    config = module_site.config(simulator, requests=4, window_s=NEVER_S, max_devices_per_call=1)
    config.add_team("red")
    config.add_client("red", "red")
    config.add_client("auditor", roles=["auditor"])
    config.add_client("operator", roles=["operator"])
    gateway = module_site.gateway(config)
    ids = {"ops": [], "red": []}
    simulator.order({"do": "status", "status": 500})
    for number in range(25):
        client, team = (("red", "red") if number % 4 == 1 else ("script", "ops"))
        action = gateway.submit(unexempt(f"any-{number}"), client=client)
        ids[team].append(action["id"])
        if number < 4:
            gateway.wait_final(action["id"], client=client)
    assert gateway.request("DELETE", f"{SUBMIT}/{ids['ops'][-1]}").status_code == 200
    return gateway, ids


@pytest.mark.parametrize("limit", [None, 1, 7, 1000])
def test_every_action_is_listed_once_newest_first(listed, limit):
    gateway, ids = listed
    for client, team in (("script", "ops"), ("red", "red")):
        found = pages(gateway, client=client, limit=limit)
        assert [action["id"] for action in found] == ids[team][::-1]
        assert {action["team"] for action in found} == {team}
    assert found[0].keys() == gateway.action(found[0]["id"], "red").keys()


@pytest.mark.parametrize("client", ["auditor", "operator"])
def test_auditors_and_operators_list_all_teams(listed, client):
    gateway, ids = listed
    found = [action["id"] for action in pages(gateway, client=client, limit=6)]
    assert sorted(found) == sorted(ids["ops"] + ids["red"])


@pytest.mark.parametrize("limit", [None, 2])
def test_a_listing_by_state(listed, limit):
    gateway, _ = listed
    by_state = {state: pages(gateway, f"state={state}", "auditor", limit)
                for state in ("queued", "dispatched", "completed", "failed", "cancelled",
                              "unknown", "expired", "rejected", "awaiting_approval")}
    assert {state: len(found) for state, found in by_state.items() if found} == \
        {"queued": 20, "completed": 3, "failed": 1, "cancelled": 1}
    for state, found in by_state.items():
        assert {action["state"] for action in found} <= {state}


def test_what_comes_meanwhile_moves_no_page(full):
    ids = [full.submit(exempt(500 + number, "any-1"), client="red")["id"] for number in range(6)]
    first = full.get(f"{SUBMIT}?limit=3", client="red").json()
    for number in range(3):
        full.submit(exempt(600 + number, "any-1"), client="red")
    second = full.get(f"{SUBMIT}?limit=3&cursor={first['next']}", client="red").json()
    assert [action["id"] for action in first["actions"] + second["actions"]] == ids[::-1]


@pytest.mark.parametrize("query", ["state=none", "limit=0", "limit=-1", "limit=x", "limit=1.5",
                                   "limit=100000000", "cursor=zz", "cursor=-1", "limit=1&limit=2",
                                   "state=queued&state=queued"])
def test_wrong_queries(full, query):
    assert_problem(full.get(f"{SUBMIT}?{query}"), 400, "malformed-request")


@pytest.mark.parametrize("query", ["&limit=1", "limit=1&", "limit=1&&state=queued", "limit=%31"])
def test_no_query_is_silently_ignored(listed, query):
    gateway, _ = listed
    answer = gateway.get(f"{SUBMIT}?{query}")
    assert answer.status_code == 400 or len(answer.json()["actions"]) == 1, answer.text


# ---- Cancelling ----

def cancel(gateway, id, client="script"):
    return gateway.request("DELETE", f"{SUBMIT}/{id}", client=client)


def test_cancel_what_is_queued(full):
    action = full.submit(exempt(200, "any-1"))
    depth = full.get("/v1/budget").json()["queued"]
    answer = cancel(full, action["id"])
    assert answer.status_code == 200
    assert answer.json()["state"] == "cancelled" and answer.json()["finished_at"]
    assert answer.json()["results"] is None
    assert full.action(action["id"]) == answer.json()
    assert full.get("/v1/budget").json()["queued"] == depth - 1
    record, = full.audit_of(event="action.cancelled", action_id=action["id"])
    assert record["client"] == "script"
    assert_problem(cancel(full, action["id"]), 409, "not-cancellable")
    assert len(full.audit_of(event="action.cancelled", action_id=action["id"])) == 1


def test_who_may_cancel(full):
    """Case 12."""
    id = full.submit(exempt(201, "any-1"))["id"]
    assert_problem(cancel(full, id, "red"), 404, "not-found")
    assert_problem(cancel(full, id, "auditor"), 403, "forbidden")
    assert_problem(cancel(full, "act_000000000000000000000000"), 404, "not-found")
    assert cancel(full, id, None).status_code == 401
    assert full.action(id)["state"] == "queued"
    assert cancel(full, id, "operator").json()["state"] == "cancelled"
    record, = full.audit_of(event="action.cancelled", action_id=id)
    assert record["client"] == "operator"
    id = full.submit(exempt(202, "any-1"))["id"]
    assert cancel(full, id, "second").json()["state"] == "cancelled", "of the same team"


def test_what_was_sent_or_has_ended_cannot_be_cancelled(free_pair):
    simulator, gateway = free_pair
    simulator.order({"do": "delay", "ms": 1000})
    id = gateway.submit(unexempt("any-1"))["id"]
    wait_for("the call", simulator.calls)
    assert_problem(cancel(gateway, id), 409, "not-cancellable")
    assert gateway.wait_final(id)["state"] == "completed"
    assert_problem(cancel(gateway, id), 409, "not-cancellable")
    assert gateway.action(id)["state"] == "completed"


def test_a_request_half_sent_cannot_be_cancelled(site):
    simulator = site.simulator()
    gateway = site.gateway(site.config(simulator, requests=1, window_s=NEVER_S,
                                       max_devices_per_call=2))
    id = gateway.submit(unexempt("any-1", "any-2", "any-3"))["id"]
    wait_for("the first call", lambda: gateway.audit_of(event="call.outcome"))
    assert_problem(cancel(gateway, id), 409, "not-cancellable")
    assert gateway.action(id)["state"] == "dispatched"


def test_a_waiting_caller_hears_that_it_was_cancelled(site):
    simulator = site.simulator()
    gateway = site.gateway(site.config(simulator, requests=1, window_s=20, sync_wait_s=60))
    use_slots(gateway, simulator, 1)
    waiting = Together()
    waiting.start(gateway.post, unexempt("any-1"))
    id = gateway.wait_audit(event="action.accepted", action="unexempt")[0]["action_id"]
    started = time.monotonic()
    wait_for("it to be queued", lambda: cancel(gateway, id).status_code == 200)
    answer, = waiting.results()
    assert time.monotonic() - started < 10, "it waited for its slot"
    assert answer.status_code >= 400
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["status"] == answer.status_code
    assert answer.headers["Location"] == f"{SUBMIT}/{id}"
    assert simulator.calls() == []


def test_cancelled_is_never_sent_and_others_of_the_call_are(site):
    simulator = site.simulator()
    gateway = site.gateway(site.config(simulator, requests=1, window_s=1))
    use_slots(gateway, simulator, 1)
    ids = [gateway.submit(unexempt(f"any-{number}"))["id"] for number in range(3)]
    assert cancel(gateway, ids[1]).status_code == 200
    for id in (ids[0], ids[2]):
        assert gateway.wait_final(id)["state"] == "completed"
    assert [sorted(call["ids"]) for call in simulator.calls()] == [["any-0", "any-2"]]


def test_what_waits_behind_a_cancelled_request_goes_on(site):
    simulator = site.simulator()
    gateway = site.gateway(site.config(simulator, requests=1, window_s=1))
    use_slots(gateway, simulator, 1)
    first = gateway.submit(exempt(1, "any-1"))
    second = gateway.submit(exempt(2, "any-1"))
    assert cancel(gateway, first["id"]).status_code == 200
    assert gateway.wait_final(second["id"])["state"] == "completed"
    assert len(simulator.calls()) == 1


def test_cancelling_races_with_sending(free_pair):
    """Whoever wins: cancelled and not sent, or sent and not cancelled."""
    simulator, gateway = free_pair
    for number in range(20):
        id = gateway.submit(unexempt(f"any-{number}"))["id"]
        status = cancel(gateway, id).status_code
        state = gateway.wait_final(id)["state"]
        assert (status, state) in ((200, "cancelled"), (409, "completed"))
        sent = any(f"any-{number}" in call["ids"] for call in simulator.calls())
        assert sent == (state == "completed")


# ---- Expiry ----

def test_what_was_not_sent_by_its_deadline_expires(site):
    """A day is long: the store is told, while nobody has it open, that it is over."""
    simulator = site.simulator()
    gateway = site.gateway(site.config(simulator, requests=1, window_s=NEVER_S))
    use_slots(gateway, simulator, 1)
    old = gateway.submit(unexempt("any-1"))["id"]
    young = gateway.submit(unexempt("any-2"))["id"]
    gateway.stop()
    with sqlite3.connect(gateway.config.folder / "tollgate.db") as store:
        store.execute("UPDATE actions SET deadline_ms = ? WHERE id = ?",
                      (int(time.time() * 1000) - 1000, old))
    store.close()
    gateway.start()
    action = gateway.wait_final(old)
    assert action["state"] == "expired"
    assert action["problem"]["type"] == "urn:tollgate:problem:expired"
    assert gateway.audit_of(event="action.expired", action_id=old)
    assert gateway.action(young)["state"] == "queued"
    assert simulator.calls() == []


# ---- Idempotency keys ----

def key(text):
    return {"Idempotency-Key": text}


def test_the_first_answer_again(free_pair):
    simulator, gateway = free_pair
    body = unexempt("any-1", "normal-001")
    first = gateway.post(body, headers=key("a-1"))
    again = gateway.post(body, headers=key("a-1"))
    assert first.status_code == again.status_code == 200
    assert again.content == first.content
    assert again.headers["Location"] == first.headers["Location"]
    assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert len(simulator.calls()) == 1
    assert len(gateway.audit_of(event="action.accepted")) == 1


def test_the_first_failure_again(free_pair):
    simulator, gateway = free_pair
    simulator.order({"do": "status", "status": 500})
    first = gateway.post(unexempt("any-1"), headers=key("a-2"))
    again = gateway.post(unexempt("any-1"), headers=key("a-2"))
    problem = assert_problem(first, 502, "upstream-error")
    replayed = assert_problem(again, 502, "upstream-error")
    assert {**problem, "request_id": None} == {**replayed, "request_id": None}
    assert again.headers["Idempotent-Replayed"] == "true"
    assert simulator.calls() == [] and len(gateway.audit_of(event="call.intent")) == 1


def test_an_unknown_outcome_again(free_pair):
    simulator, gateway = free_pair
    simulator.order({"do": "close-after"})
    for _ in range(2):
        answer = gateway.post(unexempt("any-1"), headers=key("a-3"))
        assert_problem(answer, 504, "outcome-unknown")
    assert answer.headers["Idempotent-Replayed"] == "true"
    assert len(simulator.calls()) == 1


def test_another_body_with_the_key(free_pair):
    simulator, gateway = free_pair
    assert gateway.post(unexempt("any-1"), headers=key("a-4")).status_code == 200
    answer = gateway.post(unexempt("any-2"), headers=key("a-4"))
    assert_problem(answer, 422, "idempotency-mismatch")
    assert len(simulator.calls()) == 1


def test_still_running(full):
    first = full.submit(exempt(300, "any-1"), headers=key("a-5"))
    for path in (SUBMIT, DROP_IN):
        answer = full.post(exempt(300, "any-1"), path, headers=key("a-5"))
        assert_problem(answer, 409, "in-progress")
        assert answer.headers["Location"] == f"{SUBMIT}/{first['id']}"
    assert_problem(full.post(exempt(301, "any-1"), SUBMIT, headers=key("a-5")), 422,
                   "idempotency-mismatch")
    assert len(full.audit_of(event="action.accepted", params={"exempt_time": 300})) == 1


@pytest.mark.parametrize("latency_ms", ["0", "300"])
def test_the_same_key_fifty_times_at_once(site, latency_ms):
    """Case 15: one execution, one action."""
    simulator = site.simulator(latency_ms=latency_ms)
    gateway = site.gateway(site.config(simulator))
    together = Together()
    for _ in range(50):
        together.start(gateway.post, unexempt("any-1"), headers=key("a-6"))
    answers = together.results()
    originals = [answer for answer in answers
                 if answer.status_code == 200 and "Idempotent-Replayed" not in answer.headers]
    assert len(originals) == 1
    location = originals[0].headers["Location"]
    for answer in answers:
        assert answer.headers["Location"] == location
        if answer.status_code == 409:
            assert_problem(answer, 409, "in-progress")
        else:
            assert answer.content == originals[0].content
    assert len(simulator.calls()) == 1
    assert len(gateway.audit_of(event="action.accepted")) == 1


def test_different_bodies_with_the_same_key_at_once(site):
    simulator = site.simulator()
    gateway = site.gateway(site.config(simulator))
    together = Together()
    for number in range(20):
        together.start(gateway.post, unexempt(f"any-{number}"), headers=key("a-7"))
    statuses = sorted(answer.status_code for answer in together.results())
    assert statuses == [200] + [422] * 19
    assert len(simulator.calls()) == 1


def test_keys_belong_to_a_team(free_pair):
    simulator, gateway = free_pair
    assert gateway.post(unexempt("any-1"), headers=key("a-8")).status_code == 200
    other = gateway.post(unexempt("any-2"), client="red", headers=key("a-8"))
    assert other.status_code == 200 and "Idempotent-Replayed" not in other.headers
    assert len(simulator.calls()) == 2


def test_quoted_and_bare_are_the_same(free_pair):
    simulator, gateway = free_pair
    assert gateway.post(unexempt("any-1"), headers=key('"a-9"')).status_code == 200
    for spelling in ("a-9", '"a-9"'):
        answer = gateway.post(unexempt("any-1"), headers=key(spelling))
        assert answer.headers["Idempotent-Replayed"] == "true"
    assert len(simulator.calls()) == 1


@pytest.mark.parametrize("text", ["", '""', "a b", 'a"b', "\\", "x" * 256, '"a', "\x80"])
def test_keys_that_make_no_sense(full, text):
    answer = full.post(unexempt("any-1"), SUBMIT, headers=key(text.encode("latin-1")))
    assert_problem(answer, 400, "malformed-request")


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_keys_survive_a_restart(site, how):
    simulator = site.simulator()
    gateway = site.gateway(site.config(simulator, requests=1, window_s=NEVER_S))
    first = gateway.post(unexempt("any-1"), headers=key("a-10"))
    queued = gateway.submit(unexempt("any-2"), headers=key("a-11"))
    gateway.kill() if how == "kill" else gateway.stop()
    gateway.start()
    again = gateway.post(unexempt("any-1"), headers=key("a-10"))
    assert again.content == first.content and again.headers["Idempotent-Replayed"] == "true"
    answer = gateway.post(unexempt("any-2"), headers=key("a-11"))
    assert_problem(answer, 409, "in-progress")
    assert answer.headers["Location"] == f"{SUBMIT}/{queued['id']}"
    assert_problem(gateway.post(unexempt("any-3"), headers=key("a-11")), 422,
                   "idempotency-mismatch")
    assert len(simulator.calls()) == 1


def test_what_was_refused_left_no_key(free_pair):
    simulator, gateway = free_pair
    assert gateway.post({"types": "none"}, headers=key("a-12")).status_code == 422
    assert gateway.post(unexempt("any-1"), headers=key("a-12")).status_code == 200
    assert len(simulator.calls()) == 1


def test_a_replay_needs_no_slot(site):
    simulator = site.simulator()
    gateway = site.gateway(site.config(simulator, requests=1, window_s=NEVER_S))
    body = json.dumps(unexempt("any-1")).encode()
    assert gateway.post(body, headers=key("a-13")).status_code == 200
    assert_problem(gateway.post(unexempt("any-2")), 429, "quota-exceeded")
    assert gateway.post(body, headers=key("a-13")).status_code == 200


def test_an_accepted_action_again_when_it_has_ended(free_pair):
    """The first answer was 202: so is its replay, for the same action."""
    _, gateway = free_pair
    first = gateway.submit(unexempt("any-1"), headers=key("a-14"))
    gateway.wait_final(first["id"])
    again = gateway.post(unexempt("any-1"), SUBMIT, headers=key("a-14"))
    assert again.status_code == 202
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.json()["id"] == first["id"]
