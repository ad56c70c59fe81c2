"""How long a caller waits, and what it gets: the results, 202, or where to ask for them."""
import re
import time

import pytest
from kit.checks import assert_problem
from kit.gateway import DROP_IN, SUBMIT

BODY = {"types": "unexempt", "ids": ["any-1"]}
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


@pytest.fixture(scope="module")
def pair(module_site):
    simulator = module_site.simulator()
    config = module_site.config(simulator, sync_wait_s=1)
    config.add_team("patient", sync_wait_s=30)
    config.add_client("patient", "patient")
    config.add_team("hasty", sync_wait_s=0)
    config.add_client("hasty", "hasty")
    return simulator, module_site.gateway(config)


@pytest.fixture
def simulator(pair):
    pair[0].forget_calls()
    return pair[0]


@pytest.fixture
def gateway(pair):
    return pair[1]


def late(simulator, ms=2500):
    simulator.order({"do": "delay", "ms": ms})


def check_still_running(gateway, answer):
    assert_problem(answer, 504, "still-running")
    location = answer.headers["Location"]
    action = gateway.action(location)
    assert action["state"] == "dispatched"
    assert action["results"] is None and action["finished_at"] is None
    action = gateway.wait_final(location)
    assert action["state"] == "completed"
    assert action["results"] == [{"id": "any-1", "status": 1, "command_id": ""}]


def test_the_drop_in_path_waits_for_the_results(simulator, gateway):
    late(simulator, 600)
    answer = gateway.post(BODY)
    assert answer.status_code == 200
    assert answer.json() == [{"id": "any-1", "status": 1, "command_id": ""}]
    assert re.fullmatch(r"/v1/actions/act_\w+", answer.headers["Location"])


@pytest.mark.parametrize("path", [DROP_IN, SUBMIT])
def test_still_running_by_preference(simulator, gateway, path):
    late(simulator)
    started = time.monotonic()
    answer = gateway.post(BODY, path, headers={"Prefer": "wait=1"})
    assert 0.9 < time.monotonic() - started < 2.4
    check_still_running(gateway, answer)
    assert len(simulator.calls()) == 1


def test_still_running_by_the_teams_default(simulator, gateway):
    late(simulator)
    check_still_running(gateway, gateway.post(BODY))


def test_a_longer_wait_by_preference(simulator, gateway):
    late(simulator)
    assert gateway.post(BODY, headers={"Prefer": "wait=20"}).status_code == 200


def test_a_longer_wait_of_the_team(simulator, gateway):
    late(simulator)
    assert gateway.post(BODY, client="patient").status_code == 200


def test_the_submit_path_waits_if_asked(simulator, gateway):
    assert gateway.post(BODY, SUBMIT, headers={"Prefer": "wait=10"}).status_code == 200


@pytest.mark.parametrize("prefer", ["wait=99999", "wait=300"])
def test_any_wait_is_taken(gateway, prefer):
    assert gateway.post(BODY, headers={"Prefer": prefer}).status_code == 200


@pytest.mark.parametrize("prefer", ["wait=x", "wait", "wait=-1", "", "handling=lenient", ";;,,"])
def test_preferences_that_mean_nothing_are_ignored(gateway, prefer):
    """RFC 7240: and the default holds."""
    assert gateway.post(BODY, headers={"Prefer": prefer}).status_code == 200
    assert gateway.post(BODY, SUBMIT, headers={"Prefer": prefer}).status_code == 202


@pytest.mark.parametrize("path, prefer", [
    (DROP_IN, "respond-async"), (DROP_IN, "Respond-Async"), (DROP_IN, "foo, respond-async"),
    (SUBMIT, None), (SUBMIT, "respond-async"),
])
def test_accepted(simulator, gateway, path, prefer):
    late(simulator, 700)
    answer = gateway.post(BODY, path, headers={"Prefer": prefer} if prefer else None)
    assert answer.status_code == 202, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    action = answer.json()
    assert list(action) == ["id", "state", "team", "client", "submitted_at", "request", "reason",
                            "position", "eta_s", "results", "problem", "finished_at"]
    assert answer.headers["Location"] == "/v1/actions/" + action["id"]
    assert re.fullmatch(r"act_[A-Za-z0-9]{16,}", action["id"])
    assert re.fullmatch(TIME, action["submitted_at"])
    assert action["state"] in ("queued", "dispatched")
    assert (action["team"], action["client"]) == ("ops", "script")
    assert action["request"] == BODY
    assert action["reason"] is action["results"] is action["problem"] is None
    assert action["finished_at"] is None
    assert isinstance(action["position"], int) and isinstance(action["eta_s"], int)
    final = gateway.wait_final(action["id"])
    assert list(final) == list(action)
    assert final["state"] == "completed"
    assert final["results"] == [{"id": "any-1", "status": 1, "command_id": ""}]
    assert re.fullmatch(TIME, final["finished_at"])
    assert final["finished_at"] >= final["submitted_at"]
    kept = ("id", "team", "client", "submitted_at", "request", "reason")
    assert {key: final[key] for key in kept} == {key: action[key] for key in kept}


@pytest.mark.parametrize("headers", [{"Prefer": "respond-async, wait=5"},
                                     {"Prefer": "respond-async; wait=5"},
                                     {"Prefer": "wait=5, respond-async"}])
def test_async_with_a_wait(simulator, gateway, headers):
    """RFC 7240, 4.3: the results if they come within the wait, else 202."""
    assert gateway.post(BODY, headers=headers).status_code == 200
    late(simulator)
    short = {"Prefer": headers["Prefer"].replace("wait=5", "wait=1")}
    answer = gateway.post(BODY, headers=short)
    assert answer.status_code == 202
    assert gateway.wait_final(answer.headers["Location"])["state"] == "completed"


def test_the_request_is_kept_as_asked(gateway):
    body = {"types": "assign_to_group", "macs": ["00-0C-29-FF-00-01", "000c29ff0002"],
            "params": {"group_id": "Zürich"}}
    action = gateway.submit(body, headers={"Action-Reason": "ticket 7"})
    assert action["request"] == body
    assert action["reason"] == "ticket 7"
    assert gateway.wait_final(action["id"])["request"] == body


def test_positions_count_up(site):
    simulator = site.simulator()
    gateway = site.gateway(site.config(simulator, requests=1, window_s=3600))
    assert gateway.post(BODY).status_code == 200
    accepted = [gateway.submit({"types": "exempt", "ids": [f"any-{number}"],
                                "params": {"exempt_time": number}}) for number in range(4)]
    assert [action["position"] for action in accepted] == [0, 1, 2, 3]
    etas = [action["eta_s"] for action in accepted]
    assert etas == sorted(etas) and 3500 < etas[0] <= 3610 and 4 * 3500 < etas[3] <= 4 * 3610
