"""Crashes and ends: kill -9 at random moments of a loaded run, and SIGTERM under load."""
import os
import random
import signal
import threading
import time
from collections import Counter

import pytest
import requests
from kit.checks import assert_calls, check_audit
from kit.gateway import DROP_IN, SUBMIT
from kit.process import run_tollgate
from kit.waiting import Together, wait_for

SOAK = os.environ.get("TOLLGATE_SOAK") == "1"
KILLS = 500 if SOAK else 8  # of each of two loads
REQUESTS = 40
CLIENTS = 6


class Load:
    """Clients that submit actions, each for devices of its own, until they are told to stop."""

    def __init__(self, gateway, make_body):
        self.gateway = gateway
        self.make_body = make_body
        self.lock = threading.Lock()
        self.stop = threading.Event()
        self.count = 0
        self.accepted = {}   # id: body, for what was answered 200, 202 or 504
        self.completed = {}  # id: results, for 200
        self.surprises = []

    def next_body(self):
        with self.lock:
            self.count += 1
            return self.make_body(self.count)

    def one(self, waits):
        body = self.next_body()
        try:
            answer = self.gateway.post(body, DROP_IN if waits else SUBMIT, timeout=30)
        except requests.RequestException:
            time.sleep(0.02)  # it is down; it may have taken the action, or not
            return
        if answer.status_code == 429:
            time.sleep(0.02)  # not as long as it was told: this is a load
        with self.lock:
            if answer.status_code in (200, 202, 504):
                self.accepted[answer.headers["Location"].rsplit("/", 1)[1]] = body
            if answer.status_code == 200:
                self.completed[answer.headers["Location"].rsplit("/", 1)[1]] = answer.json()
            # 502: its token was not there yet, and nothing was sent
            if answer.status_code not in (200, 202, 429, 502, 503, 504):
                self.surprises.append((answer.status_code, answer.text))

    def run(self, number):
        while not self.stop.is_set():
            self.one(waits=number % 2 == 0)


def one_device(number):
    return {"types": "unexempt", "ids": [f"any-load-{number}"]}


def many_devices(number):
    """Of three kinds that cannot share calls with each other; now and then more than one call
    holds."""
    count = 20 if number % 7 == 0 else 1 + number % 3
    body = {"types": "unexempt", "ids": [f"any-load-{number}-{at}" for at in range(count)]}
    if number % 3 == 1:
        body.update(types="exempt", params={"exempt_time": 1 + number % 2})
    return body


def check_end(end, body, executions):
    """What the action says of itself is what happened upstream."""
    executed = [executions[device] for device in body["ids"]]
    assert end["request"]["ids"] == body["ids"]
    assert end["state"] in ("completed", "unknown", "failed"), end
    if end["state"] == "completed":
        assert set(executed) == {1}
        assert end["results"] == [{"id": device, "status": 1, "command_id": ""}
                                  for device in body["ids"]]
    if end["state"] == "failed":
        assert set(executed) == {0}, end
    if end["results"] and end["state"] == "unknown":
        assert all(executions[item["id"]] == 1 for item in end["results"])


@pytest.mark.slow
@pytest.mark.parametrize("make_body, max_devices_per_call, queue_limit", [
    (one_device, 1, REQUESTS),  # what is left at the end takes a second
    (many_devices, 8, 10 * REQUESTS),
], ids=["alone", "shared"])
def test_kill_at_random_moments(site, make_body, max_devices_per_call, queue_limit):
    seed = int(os.environ.get("TOLLGATE_SEED", random.randrange(1 << 32)))
    print(f"TOLLGATE_SEED={seed}")
    chance = random.Random(seed)
    simulator = site.simulator(limit=REQUESTS, window_s=1, latency_ms="0-80")
    config = site.config(simulator, requests=REQUESTS, window_s=1, timeout_s=1,
                         max_devices_per_call=max_devices_per_call, batch_linger_ms=100)
    config.json["teams"]["ops"]["queue_limit"] = queue_limit
    config.sign_audit(checkpoint_interval_s=1)
    gateway = site.gateway(config)
    load = Load(gateway, make_body)
    clients = Together()
    for number in range(CLIENTS):
        clients.start(load.run, number)
    for _ in range(KILLS):
        time.sleep(chance.uniform(0.05, 0.9))  # the random moment
        gateway.kill()
        gateway.start(ready=False)
    wait_for("answers after the last start",
             lambda seen=len(load.completed): len(load.completed) > seen)
    load.stop.set()
    clients.results()
    assert load.surprises == []
    assert len(load.accepted) > 5 * KILLS, "too little load to tell anything"

    ends = {id: gateway.wait_final(id, 120) for id in load.accepted}
    calls = simulator.calls()
    executions = Counter(device for call in calls for device in call["ids"])
    assert max(executions.values()) == 1, "executed twice"
    assert max(len(call["ids"]) for call in calls) <= max_devices_per_call
    for id, body in load.accepted.items():
        check_end(ends[id], body, executions)
    for id, results in load.completed.items():
        assert ends[id]["state"] == "completed"
        assert ends[id]["results"] == results
    assert simulator.stats()["refused_429"] == 0
    assert simulator.stats()["max_in_window"] <= REQUESTS
    gateway.stop()
    verified = run_tollgate("audit", "verify", "-c", gateway.config.path, "--checkpoint",
                            gateway.config.folder / "checkpoints.txt", timeout_s=120)
    assert verified.returncode == 0, (verified.stdout, verified.stderr)
    records = gateway.audit()
    assert check_audit(records) == {}
    intents = assert_calls(records)
    if max_devices_per_call > 1:
        assert max(len(intent["detail"]["actions"]) for intent in intents) > 1, "nothing was shared"
    states = Counter(end["state"] for end in ends.values())
    print(dict(states), "executed", len(executions), "calls", len(calls))


