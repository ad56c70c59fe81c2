"""Contract section 5: compatible requests of any teams share a call, a large one is split, and each
caller gets exactly its own devices' results, in its order and spelling."""
import json

import pytest
from kit.bodies import exempt, macs, move, unexempt, use_slots
from kit.checks import assert_calls, assert_problem
from kit.waiting import Together, wait_for

WINDOW_S = 1
CLIENTS = ["script", "second", "red"]  # of two teams


@pytest.fixture
def simulator(site):
    return site.simulator()


@pytest.fixture
def gateway(site, simulator):
    """One slot in a window: while it is used, all that comes waits, and goes in one call if it
    can."""
    config = site.config(simulator, requests=1, window_s=WINDOW_S)
    config.add_client("second", "ops")
    config.add_team("red", sync_wait_s=30)
    config.add_client("red", "red")
    return site.gateway(config)


def post_together(gateway, simulator, *bodies, order=None):
    """Posts each body as one of the three clients while no slot is free, and may give the simulator
    an order for the call that carries them; the answers."""
    use_slots(gateway, simulator, 1)
    if order:
        simulator.order(order)
    together = Together()
    for number, body in enumerate(bodies):
        together.start(gateway.post, body, client=CLIENTS[number % len(CLIENTS)])
    return together.results()


def statuses(answer):
    assert answer.status_code == 200, answer.text
    return [(item["id"], item["status"]) for item in answer.json()]


def names(answers):
    return sorted(answer.headers["Location"].rsplit("/", 1)[1] for answer in answers)


def own_call(gateway, answers):
    """The intent that names exactly the actions of these answers."""
    intent, = [intent for intent in assert_calls(gateway.audit())
               if sorted(intent["detail"]["actions"]) == names(answers)]
    return intent


# ---- One call for several requests ----

def test_teams_and_clients_share_a_call(gateway, simulator):
    def values():
        return [gateway.metric("tollgate_call_requests_count"),
                gateway.metric("tollgate_call_requests_sum"),
                gateway.metric("tollgate_call_devices_sum"),
                gateway.metric("tollgate_calls_saved_total", team="ops"),
                gateway.metric("tollgate_calls_saved_total", team="red")]
    bodies = [unexempt("any-2", "normal-001"), unexempt("any-3", "any-1"),
              unexempt("unknown-001", "any-4", "failing-001")]
    before = values()
    answers = post_together(gateway, simulator, *bodies)
    assert statuses(answers[0]) == [("any-2", 1), ("normal-001", 1)]
    assert statuses(answers[1]) == [("any-3", 1), ("any-1", 1)]
    assert statuses(answers[2]) == [("unknown-001", -1), ("any-4", 1), ("failing-001", 0)]
    call, = simulator.calls()
    assert sorted(call["ids"]) == sorted(id for body in bodies for id in body["ids"])
    assert sorted(own_call(gateway, answers)["devices"]) == sorted(call["ids"])
    calls, requests, devices, ops, red = [now - then for now, then in zip(values(), before)]
    assert (calls, requests, devices) == (2, 1 + 3, 1 + 7)  # with the call that used the slot
    assert abs(ops + red - 2) < 0.001, "three requests in one call save two"
    assert abs(red - (1 - 3 / 7)) < 0.001, "a team pays by its share of the devices"


def test_the_shared_body_is_canonical(gateway, simulator):
    post_together(gateway, simulator, *[exempt(24, f"any-{number}") for number in range(3)])
    body, = simulator.bodies()
    sent = json.loads(body)
    assert list(sent) == ["types", "ids", "params"]
    assert sent["types"] == "exempt" and sent["params"] == {"exempt_time": 24}
    assert body == json.dumps(sent, separators=(",", ":"))


def test_a_device_of_two_callers_goes_once_and_answers_both(gateway, simulator):
    answers = post_together(gateway, simulator, unexempt("any-1", "normal-001", "any-2"),
                            unexempt("any-2", "any-3"), unexempt("normal-001"))
    assert statuses(answers[0]) == [("any-1", 1), ("normal-001", 1), ("any-2", 1)]
    assert statuses(answers[1]) == [("any-2", 1), ("any-3", 1)]
    assert statuses(answers[2]) == [("normal-001", 1)]
    call, = simulator.calls()
    assert sorted(call["ids"]) == ["any-1", "any-2", "any-3", "normal-001"]


