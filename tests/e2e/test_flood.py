"""Floods of refusals (case 11): bad keys are slowed down and good ones are not, and the audit log
gets few records that add up to all of them."""
import json
import select
import socket
import sqlite3
import time

import pytest
from kit.checks import assert_contiguous, assert_problem
from kit.config import mint_key
from kit.gateway import SUBMIT
from kit.http import new_source
from kit.load import blast
from kit.raw import Connection, exchange
from kit.waiting import Together, wait_for

DELAY_S = 1
AT_ONCE = 10  # records of one address
MALFORMED = b"GET / HTTP/1.1\r\nHost: gw\r\nContent-Length: x\r\n\r\n"
TOO_LARGE = b"GET / HTTP/1.1\r\nHost: gw\r\nX: " + b"x" * 20000
NO_SUCH_ACTION = "/v1/actions/act_none"


@pytest.fixture
def start(site):
    def start(**limits):
        config = site.config(site.simulator())
        config.json["limits"] = limits
        config.add_client("leaver", "ops", not_after="2020-01-01T00:00:00Z")
        return site.gateway(config)
    return start


@pytest.fixture
def patient(start):
    """Slows nobody down."""
    return start(bad_keys_per_minute=1000000)


def with_key(key):
    lines = [f"GET {NO_SUCH_ACTION} HTTP/1.1", "Host: gw"]
    lines += ["Authorization: Bearer " + key] if key is not None else []
    return "\r\n".join([*lines, "", ""]).encode()


def bad_keys(gateway):
    good = gateway.key()
    return {"none": None, "unknown": mint_key()["key"], "expired": gateway.key("leaver"),
            "nonsense": "x",
            "wrong secret": good[:30] + ("b" if good[30] != "b" else "c") + good[31:]}


def refusals(gateway, event, **fields):
    """(records of one refusal, records of a count) once the gateway has stopped."""
    records = [record for record in gateway.audit_of(event=event, **fields)]
    assert_contiguous(gateway.audit())
    counts = [record for record in records if "count" in record.get("detail", {})]
    for record in counts:
        assert set(record) == {"v", "node", "seq", "time", "event", "remote", "decision", "detail"}
        detail = record["detail"]
        assert list(detail) == ["count", "from", "to", "problems"]
        assert detail["count"] == sum(detail["problems"].values()) > 0
        assert detail["from"] <= detail["to"] <= record["time"]
    return [record for record in records if record not in counts], counts


def total(counts):
    return sum(record["detail"]["count"] for record in counts)


