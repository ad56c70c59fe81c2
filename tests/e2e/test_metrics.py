"""/metrics, /livez and /readyz on the admin address, and the gateway's footprint."""
import re
import time

import pytest
from kit.gateway import dict_of_samples
from kit.process import SANITIZED
from kit.waiting import wait_for

BODY = {"types": "unexempt", "ids": ["any-1", "any-2"]}
METRICS = {
    "tollgate_http_requests_total": "counter", "tollgate_http_request_seconds": "histogram",
    "tollgate_connections": "gauge", "tollgate_policy_decisions_total": "counter",
    "tollgate_queue_depth": "gauge", "tollgate_queue_wait_seconds": "histogram",
    "tollgate_upstream_calls_total": "counter", "tollgate_upstream_call_seconds": "histogram",
    "tollgate_budget_slots": "gauge", "tollgate_call_requests": "histogram",
    "tollgate_call_devices": "histogram", "tollgate_calls_saved_total": "counter",
    "tollgate_token_expiry_timestamp_seconds": "gauge", "tollgate_audit_records_total": "counter",
    "tollgate_audit_append_failures_total": "counter", "tollgate_leader": "gauge",
    "tollgate_foreign_calls_suspected_total": "counter", "tollgate_build_info": "gauge",
}


@pytest.fixture(scope="module")
def pair(module_site):
    simulator = module_site.simulator()
    config = module_site.config(simulator, requests=1000, window_s=60)
    config.add_team("narrow", rules=[])
    config.add_client("narrow", "narrow")
    return simulator, module_site.gateway(config)


@pytest.fixture
def gateway(pair):
    return pair[1]


def test_every_metric_has_its_help_and_type(gateway):
    answer = gateway.admin("/metrics")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    lines = answer.text.splitlines()
    for name, kind in METRICS.items():
        assert lines.count(f"# TYPE {name} {kind}") == 1
        assert len([line for line in lines if line.startswith(f"# HELP {name} ")]) == 1
    assert answer.text.endswith("\n")


def test_the_text_is_well_formed(gateway):
    gateway.post(BODY)
    label = r'[a-z_]+="(\\.|[^"\\])*"'
    sample = re.compile(rf"[a-z_]+({{{label}(,{label})*}})? (?P<value>\S+)")
    present = None
    for line in gateway.admin("/metrics").text.splitlines():
        if line.startswith("# HELP "):
            continue
        if line.startswith("# TYPE "):
            present = line.split(" ")[2]
            continue
        match = sample.fullmatch(line)
        assert match, line
        float(match["value"])
        assert re.match(rf"{present}(_bucket|_sum|_count)?[{{ ]", line), (present, line)
        assert not re.search("any-|act_|call_[a-z0-9]{10}|req_", line), "an id as a label"


def test_counters_move(gateway):
    names = {
        "answers": ("tollgate_http_requests_total",
                    dict(route="/o/api/v3.1/devices/action", code="200")),
        "seconds": ("tollgate_http_request_seconds_count", {}),
        "denied answers": ("tollgate_http_requests_total",
                           dict(route="/o/api/v3.1/devices/action", code="403")),
        "allowed": ("tollgate_policy_decisions_total", dict(team="ops", decision="allow")),
        "denied": ("tollgate_policy_decisions_total", dict(team="narrow", decision="deny")),
        "calls": ("tollgate_upstream_calls_total", dict(account="main", outcome="ok")),
        "call seconds": ("tollgate_upstream_call_seconds_count", dict(account="main")),
        "waits": ("tollgate_queue_wait_seconds_count", dict(team="ops")),
        "call requests": ("tollgate_call_requests_sum", {}),
        "call devices": ("tollgate_call_devices_sum", {}),
        "accepted": ("tollgate_audit_records_total", dict(event="action.accepted")),
        "intents": ("tollgate_audit_records_total", dict(event="call.intent")),
        "outcomes": ("tollgate_audit_records_total", dict(event="call.outcome")),
        "finished": ("tollgate_audit_records_total", dict(event="action.finished")),
        "refused": ("tollgate_audit_records_total", dict(event="request.refused")),
        "unauthenticated": ("tollgate_audit_records_total", dict(event="request.unauthenticated")),
        "failures": ("tollgate_audit_append_failures_total", {}),
    }

    def values():
        samples = dict_of_samples(gateway.admin("/metrics").text)
        return {what: samples.get((name, frozenset(labels.items())), 0)
                for what, (name, labels) in names.items()}
    before = values()
    for _ in range(3):
        assert gateway.post(BODY).status_code == 200
    assert gateway.post(BODY, client="narrow").status_code == 403
    assert gateway.post(BODY, client=None).status_code == 401
    after = values()
    assert {what: after[what] - before[what] for what in names} == {
        "answers": 3, "seconds": 5, "denied answers": 1, "allowed": 3, "denied": 1, "calls": 3,
        "call seconds": 3, "waits": 3, "call requests": 3, "call devices": 6, "accepted": 3,
        "intents": 3, "outcomes": 3, "finished": 3, "refused": 1, "unauthenticated": 1,
        "failures": 0}


def test_gauges(site):
    simulator = site.simulator(token_ttl_s=1000)
    gateway = site.gateway(site.config(simulator, requests=4, window_s=60))
    bodies = [{"types": "exempt", "ids": [f"any-{number}"], "params": {"exempt_time": number}}
              for number in range(7)]  # no two share a call

    def slots():
        return [int(gateway.metric("tollgate_budget_slots", account="main", state=state))
                for state in ("free", "in_flight", "used")]
    wait_for("4 free slots", lambda: slots() == [4, 0, 0])
    gateway.post(bodies[0])
    simulator.order({"do": "delay", "ms": 4000})
    gateway.submit(bodies[1])
    wait_for("one used, one in flight", lambda: slots() == [2, 1, 1])
    for body in bodies[2:]:
        gateway.submit(body)
    wait_for("three waiting", lambda: gateway.metric("tollgate_queue_depth", team="ops") == 3)
    assert gateway.metric("tollgate_leader", account="main") == 1
    assert gateway.metric("tollgate_connections") >= 0
    expiry = gateway.metric("tollgate_token_expiry_timestamp_seconds", account="main")
    assert 900 < expiry - time.time() < 1010
    build = [labels for name, labels in dict_of_samples(gateway.admin("/metrics").text)
             if name == "tollgate_build_info"]
    assert len(build) == 1 and dict(build[0])["version"]


def test_live_and_ready(gateway):
    for path in ("/livez", "/readyz"):
        assert gateway.admin(path).status_code == 200


@pytest.mark.parametrize("path", ["/", "/metrics/", "/v1/actions", "/o/api/v3.1/devices/action"])
def test_nothing_else_is_there(gateway, path):
    answer = gateway.admin(path)
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_no_admin_where_none_is_configured(site):
    simulator = site.simulator()
    config = site.config(simulator)
    del config.json["admin"]
    gateway = site.gateway(config)
    assert len(gateway.wait_listening()["addresses"]) == 1
    assert gateway.get("/metrics").status_code == 404
    assert gateway.post(BODY).status_code == 200


@pytest.mark.skipif(SANITIZED, reason="a sanitizer takes many times the memory")
def test_resident_memory_after_start_is_under_20_mb(site):
    gateway = site.gateway(site.config(site.simulator()))
    with open(f"/proc/{gateway.process.pid}/status", encoding="ascii") as file:
        resident_kb = next(int(line.split()[1]) for line in file if line.startswith("VmRSS:"))
    assert resident_kb < 20 * 1024