def test_both_get_the_command_id_of_a_device_that_went_once(gateway, simulator):
    body = {"types": "fetch_agent_log", "ids": ["any-1"]}
    first, second = post_together(gateway, simulator, body, body)
    assert first.json() == second.json()
    assert first.json()[0]["command_id"]
    assert len(simulator.calls()) == 1


def test_macs_in_any_spelling_go_once(gateway, simulator):
    spellings = ["00:0C:29:FF:00:01", "00-0c-29-ff-00-01", "000c29FF0001"]
    answers = post_together(gateway, simulator, macs(spellings[0], "00:0c:29:ff:00:02"),
                            macs("00:0c:29:08:00:01", spellings[1]), macs(spellings[2]))
    assert statuses(answers[0]) == [(spellings[0], 1), ("00:0c:29:ff:00:02", 1)]
    assert statuses(answers[1]) == [("00:0c:29:08:00:01", -1), (spellings[1], 1)]
    assert statuses(answers[2]) == [(spellings[2], 1)]
    call, = simulator.calls()
    assert sorted(call["macs"]) == ["00:0c:29:08:00:01", "00:0c:29:ff:00:01", "00:0c:29:ff:00:02"]


def test_ids_are_compared_as_they_are(gateway, simulator):
    answers = post_together(gateway, simulator, unexempt("any-a"), unexempt("any-A"))
    assert [statuses(answer) for answer in answers] == [[("any-a", 1)], [("any-A", 1)]]
    call, = simulator.calls()
    assert sorted(call["ids"]) == ["any-A", "any-a"]


def test_what_differs_never_shares(site):
    """Two requests of each of these kinds, all queued together: one call for each kind."""
    kinds = [lambda at: exempt(1, f"any-{at}"), lambda at: exempt(2, f"any-{at}"),
             lambda at: {"types": "exempt", "ids": [f"any-{at}"]},
             lambda at: unexempt(f"any-{at}"), lambda at: macs(f"00:0c:29:ff:00:{at:02}"),
             lambda at: move("a", f"any-{at}"), lambda at: move("A", f"any-{at}"),
             lambda at: {"types": "delete", "ids": [f"any-{at}"]}]
    simulator = site.simulator()
    gateway = site.gateway(site.config(simulator, requests=len(kinds), window_s=5))
    use_slots(gateway, simulator, len(kinds))
    ids = [gateway.submit(kind(10 + 2 * number + turn))["id"]
           for turn in range(2) for number, kind in enumerate(kinds)]
    for id in ids:
        action = gateway.wait_final(id)
        assert action["state"] == "completed"
        assert [item["status"] for item in action["results"]] == [1]
    calls = simulator.calls()
    assert len(calls) == len(kinds)
    assert all(len(call.get("ids", call.get("macs"))) == 2 for call in calls)
    assert_calls(gateway.audit())


def test_a_call_holds_no_more_than_it_may(gateway, simulator):
    """The default is 100 devices; 120 requests of one each need two calls."""
    count = 120
    use_slots(gateway, simulator, 1)
    ids = [gateway.submit(unexempt(f"any-{number}"), client=CLIENTS[number % 3])["id"]
           for number in range(count)]
    for number, id in enumerate(ids):
        action = gateway.wait_final(id, client=CLIENTS[number % 3])
        assert action["results"] == [{"id": f"any-{number}", "status": 1, "command_id": ""}]
    sizes = [len(call["ids"]) for call in simulator.calls()]
    assert sum(sizes) == count and max(sizes) <= 100


def test_a_lone_request_on_an_idle_gateway_waits_for_nobody(site):
    simulator = site.simulator()
    gateway = site.gateway(site.config(simulator, requests=10, window_s=60, batch_linger_ms=60000,
                                       sync_wait_s=10))
    assert gateway.post(unexempt("any-1")).status_code == 200


# ---- Several calls for one request ----

