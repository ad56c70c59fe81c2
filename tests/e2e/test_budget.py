"""The budget of contract section 5, with a window of seconds: never a call too many, whatever the
upstream's algorithm; no slot left idle; restarts forget nothing; and 429 that tells the truth."""
import time
from datetime import datetime

import pytest
from kit.checks import assert_problem
from kit.gateway import SUBMIT
from kit.waiting import Heartbeat, Together, wait_for

REQUESTS = 5
WINDOW_S = 2
IDLE_MS = 100  # longer is a slot wasted
BODY = {"types": "unexempt", "ids": ["any-1"]}
NOW_OR_NEVER = {"Prefer": "wait=1"}


def milliseconds(time):
    return datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp() * 1000


def unique(number):
    return {"types": "unexempt", "ids": [f"any-{number}"]}


def budget(site, requests=1, window_s=WINDOW_S, **config):
    """A gateway that needs a slot for each device: nothing is merged here."""
    simulator = site.simulator(limit=requests, window_s=window_s)
    return simulator, site.gateway(site.config(simulator, requests=requests, window_s=window_s,
                                               max_devices_per_call=1, **config))


def saturate(site, count, **simulator_options):
    """Queues so many calls at once and waits for them all; the calls and their outcomes, in order
    of arrival and by time."""
    simulator = site.simulator(limit=REQUESTS, window_s=WINDOW_S, **simulator_options)
    gateway = site.gateway(site.config(simulator, requests=REQUESTS, window_s=WINDOW_S,
                                       max_devices_per_call=1))
    ids = [gateway.submit(unique(number))["id"] for number in range(count)]
    for id in ids:
        assert gateway.wait_final(id)["state"] == "completed"
    calls = simulator.calls()
    assert sorted(call["ids"][0] for call in calls) == sorted(f"any-{n}" for n in range(count))
    stats = simulator.stats()
    assert stats["refused_429"] == 0
    outcomes = [record for record in gateway.audit() if record["event"] == "call.outcome"]
    return calls, outcomes, stats


@pytest.mark.slow
def test_never_too_many_and_never_idle_with_random_latency(site):
    """Several windows at full load under all three algorithms, side by side. The k-th call can
    leave when the (k - REQUESTS)-th answer that came is a window old."""
    together = Together()
    with Heartbeat() as heartbeat:
        for algorithm in ("sliding", "fixed", "bucket"):
            together.start(saturate, site, 5 * REQUESTS, algorithm=algorithm, latency_ms="0-400")
        runs = together.results()
    for calls, outcomes, stats in runs:
        assert stats["max_in_window"] <= REQUESTS
        free = sorted(milliseconds(record["time"]) + WINDOW_S * 1000 for record in outcomes)
        arrivals = [call["arrived_ms"] for call in calls]
        idle = [arrival - freed for arrival, freed in zip(arrivals[REQUESTS:], free)]
        assert max(idle) <= IDLE_MS + heartbeat.worst_ms, (idle, heartbeat.worst_ms)
        # The record of an answer is a little younger than the answer.
        assert min(idle) >= -50, idle


@pytest.mark.slow
def test_the_period_of_a_slot_is_latency_and_window(site):
    """The same without the gateway's word for it: only what the upstream saw."""
    latency_ms = 150
    with Heartbeat() as heartbeat:
        calls, _, _ = saturate(site, 4 * REQUESTS, latency_ms=str(latency_ms))
    arrivals = [call["mono_ms"] for call in calls]
    periods = [later - earlier for earlier, later in zip(arrivals, arrivals[REQUESTS:])]
    assert min(periods) >= WINDOW_S * 1000 + latency_ms - 2, periods
    assert max(periods) <= WINDOW_S * 1000 + latency_ms + IDLE_MS + heartbeat.worst_ms, \
        (periods, heartbeat.worst_ms)


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_a_restart_forgets_no_call(site, how):
    requests = 3
    simulator, gateway = budget(site, requests)
    answers = [gateway.post(unique(number)) for number in range(requests)]
    assert [answer.status_code for answer in answers] == [200] * requests
    first_answer = milliseconds(next(record["time"] for record in gateway.audit()
                                     if record["event"] == "call.outcome"))
    gateway.kill() if how == "kill" else gateway.stop()
    gateway.start()
    ids = [gateway.submit(unique(number + 10))["id"] for number in range(requests)]
    for id in ids:
        assert gateway.wait_final(id)["state"] == "completed"
    calls = simulator.calls()
    assert len(calls) == 2 * requests
    assert calls[requests]["arrived_ms"] >= first_answer + WINDOW_S * 1000 - 50
    assert simulator.stats()["refused_429"] == 0


def test_an_unknown_outcome_holds_its_slot_for_timeout_and_window(site):
    """It may be counted by the upstream as late as that."""
    timeout_s = 1
    simulator, gateway = budget(site, timeout_s=timeout_s)
    simulator.order({"do": "close-after"})
    with Heartbeat() as heartbeat:
        assert_problem(gateway.post(unique(1)), 504, "outcome-unknown")
        assert gateway.wait_final(gateway.submit(unique(2))["id"])["state"] == "completed"
    first, second = (call["mono_ms"] for call in simulator.calls())
    held = second - first
    assert held >= (timeout_s + WINDOW_S) * 1000 - 50
    assert held <= (timeout_s + WINDOW_S) * 1000 + IDLE_MS + heartbeat.worst_ms


