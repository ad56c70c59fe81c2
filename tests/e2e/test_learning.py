"""What the upstream teaches: its 429 and its remaining-count, and that it cannot be reached. Cases
21 and 23."""
import json
import time
from datetime import datetime

import pytest
from kit.bodies import exempt, unexempt, use_slots
from kit.checks import assert_calls, assert_problem
from kit.waiting import Together, wait_for

TOKEN = "E2ELEARNINGTOKEN0000000000000000000000000000000A"
DEVICES = [{"id": "any-1", "status": 1, "command_id": ""}]


def milliseconds(time):
    return datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp() * 1000


def json_lines(gateway):
    return [json.loads(line) for line in gateway.text.splitlines() if line.startswith("{")]


def foreign(gateway):
    return gateway.metric("tollgate_foreign_calls_suspected_total", account="main")


# ---- Its rate limit ----

@pytest.mark.parametrize("headers", [
    {"Retry-After": "2"}, {"X-RateLimit-Reset-Time": "2", "X-RateLimit-Remaining": "0"},
    {"X-RateLimit-Reset-Time": "epoch"}, {"X-RateLimit-Reset-Time": "soon"},
], ids=["retry-after", "reset", "epoch", "nothing"])
def test_a_429_pauses_all_and_recovers_by_itself(site, headers):
    """As long as it says, or else a window; the callers whose wait allows it get their results."""
    simulator = site.simulator()
    gateway = site.gateway(site.config(simulator, requests=10, window_s=2))
    if headers.get("X-RateLimit-Reset-Time") == "epoch":
        headers = {"X-RateLimit-Reset-Time": str(int(time.time()) + 3)}
    simulator.order({"do": "status", "status": 429, "headers": headers})
    together = Together()
    together.start(gateway.post, unexempt("any-1"))
    wait_for("the refusal", lambda: gateway.audit_of(event="call.outcome", upstream_status=429))
    for number in range(4):
        together.start(gateway.post, exempt(number, f"any-{number}"))
    answers = together.results()
    assert [answer.status_code for answer in answers] == [200] * 5
    refused, = gateway.audit_of(event="call.outcome", upstream_status=429)
    first = min(call["arrived_ms"] for call in simulator.calls())
    assert 1900 <= first - milliseconds(refused["time"]) <= 5000
    assert len(assert_calls(gateway.audit())) == 6, "a storm"
    assert foreign(gateway) >= 1
    assert any(entry["level"] in ("warning", "warn", "error") and "rate limit" in entry["msg"]
               for entry in json_lines(gateway))


def test_a_shared_call_that_was_refused_with_429_goes_again_together(site):
    simulator = site.simulator()
    gateway = site.gateway(site.config(simulator, requests=1, window_s=1))
    use_slots(gateway, simulator, 1)
    simulator.order({"do": "status", "status": 429, "headers": {"Retry-After": "1"}})
    ids = [gateway.submit(unexempt(f"any-{number}"))["id"] for number in range(3)]
    for id in ids:
        assert gateway.wait_final(id)["state"] == "completed"
    call, = simulator.calls()
    assert sorted(call["ids"]) == ["any-0", "any-1", "any-2"]


def test_a_pause_longer_than_the_wait_is_said_at_once(site):
    simulator = site.simulator()
    gateway = site.gateway(site.config(simulator, requests=10, window_s=60))
    simulator.order({"do": "status", "status": 429, "headers": {"Retry-After": "30"}})
    id = gateway.submit(unexempt("any-1"))["id"]
    wait_for("the refusal", lambda: gateway.audit_of(event="call.outcome", upstream_status=429))
    answer = gateway.post(unexempt("any-2"), headers={"Prefer": "wait=2"})
    assert_problem(answer, 429, "quota-exceeded")
    assert 20 <= int(answer.headers["Retry-After"]) <= 31
    assert gateway.action(id)["state"] == "queued"
    assert 20 <= gateway.action(id)["eta_s"] <= 32


def test_a_lower_remaining_count_takes_slots_out(site):
    """The upstream counts three calls of somebody else: they are not there for us, for a window."""
    simulator = site.simulator()
    gateway = site.gateway(site.config(simulator, requests=10, window_s=4))
    simulator.order({"do": "status", "status": 200, "body": DEVICES,
                     "headers": {"X-RateLimit-Limit": "10", "X-RateLimit-Remaining": "6"}})
    assert gateway.post(unexempt("any-1")).status_code == 200
    assert gateway.get("/v1/budget").json()["free"] == 6
    assert foreign(gateway) == 3
    assert any("not ours" in entry["msg"] for entry in json_lines(gateway))
    wait_for("all slots again", lambda: gateway.get("/v1/budget").json()["free"] == 10, 10)


@pytest.mark.parametrize("remaining", ["9", "10", "1000", "-1", "x", ""])
def test_a_remaining_count_that_teaches_nothing(site, remaining):
    simulator = site.simulator()
    gateway = site.gateway(site.config(simulator, requests=10, window_s=60))
    simulator.order({"do": "status", "status": 200, "body": DEVICES,
                     "headers": {"X-RateLimit-Remaining": remaining}})
    assert gateway.post(unexempt("any-1")).status_code == 200
    assert gateway.get("/v1/budget").json()["free"] == 9
    assert foreign(gateway) == 0