@pytest.mark.slow
def test_a_thousand_bad_keys_from_one_address(start):
    """Case 11."""
    gateway = start()
    source = new_source()
    keys = [with_key(key) for key in bad_keys(gateway).values()]
    requests = [keys[number % len(keys)] for number in range(1000)]
    began = time.monotonic()
    flood = Together()
    flood.start(blast, gateway, requests, connections=250, source=source)
    wait_for("the address to be throttled",
             lambda: gateway.metric("tollgate_bad_keys_throttled_total") > 0)
    good = [gateway.get(NO_SUCH_ACTION, source=source) for _ in range(20)]
    answers, = flood.results()
    lasted = time.monotonic() - began

    assert [answer.status_code for answer in good] == [404] * 20
    fast = sorted(answer.elapsed.total_seconds() for answer in good)
    assert fast[len(fast) // 2] < DELAY_S, "good keys wait as if they were bad"
    shapes = set()
    for answer in answers:
        problem = answer.json()
        assert answer.status_code == 401 and answer.headers["WWW-Authenticate"] == "Bearer"
        assert problem.pop("request_id") == answer.headers["X-Request-ID"]
        shapes.add(json.dumps(problem))
    assert len(shapes) == 1
    slow = [answer for answer in answers if answer.seconds >= DELAY_S - 0.01]
    assert len(slow) >= 1000 - 20 * (1 + lasted / 60) - 1
    assert gateway.metric("tollgate_bad_keys_throttled_total") == len(slow)

    gateway.stop()
    singles, counts = refusals(gateway, "request.unauthenticated", remote=source)
    assert len(singles) + total(counts) == 1000
    assert AT_ONCE <= len(singles) <= AT_ONCE + lasted + 1
    assert 1 <= len(counts) <= 1 + lasted / 10 + 1
    assert gateway.audit()[-1]["event"] == "node.stopped"


@pytest.mark.parametrize("kind", ["none", "unknown", "expired", "nonsense", "wrong secret"])
def test_all_bad_keys_are_slowed_down_alike(start, kind):
    """Case 10: neither the answer nor when it comes tells them apart."""
    gateway = start(bad_keys_per_minute=1)
    data = with_key(bad_keys(gateway)[kind])
    first, second = blast(gateway, [data, data], connections=1, source=new_source())
    assert (first.status_code, second.status_code) == (401, 401)
    assert second.seconds >= DELAY_S - 0.01
    assert gateway.metric("tollgate_bad_keys_throttled_total") == 1


def test_a_good_key_is_not_kept_behind_bad_ones(start):
    """On a connection of its own, and after a bad one on the same."""
    gateway = start(bad_keys_per_minute=1)
    source = new_source()
    with Connection(gateway.address, source=source) as bad, \
            Connection(gateway.address, source=source) as good:
        bad.send(with_key("x"))
        assert bad.read_response().status_code == 401
        bad.send(with_key("x"))
        wait_for("it to wait", lambda: gateway.metric("tollgate_bad_keys_throttled_total") == 1)
        for _ in range(3):
            good.send(with_key(gateway.key()))
            assert good.read_response().status_code == 404
        assert gateway.metric("tollgate_bad_keys_throttled_total") == 1
        assert bad.read_response().status_code == 401
        bad.send(with_key(gateway.key()))
        assert bad.read_response().status_code == 404


def test_a_client_that_does_not_wait_for_its_answer(start):
    gateway = start(bad_keys_per_minute=1)
    for _ in range(10):
        with Connection(gateway.address) as connection:
            connection.send(with_key("x"))
    wait_for("all to be refused",
             lambda: gateway.metric("tollgate_bad_keys_throttled_total") == 9)
    wait_for("all to be answered, as it were", lambda: gateway.metric(
        "tollgate_http_requests_total", route="/v1/actions/{id}", code="401") == 10)
    assert gateway.get(NO_SUCH_ACTION).status_code == 404


def test_more_than_can_wait_lose_their_connection(start):
    """A quarter of the connections may be held by bad keys that wait."""
    gateway = start(bad_keys_per_minute=1, max_connections=16)
    with Connection(gateway.address) as connection:
        connection.send(with_key("x"))
        assert connection.read_response().status_code == 401
    many = [Connection(gateway.address) for _ in range(12)]
    for connection in many:
        connection.send(with_key("x"))
    closed = 0
    for connection in many:
        answer = connection.read_response()
        assert_problem(answer, 401, "unauthenticated")
        if "Connection" in answer.headers:
            assert answer.headers["Connection"] == "close"
            connection.wait_closed()
            closed += 1
        connection.socket.close()
    assert closed == 8
    assert gateway.metric("tollgate_bad_keys_throttled_total") == 12


def test_addresses_are_told_apart(patient):
    """Each has its own records and its own count."""
    sources = [new_source() for _ in range(3)]
    flood = Together()
    for number, source in enumerate(sources):
        flood.start(blast, patient, [with_key("x")] * (50 + number), source=source)
    began = time.monotonic()
    flood.results()
    lasted = time.monotonic() - began
    patient.stop()
    for number, source in enumerate(sources):
        singles, counts = refusals(patient, "request.unauthenticated", remote=source)
        assert len(singles) + total(counts) == 50 + number
        assert AT_ONCE <= len(singles) <= AT_ONCE + lasted + 1
        assert [set(record["detail"]["problems"]) for record in counts] == \
            [{"unauthenticated"}] * len(counts)


def test_ipv6(site):
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("there is no IPv6 here")
    config = site.config(site.simulator())
    config.json["listen"][0]["address"] = "[::1]:0"
    config.json["limits"] = {"bad_keys_per_minute": 1000000}
    gateway = site.gateway(config)
    gateway.address = ("::1", gateway.address[1])
    blast(gateway, [with_key("x")] * 40, connections=2)
    gateway.stop()
    singles, counts = refusals(gateway, "request.unauthenticated")
    assert len(singles) + total(counts) == 40
    assert {record["remote"] for record in singles} == {"::1"}
    assert {record["remote"] for record in counts} == {"::/64"}


def test_malformed_requests(patient):
    """What the guard refuses, before anybody asks for a key."""
    source = new_source()
    for number in range(120):
        answer = exchange(patient.address, TOO_LARGE if number % 4 == 3 else MALFORMED, source)
        assert answer.status_code == (431 if number % 4 == 3 else 400)
    blast(patient, [with_key("x")] * 30, connections=4, source=source)
    patient.stop()
    singles, counts = refusals(patient, "request.refused", remote=source)
    problems = [record["problem"] for record in singles]
    for record in counts:
        for problem, number in record["detail"]["problems"].items():
            problems += [problem] * number
    assert sorted(problems) == ["header-too-large"] * 30 + ["malformed-request"] * 90
    assert counts, "nothing had to be counted"
    more_singles, more_counts = refusals(patient, "request.unauthenticated", remote=source)
    assert len(more_singles) + total(more_counts) == 30


def test_two_keys_in_one_request(site):
    """Refused before a key is looked at: its client is unknown too."""
    config = site.config(site.simulator())
    config.json["accept_query_token"] = True
    gateway = site.gateway(config)
    data = with_key("x").replace(NO_SUCH_ACTION.encode(), b"/v1/actions/a?access_token=y")
    for answer in blast(gateway, [data] * 60, connections=4):
        assert_malformed(answer)
    gateway.stop()
    singles, counts = refusals(gateway, "request.refused")
    assert len(singles) + total(counts) == 60
    assert counts and all(set(record["detail"]["problems"]) == {"malformed-request"}
                          for record in counts)


def assert_malformed(answer):
    assert answer.status_code == 400
    assert answer.json()["type"] == "urn:tollgate:problem:malformed-request"


def test_refusals_of_known_clients_are_recorded_one_by_one(patient):
    source = new_source()
    for _ in range(40):
        answer = patient.post(b"{}", SUBMIT, source=source)
        assert_problem(answer, 422, "invalid-action")
    singles, counts = refusals(patient, "request.refused", remote=source)
    assert (len(singles), counts) == (40, [])


@pytest.mark.slow
def test_counts_are_written_while_it_runs(patient):
    source = new_source()
    blast(patient, [with_key("x")] * 200, source=source)
    counts = wait_for("a count", lambda: refusals(patient, "request.unauthenticated",
                                                  remote=source)[1], 40, every_s=0.5)
    singles, _ = refusals(patient, "request.unauthenticated", remote=source)
    assert len(counts) == 1 and len(singles) + total(counts) == 200


@pytest.mark.slow
def test_what_cannot_be_recorded_is_counted_when_it_can(patient):
    source = new_source()
    with sqlite3.connect(patient.config.folder / "tollgate.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        blast(patient, [with_key("x")] * 30, source=source)
        wait_for("writes to fail",
                 lambda: patient.metric("tollgate_audit_append_failures_total") >= AT_ONCE)
        other.execute("ROLLBACK")
    wait_for("the store to work", lambda: patient.admin("/readyz").status_code == 200)
    patient.stop()
    singles, counts = refusals(patient, "request.unauthenticated", remote=source)
    assert len(singles) + total(counts) == 30
    assert total(counts) >= AT_ONCE


def test_waiting_refusals_are_answered_when_it_stops(start):
    gateway = start(bad_keys_per_minute=1)
    with Connection(gateway.address) as connection:
        connection.send(with_key("x") * 2)
        assert connection.read_response().status_code == 401
        wait_for("it to wait", lambda: gateway.metric("tollgate_bad_keys_throttled_total") == 1)
        gateway.stop()
        assert select.select([connection.socket], [], [], 0)[0]
        assert_problem(connection.read_response(), 401, "unauthenticated")
    singles, counts = refusals(gateway, "request.unauthenticated")
    assert (len(singles), counts) == (2, [])