def test_a_late_answer_holds_its_slot_from_the_answer(site):
    simulator, gateway = budget(site)
    simulator.order({"do": "delay", "ms": 800})
    assert gateway.post(unique(1)).status_code == 200
    assert gateway.wait_final(gateway.submit(unique(2))["id"])["state"] == "completed"
    first, second = (call["mono_ms"] for call in simulator.calls())
    assert second - first >= 800 + WINDOW_S * 1000 - 2


def test_a_refused_call_has_used_its_slot(site):
    """Whether an upstream counts what it refuses is not known."""
    simulator, gateway = budget(site, window_s=3600)
    simulator.order({"do": "status", "status": 500})
    assert gateway.post(BODY).status_code == 502
    assert_problem(gateway.post(BODY), 429, "quota-exceeded")


# ---- 429 ----

def check_retry_after(answer, most):
    problem = assert_problem(answer, 429, "quota-exceeded")
    retry_after = int(answer.headers["Retry-After"])
    assert 1 <= retry_after <= most, problem
    return retry_after


def test_retry_after_is_honest_when_the_wait_would_be_too_long(site):
    simulator, gateway = budget(site)
    assert gateway.post(BODY).status_code == 200
    answer = gateway.post(BODY, headers=NOW_OR_NEVER)
    retry_after = check_retry_after(answer, WINDOW_S + 1)
    assert len(gateway.audit_of(event="action.accepted")) == 1, "something was queued"
    refused, = gateway.audit_of(event="request.refused")
    assert refused["problem"] == "quota-exceeded"
    time.sleep(retry_after)  # as the client is told
    assert gateway.post(BODY, headers=NOW_OR_NEVER).status_code == 200
    assert simulator.stats()["refused_429"] == 0


def test_retry_after_is_honest_when_the_queue_is_full(site):
    simulator = site.simulator(limit=1, window_s=WINDOW_S)
    config = site.config(simulator, requests=1, window_s=WINDOW_S)
    config.json["teams"]["ops"]["queue_limit"] = 2
    gateway = site.gateway(config)
    assert gateway.post(BODY).status_code == 200
    queued = [gateway.submit(BODY) for _ in range(2)]
    answer = gateway.post(BODY, SUBMIT)
    retry_after = check_retry_after(answer, WINDOW_S + 1)
    assert len(gateway.audit_of(event="action.accepted")) == 3, "something was queued"
    time.sleep(retry_after)  # as the client is told
    gateway.submit(BODY)
    assert gateway.wait_final(queued[0]["id"])["state"] == "completed"


def test_one_teams_full_queue_is_not_the_others(site):
    simulator = site.simulator(limit=1, window_s=3600)
    config = site.config(simulator, requests=1, window_s=3600)
    config.json["teams"]["ops"]["queue_limit"] = 1
    config.add_team("other", queue_limit=1)
    config.add_client("other", "other")
    gateway = site.gateway(config)
    assert gateway.post(BODY).status_code == 200
    gateway.submit(BODY)
    assert_problem(gateway.post(BODY, SUBMIT), 429, "quota-exceeded")
    gateway.submit(BODY, client="other")
    assert_problem(gateway.post(BODY, SUBMIT, client="other"), 429, "quota-exceeded")


def test_racers_for_the_last_slot(site):
    """Case 16, on one node: exactly one call. The others are told at once."""
    simulator, gateway = budget(site, window_s=3600)
    together = Together()
    for number in range(100):
        together.start(gateway.post, unique(number), headers=NOW_OR_NEVER)
    statuses = sorted(answer.status_code for answer in together.results())
    assert statuses == [200] + [429] * 99
    assert len(simulator.calls()) == 1


def test_first_come_first_served(site):
    simulator, gateway = budget(site, requests=2, window_s=1)
    ids = [gateway.submit(unique(number))["id"] for number in range(6)]
    for id in ids:
        gateway.wait_final(id)
    order = [call["ids"][0] for call in simulator.calls()]
    pairs = [set(order[at:at + 2]) for at in range(0, 6, 2)]
    assert pairs == [{f"any-{at}", f"any-{at + 1}"} for at in range(0, 6, 2)]


def test_requests_for_one_device_keep_their_order(site):
    simulator, gateway = budget(site, requests=1, window_s=1)
    actions = ["exempt", "unexempt", "delete"]
    ids = [gateway.submit({"types": action, "ids": ["any-1"]})["id"] for action in actions]
    for id in ids:
        gateway.wait_final(id)
    assert [call["types"] for call in simulator.calls()] == actions


def test_accounts_have_budgets_of_their_own(site):
    simulator = site.simulator()
    config = site.config(simulator, requests=1, window_s=3600)
    config.json["accounts"]["second"] = dict(config.account)
    config.add_team("other", account="second")
    config.add_client("other", "other")
    gateway = site.gateway(config)
    assert gateway.post(BODY).status_code == 200
    assert_problem(gateway.post(BODY), 429, "quota-exceeded")
    assert wait_for("the second account's token",
                    lambda: gateway.post(BODY, client="other").status_code == 200)
