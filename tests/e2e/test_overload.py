"""More action calls than can be recorded: those that are let in stay quick, the rest is refused at once,
and who only looks is served. The store is made slow on purpose, so that a test can ask too much of it;
what is compared was measured in the same run. The figures for a real disk: tests/bench/overload.py."""
import asyncio
import os
import statistics
import threading
import time

import pytest
from kit.bodies import unexempt
from kit.checks import assert_problem
from kit.gateway import SUBMIT
from kit.load import _read, request_bytes, submit_all
from kit.process import SANITIZED
from kit.raw import Connection
from kit.trace import injected
from kit.waiting import wait_for

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="tracing takes root")
SLOW = ["pwrite64:delay_enter=2000"]  # each page of the database costs as much
CLIENTS = 150
PAUSE_S = 0.25  # after a refusal the gateway reads a connection no sooner
ONSET_S = 4  # until the overload is noticed, what it left behind is done, and the limit has settled
FLOOD_S = 10


class Answer:
    def __init__(self, sent, received, status, headers, body):
        self.sent, self.seconds = sent, received - sent
        self.status_code, self.headers, self.body = status, headers, body


async def insist(gateway, number, until, answers):
    """Asks again and again, and takes no notice of Retry-After but for the pause."""
    reader, writer = await asyncio.open_connection(*gateway.address)
    count = 0
    while time.monotonic() < until:
        count += 1
        sent = time.monotonic()
        writer.write(request_bytes(gateway, SUBMIT, unexempt(f"flood-{number}-{count}")))
        status, headers, body = await _read(reader)
        answers.append(Answer(sent, time.monotonic(), status, headers, body))
        if status == 503:
            await asyncio.sleep(PAUSE_S)
    writer.close()


def get_bytes(gateway, path):
    return (f"GET {path} HTTP/1.1\r\nHost: {gateway.addresses[0]}\r\n"
            f"Authorization: Bearer {gateway.key()}\r\n\r\n").encode()


def flood(gateway, seconds):
    answers = []

    async def all_of_them():
        until = time.monotonic() + seconds
        await asyncio.gather(*[insist(gateway, number, until, answers)
                               for number in range(CLIENTS)])
    asyncio.run(all_of_them())
    return answers


def one_after_the_other(gateway, client, name, count, connection):
    """The answers to actions sent by one who waits for each."""
    answers = []
    for number in range(count):
        sent = time.monotonic()
        connection.send(request_bytes(gateway, SUBMIT, unexempt(f"{name}-{number}"), client))
        answer = connection.read_response()
        answers.append(Answer(sent, time.monotonic(), answer.status_code, answer.headers, b""))
    return answers


class Onlookers(threading.Thread):
    """Those who only look, and a team that asks for little, until the flood is over."""

    def __init__(self, gateway, action_id):
        super().__init__(daemon=True)
        self.gateway, self.action_id = gateway, action_id
        self.seen, self.modest, self.memory = [], [], []
        self.over = threading.Event()
        self.problem = None
        self.start()

    def look(self):
        gateway = self.gateway
        for path, client in ((f"{SUBMIT}/{self.action_id}", "script"), ("/v1/audit", "auditor"),
                             ("/v1/budget", "script"), (f"{SUBMIT}?limit=5", "script")):
            self.seen.append((path, gateway.get(path, client, timeout=20).status_code))
        for path in ("/livez", "/readyz", "/metrics"):
            self.seen.append((path, gateway.admin(path).status_code))

    def run(self):
        try:
            with Connection(self.gateway.address) as connection:
                while not self.over.is_set():
                    self.look()
                    self.modest += one_after_the_other(
                        self.gateway, "modest", f"modest-{len(self.modest)}", 3, connection)
                    self.memory.append((time.monotonic(), resident_mb(self.gateway)))
        except Exception as problem:  # told by end()
            self.problem = problem

    def end(self):
        self.over.set()
        self.join(60)
        assert self.problem is None, self.problem


def resident_mb(gateway):
    with open(f"/proc/{gateway.process.pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS:")) / 1024


@pytest.fixture
def gateway(site):
    config = site.config(site.simulator(), requests=10, window_s=60)
    config.json["teams"]["ops"]["queue_limit"] = 100000
    config.add_team("modest", queue_limit=100000)
    config.add_client("modest", "modest")
    config.add_client("auditor", roles=["auditor"])
    return site.gateway(config)