def test_a_large_request_is_split_and_joined(site):
    simulator = site.simulator()
    gateway = site.gateway(site.config(simulator))
    ids = [f"any-{number:03}" for number in range(250, 10, -1)] + \
        [f"{kind}-{number:03}" for number in range(1, 6) for kind in ("normal", "unknown")]
    answer = gateway.post(unexempt(*ids))
    assert statuses(answer) == [(id, -1 if id.startswith("unknown") else 1) for id in ids]
    calls = simulator.calls()
    assert sorted(len(call["ids"]) for call in calls) == [50, 100, 100]
    assert sorted(id for call in calls for id in call["ids"]) == sorted(ids)
    id = answer.headers["Location"].rsplit("/", 1)[1]
    assert [intent["detail"]["actions"] for intent in assert_calls(gateway.audit())] == [[id]] * 3
    assert gateway.action(id)["results"] == answer.json()
    assert len(gateway.audit_of(event="action.finished")) == 1


def test_a_split_request_waits_for_all_its_slots(site):
    simulator = site.simulator(limit=1, window_s=WINDOW_S)
    gateway = site.gateway(site.config(simulator, requests=1, window_s=WINDOW_S,
                                       max_devices_per_call=2))
    ids = [f"any-{number}" for number in range(5)]
    assert statuses(gateway.post(unexempt(*ids))) == [(id, 1) for id in ids]
    assert [len(call["ids"]) for call in simulator.calls()] == [2, 2, 1]
    assert simulator.stats()["refused_429"] == 0


def test_others_fill_the_calls_of_a_split_request(gateway, simulator):
    large = [f"any-{number}" for number in range(150)]
    answers = post_together(gateway, simulator, unexempt(*large), unexempt("any-7", "any-200"),
                            unexempt("any-149", "any-201"))
    assert statuses(answers[0]) == [(id, 1) for id in large]
    assert statuses(answers[1]) == [("any-7", 1), ("any-200", 1)]
    assert statuses(answers[2]) == [("any-149", 1), ("any-201", 1)]
    calls = simulator.calls()
    sent = [id for call in calls for id in call["ids"]]
    assert len(calls) == 2, [len(call["ids"]) for call in calls]
    assert max(len(call["ids"]) for call in calls) <= 100
    assert set(sent) == set(large) | {"any-200", "any-201"}


def test_one_call_of_a_split_request_is_refused(site):
    """Some was applied: the results are known, those of the refused part are failures."""
    simulator = site.simulator()
    gateway = site.gateway(site.config(simulator, max_devices_per_call=2))
    simulator.order({"do": "reject-device", "id": "any-3"})
    answer = gateway.post(unexempt(*[f"any-{number}" for number in range(5)]))
    assert statuses(answer) == [("any-0", 1), ("any-1", 1), ("any-2", 0), ("any-3", 0),
                                ("any-4", 1)]
    assert gateway.action(answer.headers["Location"])["state"] == "completed"
    assert len(simulator.calls()) == 2


def test_one_call_of_a_split_request_has_no_answer(site):
    simulator = site.simulator()
    gateway = site.gateway(site.config(simulator, max_devices_per_call=2))
    simulator.order({"do": "close-after"})
    answer = gateway.post(unexempt(*[f"any-{number}" for number in range(6)]))
    assert_problem(answer, 504, "outcome-unknown")
    assert gateway.action(answer.headers["Location"])["state"] == "unknown"
    calls = simulator.calls()
    assert len(calls) == 3, "unknown never goes again"
    assert len({id for call in calls for id in call["ids"]}) == 6


# ---- What goes wrong with a shared call ----

def test_the_bad_device_of_one_fails_alone(gateway, simulator):
    """An upstream 400 does not say whose fault it is: each goes again alone, once."""
    use_slots(gateway, simulator, 1)
    simulator.order(*[{"do": "reject-device", "id": "any-bad"}] * 2)
    together = Together()
    for client, ids in zip(CLIENTS, (["any-1", "any-2"], ["any-bad", "any-3"], ["any-4"])):
        together.start(gateway.post, unexempt(*ids), client=client)
    answers = together.results()
    assert statuses(answers[0]) == [("any-1", 1), ("any-2", 1)]
    problem = assert_problem(answers[1], 502, "upstream-rejected")
    assert problem["upstream_status"] == 400
    assert statuses(answers[2]) == [("any-4", 1)]
    assert simulator.orders_left() == []
    assert sorted(call["ids"] for call in simulator.calls()) == [["any-1", "any-2"], ["any-4"]]
    assert gateway.action(answers[1].headers["Location"])["state"] == "failed"
    records = gateway.audit()
    _, shared, *alone = assert_calls(records)
    assert sorted(shared["detail"]["actions"]) == names(answers)
    assert sorted(intent["detail"]["actions"] for intent in alone) == \
        [[name] for name in names(answers)]
    outcomes = {record["call_id"]: (record["outcome"], record["upstream_status"])
                for record in records if record["event"] == "call.outcome"}
    assert outcomes[shared["call_id"]] == ("failed", 400)
    assert sorted(outcomes[intent["call_id"]] for intent in alone) == \
        [("failed", 400), ("ok", 200), ("ok", 200)]