def test_own_calls_are_not_taken_for_foreign_ones(site):
    """The simulator tells its own count with each answer; many calls are under way at once."""
    simulator = site.simulator(limit=40, window_s=2, latency_ms="0-300")
    gateway = site.gateway(site.config(simulator, requests=40, window_s=2, max_devices_per_call=1))
    ids = [gateway.submit(unexempt(f"any-{number}"))["id"] for number in range(100)]
    for id in ids:
        assert gateway.wait_final(id)["state"] == "completed"
    assert simulator.stats()["refused_429"] == 0
    assert foreign(gateway) == 0


# ---- It cannot be reached ----

@pytest.mark.slow
def test_the_breaker(site):
    """Waiting callers hear it within seconds; what nobody waits for stays queued, and completes
    when the upstream is back; and meanwhile no device action tries whether it is."""
    simulator = site.simulator()
    gateway = site.gateway(site.config(simulator, requests=5, window_s=1, sync_wait_s=60))
    assert gateway.post(unexempt("any-0")).status_code == 200
    simulator.stop()
    started = time.monotonic()
    together = Together()
    for number in range(3):
        together.start(gateway.post, exempt(number, "any-1"))
    queued = [gateway.submit(unexempt(f"any-{number}"))["id"] for number in range(2, 5)]
    for answer in together.results():
        problem = assert_problem(answer, 502, "upstream-error")
        assert "nothing was sent" in problem["detail"].lower()
        assert "upstream_status" not in problem
    assert time.monotonic() - started < 15
    wait_for("the breaker", lambda: any("held back" in entry["msg"]
                                        for entry in json_lines(gateway)), 15)
    attempts = len(gateway.audit_of(event="call.intent"))
    for number in range(3):
        before = time.monotonic()
        assert_problem(gateway.post(exempt(number, "any-6")), 502, "upstream-error")
        assert time.monotonic() - before < 5
    late = gateway.submit(unexempt("any-7"))["id"]
    assert all(gateway.action(id)["state"] == "queued" for id in queued + [late])
    # Two probes later nothing was tried with an action.
    failures = len(gateway.audit_of(event="token.failed"))
    wait_for("probes", lambda: len(gateway.audit_of(event="token.failed")) >= failures + 1, 20,
             every_s=0.2)
    assert len(gateway.audit_of(event="call.intent")) == attempts
    simulator.start()
    for id in queued + [late]:
        assert gateway.wait_final(id)["state"] == "completed"
    assert gateway.post(unexempt("any-8")).status_code == 200
    executed = [id for call in simulator.calls() for id in call["ids"]]
    assert sorted(executed) == ["any-2", "any-3", "any-4", "any-7", "any-8"]
    outcomes = [record for record in gateway.audit_of(event="call.outcome")
                if record["outcome"] != "ok"]
    assert outcomes and all(record["detail"]["nothing_sent"] for record in outcomes)
    assert_calls(gateway.audit())


def test_a_short_outage_is_not_noticed(site):
    """Nothing was sent: it goes again as long as the caller waits, and the slot is given back."""
    simulator = site.simulator(access_token=TOKEN)
    config = site.config(simulator, requests=2, window_s=3600)
    config.use_token_file(TOKEN)  # one that the simulator knows again when it is back
    gateway = site.gateway(config)
    assert gateway.post(unexempt("any-0")).status_code == 200
    simulator.stop()
    together = Together()
    together.start(gateway.post, unexempt("any-1"))
    wait_for("an attempt", lambda: gateway.audit_of(event="call.outcome", outcome="failed"))
    simulator.start()
    answer, = together.results()
    assert answer.status_code == 200
    assert [call["ids"] for call in simulator.calls()] == [["any-1"]]


def test_a_caller_that_waits_shortly_is_told_when_its_wait_is_over(site):
    simulator = site.simulator()
    gateway = site.gateway(site.config(simulator))
    assert gateway.post(unexempt("any-0")).status_code == 200
    simulator.stop()
    answer = gateway.post(unexempt("any-1"), headers={"Prefer": "wait=1"})
    assert_problem(answer, 502, "upstream-error")
    assert gateway.action(answer.headers["Location"])["state"] == "failed"


@pytest.mark.slow
def test_a_shared_call_that_could_not_be_sent_goes_again_for_those_who_wait_longer(site):
    simulator = site.simulator()
    gateway = site.gateway(site.config(simulator, requests=1, window_s=1))
    use_slots(gateway, simulator, 1)
    simulator.stop()
    together = Together()
    together.start(gateway.post, unexempt("any-1"), headers={"Prefer": "wait=2"})
    queued = [gateway.submit(unexempt(f"any-{number}"))["id"] for number in (2, 3)]
    answer, = together.results()
    assert_problem(answer, 502, "upstream-error")
    simulator.start()
    for id in queued:
        assert gateway.wait_final(id)["state"] == "completed"
    executed = [id for call in simulator.calls() for id in call["ids"]]
    assert sorted(executed) == ["any-2", "any-3"]


def test_a_queued_action_survives_a_restart_in_an_outage(site):
    simulator = site.simulator()
    gateway = site.gateway(site.config(simulator))
    assert gateway.post(unexempt("any-0")).status_code == 200
    simulator.stop()
    id = gateway.submit(unexempt("any-1", "any-2"))["id"]
    wait_for("an attempt", lambda: gateway.audit_of(event="call.outcome", outcome="failed"))
    wait_for("it to be queued again", lambda: gateway.action(id)["state"] == "queued")
    gateway.kill()
    gateway.start(ready=False)
    simulator.start()
    assert gateway.wait_final(id)["state"] in ("completed", "unknown")
    assert len(simulator.calls()) <= 1