@ROOT
@pytest.mark.slow
def test_ten_times_what_the_store_can_do(gateway):
    first = gateway.submit(unexempt("any-0"))
    with injected(gateway, SLOW):
        with Connection(gateway.address) as connection:
            unloaded = one_after_the_other(gateway, "script", "alone", 30, connection)
        onlookers = Onlookers(gateway, first["id"])
        began = time.monotonic()
        try:
            answers = flood(gateway, FLOOD_S)
        finally:
            onlookers.end()
    assert {answer.status_code for answer in answers} == {202, 503}
    settled = [answer for answer in answers if answer.sent > began + ONSET_S]
    accepted = [answer.seconds for answer in settled if answer.status_code == 202]
    refused = [answer.seconds for answer in settled if answer.status_code == 503]
    alone = statistics.median(answer.seconds for answer in unloaded)
    # By Little's law, all clients would wait so long on the average if all were let in.
    without = CLIENTS / (len(accepted) / (FLOOD_S - ONSET_S))
    print(f"alone {alone * 1000:.0f} ms; accepted {len(accepted)}, median "
          f"{statistics.median(accepted) * 1000:.0f} ms, mean {statistics.mean(accepted) * 1000:.0f}; "
          f"refused {len(refused)}, median {statistics.median(refused) * 1000:.1f} ms; all let in: "
          f"{without * 1000:.0f} ms")
    assert len(refused) > len(accepted), "that was no overload"
    assert len(accepted) / (FLOOD_S - ONSET_S) > 0.25 / alone, "it does next to nothing"
    assert statistics.mean(accepted) < without / 3
    assert statistics.median(accepted) < 8 * alone  # the tracer is busy with the flood, too
    assert statistics.median(refused) < statistics.median(accepted) / 3
    for answer in answers:
        if answer.status_code == 503:
            assert 1 <= int(answer.headers["Retry-After"]) <= 3
    # Who asks for little is let in, whatever others do.
    assert {answer.status_code for answer in onlookers.modest} == {202}
    assert len(onlookers.modest) >= 9
    assert {status for _, status in onlookers.seen} == {200}, onlookers.seen
    if not SANITIZED:  # they keep what was freed
        check_memory(onlookers.memory, began)
    check_recovery(gateway)
    check_books(gateway, answers + unloaded + onlookers.modest)


def check_memory(memory, began):
    early = [mb for at, mb in memory if at > began + ONSET_S][0]
    assert memory[-1][1] - early < 20, memory


def check_recovery(gateway):
    """Once it can, it takes all again."""
    def over():
        gateway.post(unexempt("any-1"), SUBMIT)
        return gateway.logged("the overload is over")
    wait_for("the overload to be over", over, 20)
    refused = gateway.metric("tollgate_overload_refused_total")
    submit_all(gateway, [unexempt(f"after-{number}") for number in range(500)], connections=64)
    assert gateway.metric("tollgate_overload_refused_total") == refused
    assert len(gateway.logged("overloaded: action calls are refused")) == \
        len(gateway.logged("the overload is over"))


def check_books(gateway, answers):
    """What was accepted is recorded, and nothing else: what was refused is only counted."""
    sent = sum(1 for answer in answers if answer.status_code == 503)
    assert gateway.metric("tollgate_overload_refused_total") >= sent > 0
    records = gateway.audit()
    assert not [record for record in records if record["event"] == "request.refused"]
    devices = [device for record in records if record["event"] == "action.accepted"
               for device in record["devices"]]
    flooded = sum(1 for device in devices if device.startswith(("flood-", "alone-", "modest-")))
    assert flooded == sum(1 for answer in answers if answer.status_code == 202)


@ROOT
def test_a_store_that_does_not_come_back(site):
    """So many wait for it; the next is told at once, and its connection is of use still."""
    config = site.config(site.simulator())
    config.json["teams"]["ops"]["queue_limit"] = 100000
    config.json["limits"] = {"max_connections": 3000, "max_connections_per_address": 3000}
    gateway = site.gateway(config)
    connections = []
    with injected(gateway, ["fdatasync:delay_enter=4000000:when=1"]):
        for number in range(1100):
            connections.append(Connection(gateway.address))
            connections[-1].send(request_bytes(gateway, SUBMIT, unexempt(f"any-{number}")))
        answers = [connection.read_response() for connection in connections]
    assert {answer.status_code for answer in answers} == {202, 503}
    assert 64 < sum(1 for answer in answers if answer.status_code == 202) <= 1024
    for answer in answers:
        if answer.status_code == 503:
            assert_problem(answer, 503, "unavailable")
            assert answer.headers.get("Connection") != "close"
    wait_for("it to take actions", lambda: gateway.post(unexempt("any"), SUBMIT).status_code == 202)
    for connection in connections:
        connection.send(get_bytes(gateway, "/v1/budget"))
        assert connection.read_response().status_code == 200
        connection.socket.close()