def test_a_bad_device_of_two_fails_both_and_nobody_else(gateway, simulator):
    use_slots(gateway, simulator, 1)
    simulator.order(*[{"do": "reject-device", "id": "any-bad"}] * 3)
    together = Together()
    for client, ids in zip(CLIENTS, (["any-bad"], ["any-1"], ["any-bad", "any-2"])):
        together.start(gateway.post, unexempt(*ids), client=client)
    assert [answer.status_code for answer in together.results()] == [502, 200, 502]
    assert [call["ids"] for call in simulator.calls()] == [["any-1"]]


def test_an_upstream_error_is_everybodys_and_is_not_tried_again(gateway, simulator):
    order = {"do": "status", "status": 500}
    answers = post_together(gateway, simulator, unexempt("any-1"), unexempt("any-2"), order=order)
    for answer in answers:
        assert assert_problem(answer, 502, "upstream-error")["upstream_status"] == 500
    assert simulator.calls() == []
    own_call(gateway, answers)


def test_a_dropped_device_is_that_devices_failure_alone(gateway, simulator):
    bodies = [unexempt("any-1", "any-2"), unexempt("any-3"), unexempt("any-4", "any-5")]
    answers = post_together(gateway, simulator, *bodies, order={"do": "drop-device"})
    results = {}
    for body, answer in zip(bodies, answers):
        own = dict(statuses(answer))
        assert list(own) == body["ids"]
        results.update(own)
    call, = simulator.calls()
    assert sorted(call["ids"]) == sorted(results)
    assert results == {id: 0 if id == call["ids"][-1] else 1 for id in results}


def test_a_foreign_device_is_nobodys(gateway, simulator):
    bodies = [unexempt("any-1"), unexempt("any-2"), unexempt("any-3")]
    answers = post_together(gateway, simulator, *bodies, order={"do": "foreign-device"})
    for body, answer in zip(bodies, answers):
        assert statuses(answer) == [(body["ids"][0], 1)]
        assert "foreign" not in answer.text
    assert any(entry.get("foreign_devices") == 1 for entry in gateway.logged("upstream call"))


@pytest.mark.parametrize("order, status, name", [("close-after", 504, "outcome-unknown"),
                                                 ("garbage", 502, "upstream-error")])
def test_a_shared_call_of_unknown_outcome_is_unknown_to_all(site, simulator, order, status, name):
    config = site.config(simulator, requests=1, window_s=WINDOW_S, timeout_s=1)
    config.add_client("second", "ops")
    config.add_team("red", sync_wait_s=30)
    config.add_client("red", "red")
    gateway = site.gateway(config)
    bodies = [unexempt("any-1", "any-2"), unexempt("any-2"), unexempt("any-3")]
    answers = post_together(gateway, simulator, *bodies, order={"do": order})
    for client, answer in zip(CLIENTS, answers):
        assert_problem(answer, status, name)
        action = gateway.action(answer.headers["Location"], client)
        assert action["state"] == "unknown"
        assert action["results"] is None
    own_call(gateway, answers)
    assert gateway.wait_final(gateway.submit(move("last", "any-9"))["id"])["state"] == "completed"
    assert [sorted(call["ids"]) for call in simulator.calls()] == \
        [["any-1", "any-2", "any-3"], ["any-9"]], "unknown never goes again"


def test_a_refused_token_costs_a_shared_call_one_more_slot(gateway, simulator):
    use_slots(gateway, simulator, 1)
    simulator.revoke_tokens()
    together = Together()
    for number, client in enumerate(CLIENTS):
        together.start(gateway.post, unexempt(f"any-{number}"), client=client)
    answers = together.results()
    assert [statuses(answer) for answer in answers] == [[(f"any-{n}", 1)] for n in range(3)]
    call, = simulator.calls()
    assert sorted(call["ids"]) == ["any-0", "any-1", "any-2"]
    wait_for("the new token", lambda: simulator.stats()["tokens_issued"] == 1)  # since forgotten