def test_a_split_request_in_the_air_ends_as_unknown(site):
    """Its calls are all in the air when the gateway dies: each has its outcome in the log, and
    names the action."""
    simulator = site.simulator()
    gateway = site.gateway(site.config(simulator, max_devices_per_call=2))
    simulator.order(*[{"do": "hang"}] * 3)
    id = gateway.submit({"types": "unexempt", "ids": [f"any-{n}" for n in range(6)]})["id"]
    wait_for("the calls to arrive", lambda: len(simulator.calls()) == 3)
    gateway.kill()
    gateway.start()
    assert gateway.action(id)["state"] == "unknown"
    records = gateway.audit()
    assert check_audit(records) == {}
    assert len(assert_calls(records)) == 3
    assert len(simulator.calls()) == 3


def test_what_was_in_the_air_ends_as_unknown(site):
    simulator = site.simulator()
    gateway = site.gateway(site.config(simulator))
    simulator.order({"do": "hang"})
    id = gateway.submit({"types": "delete", "ids": ["any-1"]})["id"]
    wait_for("the call to arrive", simulator.calls)
    gateway.kill()
    gateway.start()
    action = gateway.action(id)
    assert action["state"] == "unknown"
    assert action["results"] is None
    assert action["problem"]["type"] == "urn:tollgate:problem:outcome-unknown"
    records = [record for record in gateway.audit() if record.get("action_id") == id]
    assert [record["event"] for record in records] == \
        ["action.accepted", "call.intent", "call.outcome", "action.finished"]
    assert records[2]["outcome"] == "unknown"
    assert gateway.post({"types": "unexempt", "ids": ["any-2"]}).status_code == 200
    assert [call["ids"] for call in simulator.calls()] == [["any-1"], ["any-2"]]
    assert check_audit(gateway.audit()) == {}


def test_what_was_queued_goes_on(site):
    """With its order, its reason and its rule; and what was finished stays as it was."""
    simulator = site.simulator()
    gateway = site.gateway(site.config(simulator, requests=1, window_s=2))
    first = gateway.post({"types": "unexempt", "ids": ["any-0"]})
    shown = gateway.action(first.headers["Location"])
    queued = [gateway.submit({"types": "exempt", "ids": [f"any-{number}"],
                              "params": {"exempt_time": number}},
                             headers={"Action-Reason": f"ticket {number}"})
              for number in (1, 2)]
    gateway.kill()
    gateway.start()
    assert gateway.action(first.headers["Location"]) == shown
    for number, before in zip((1, 2), queued):
        after = gateway.wait_final(before["id"])
        assert after["state"] == "completed"
        assert after["reason"] == f"ticket {number}"
        assert after["submitted_at"] == before["submitted_at"]
    assert [call["ids"][0] for call in simulator.calls()] == ["any-0", "any-1", "any-2"]
    assert check_audit(gateway.audit()) == {}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["term", "int"])
def test_a_signal_under_load(site, number):
    """Case 31: it drains; every request gets its answer; no intent is without an outcome."""
    simulator = site.simulator(latency_ms="300-500")
    gateway = site.gateway(site.config(simulator, requests=10, window_s=60,
                                       max_devices_per_call=1))
    count = 40
    waiting = Together()
    for device in range(count):
        waiting.start(gateway.post, {"types": "unexempt", "ids": [f"any-{device}"]},
                      headers={"Prefer": "wait=300"})
    wait_for("all to be accepted", lambda: len(gateway.audit_of(event="action.accepted")) == count,
             every_s=0.02)
    gateway.send_signal(number)
    answers = waiting.results()
    assert gateway.wait_exit() == 0
    gateway.check_sane()
    statuses = Counter(answer.status_code for answer in answers)
    assert set(statuses) == {200, 504}, statuses
    assert statuses[200] == len(simulator.calls()) == 10
    for answer in answers:
        if answer.status_code == 504:
            assert answer.json()["type"] == "urn:tollgate:problem:still-running"
    records = gateway.audit()
    assert records[-1]["event"] == "node.stopped"
    unfinished = check_audit(records)
    assert len(unfinished) == count - 10
    assert all(events == ["action.accepted"] for events in unfinished.values())

    gateway.start()
    states = Counter(gateway.action(answer.headers["Location"])["state"] for answer in answers)
    assert states == {"completed": 10, "queued": count - 10}


def test_new_requests_while_it_drains(site):
    """On a live connection: 503 or the end of the connection, and nothing is sent."""
    simulator = site.simulator()
    gateway = site.gateway(site.config(simulator))
    simulator.order({"do": "delay", "ms": 1500})
    waiting = Together()
    waiting.start(gateway.post, {"types": "unexempt", "ids": ["any-1"]})
    wait_for("the call to arrive", simulator.calls)
    with requests.Session() as session:
        session.trust_env = False
        session.headers.update(gateway.headers())
        assert session.get(gateway.url + "/v1/actions/act_x").status_code == 404
        gateway.send_signal(signal.SIGTERM)
        wait_for("it to drain", lambda: gateway.logged("draining"))
        late = session.post(gateway.url + DROP_IN, json={"types": "unexempt", "ids": ["any-2"]})
        assert late.status_code == 503
        assert late.json()["type"] == "urn:tollgate:problem:unavailable"
        assert int(late.headers["Retry-After"]) >= 1
    answer, = waiting.results()
    assert answer.status_code == 200
    assert gateway.wait_exit() == 0
    assert [call["ids"] for call in simulator.calls()] == [["any-1"]]
