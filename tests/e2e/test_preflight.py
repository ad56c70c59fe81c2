"""POST /v1/preflight and GET /v1/budget: what would be, and what is; and the rate headers."""
import re

import pytest
from kit.bodies import exempt, unexempt, use_slots
from kit.checks import assert_problem
from kit.gateway import SUBMIT
from kit.waiting import wait_for

NEVER_S = 3600
PREFLIGHT = "/v1/preflight"
KEYS = ["decision", "rule", "problems", "calls_needed", "eta_s", "would_share"]


@pytest.fixture(scope="module")
def pair(module_site):
    simulator = module_site.simulator()
    config = module_site.config(simulator, requests=4, window_s=NEVER_S, max_devices_per_call=10)
    config.add_team("narrow", rules=[{"actions": ["exempt"], "max_exempt_hours": 24}], weight=3,
                    reserved=1, max=2, queue_limit=7)
    config.add_client("narrow", "narrow")
    config.add_client("auditor", roles=["auditor"])
    return simulator, module_site.gateway(config)


@pytest.fixture
def simulator(pair):
    return pair[0]


@pytest.fixture
def gateway(pair):
    return pair[1]


def preflight(gateway, body, client="script", **how):
    answer = gateway.post(body, PREFLIGHT, client=client, **how)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    assert list(answer.json()) == KEYS
    return answer.json()


# ---- Preflight ----

@pytest.mark.parametrize("count, calls", [(1, 1), (10, 1), (11, 2), (25, 3)])
def test_what_is_allowed(gateway, count, calls):
    verdict = preflight(gateway, unexempt(*[f"any-{number}" for number in range(count)]))
    assert verdict == {"decision": "allow", "rule": "ops/0", "problems": [], "calls_needed": calls,
                       "eta_s": verdict["eta_s"], "would_share": False}
    assert isinstance(verdict["eta_s"], int) and 0 <= verdict["eta_s"] <= 2


def test_equal_devices_need_one_call(gateway):
    assert preflight(gateway, unexempt(*["any-1"] * 25))["calls_needed"] == 1


def test_what_is_denied(gateway):
    verdict = preflight(gateway, exempt(100, "any-1"), client="narrow")
    assert verdict["decision"] == "deny"
    assert verdict["rule"] is None and verdict["eta_s"] is None
    assert verdict["problems"][0]["rule"] == "narrow/0" and verdict["problems"][0]["detail"]
    real = gateway.post(exempt(100, "any-1"), client="narrow")
    assert assert_problem(real, 403, "policy-denied")["violations"] == verdict["problems"]


def test_what_is_not_valid(gateway):
    body = {"types": "exempt", "ids": ["any-1", 7], "params": {"exempt_time": "24"}}
    verdict = preflight(gateway, body)
    assert verdict["decision"] not in ("allow", "deny")
    real = gateway.post(body)
    assert assert_problem(real, 422, "invalid-action")["errors"] == verdict["problems"]


def test_what_is_not_json(gateway):
    assert_problem(gateway.post(b"{", PREFLIGHT), 400, "malformed-request")


def test_who_has_no_team(gateway):
    assert_problem(gateway.post(unexempt("any-1"), PREFLIGHT, client="auditor"), 403, "forbidden")
    assert gateway.post(unexempt("any-1"), PREFLIGHT, client=None).status_code == 401


def test_nothing_is_sent_or_queued(gateway, simulator):
    before = gateway.get("/v1/budget").json()
    for client in ("script", "narrow"):
        for body in (unexempt("any-1"), exempt(1, "any-1"), {"types": "x"}):
            preflight(gateway, body, client, headers={"Idempotency-Key": "p-1"})
    assert simulator.calls() == []
    assert gateway.get("/v1/budget").json() == before
    assert gateway.get(SUBMIT).json()["actions"] == []
    events = {record["event"] for record in gateway.audit()}
    assert not any(event.startswith(("action.", "call.")) for event in events)


def test_the_estimate_and_the_company(site):
    simulator = site.simulator()
    gateway = site.gateway(site.config(simulator, requests=1, window_s=60, max_devices_per_call=10))
    use_slots(gateway, simulator, 1)
    verdict = preflight(gateway, unexempt("any-1"))
    assert not verdict["would_share"] and 55 <= verdict["eta_s"] <= 62
    gateway.submit(unexempt("any-2"))
    verdict = preflight(gateway, unexempt("any-1"))
    assert verdict["would_share"] and 55 <= verdict["eta_s"] <= 62
    verdict = preflight(gateway, exempt(1, "any-3"))
    assert not verdict["would_share"] and 115 <= verdict["eta_s"] <= 124
    verdict = preflight(gateway, unexempt(*[f"any-{number}" for number in range(30, 55)]))
    assert verdict["calls_needed"] == 3 and 170 <= verdict["eta_s"] <= 186


# ---- The budget ----

def test_the_shape_of_the_budget(site):
    simulator = site.simulator()
    config = site.config(simulator, requests=4, window_s=60, max_devices_per_call=10)
    config.add_team("narrow", weight=3, reserved=1, max=2, queue_limit=7)
    config.add_client("narrow", "narrow")
    config.add_client("auditor", roles=["auditor"])
    gateway = site.gateway(config)
    budget = gateway.get("/v1/budget").json()
    assert {key: budget[key] for key in ("account", "requests", "window_s", "free", "used",
                                         "in_flight", "free_in_s", "queued", "calls_saved")} == \
        {"account": "main", "requests": 4, "window_s": 60, "free": 4, "used": 0, "in_flight": 0,
         "free_in_s": [], "queued": 0, "calls_saved": 0}
    ops, narrow = budget["teams"]
    assert {key: narrow[key] for key in ("team", "weight", "reserved", "max", "used", "queued",
                                         "queue_limit")} == \
        {"team": "narrow", "weight": 3, "reserved": 1, "max": 2, "used": 0, "queued": 0,
         "queue_limit": 7}
    assert (ops["team"], ops["weight"], ops["reserved"], ops["max"]) == ("ops", 1, 0, 4)
    assert isinstance(ops["eta_s"], int)
    assert gateway.get("/v1/budget", client="auditor").json() == budget
    assert gateway.get("/v1/budget", client=None).status_code == 401
    assert gateway.post({}, "/v1/budget").status_code == 405


def test_the_numbers_of_the_budget(site):
    simulator = site.simulator()
    config = site.config(simulator, requests=2, window_s=60)
    config.add_team("red", weight=2)
    config.add_client("red", "red")
    gateway = site.gateway(config)
    assert gateway.post(unexempt("any-1")).status_code == 200
    simulator.order({"do": "delay", "ms": 2500})
    id = gateway.submit(exempt(1, "any-2"), client="red")["id"]
    wait_for("the call", lambda: len(simulator.calls()) == 2)
    budget = gateway.get("/v1/budget").json()
    assert (budget["free"], budget["used"], budget["in_flight"]) == (0, 2, 1)
    first, second = budget["free_in_s"]
    assert 50 < first <= 60.01 and first <= second <= 100
    gateway.wait_final(id, client="red")
    # Three queued requests, of two kinds; two of them share a call with one of the other team.
    gateway.submit(unexempt("any-1", "any-2"))
    gateway.submit(unexempt("any-3"), client="red")
    gateway.submit(exempt(1, "any-4"))
    budget = gateway.get("/v1/budget").json()
    assert (budget["free"], budget["used"], budget["in_flight"]) == (0, 2, 0)
    assert budget["queued"] == 3
    teams = {team["team"]: team for team in budget["teams"]}
    assert (teams["ops"]["queued"], teams["red"]["queued"]) == (2, 1)
    assert (teams["ops"]["used"], teams["red"]["used"]) == (1, 1)
    assert all(50 < team["eta_s"] <= 185 for team in budget["teams"])


def test_calls_saved_and_shares(site):
    simulator = site.simulator()
    config = site.config(simulator, requests=1, window_s=2)
    config.add_team("red")
    config.add_client("red", "red")
    gateway = site.gateway(config)
    use_slots(gateway, simulator, 1)
    gateway.submit(unexempt("any-1", "any-2", "any-3"))
    gateway.wait_final(gateway.submit(unexempt("any-4"), client="red")["id"], client="red")
    budget = gateway.get("/v1/budget").json()
    assert budget["calls_saved"] == 1
    assert {team["team"]: team["used"] for team in budget["teams"]} == {"ops": 0.75, "red": 0.25}
    wait_for("the window to end", lambda: [team["used"] for team in
                                           gateway.get("/v1/budget").json()["teams"]] == [0, 0])


def test_an_account_by_name(site):
    simulator = site.simulator()
    config = site.config(simulator)
    config.json["accounts"]["second"] = dict(config.account)
    config.add_team("red", account="second")
    config.add_client("red", "red")
    config.add_client("auditor", roles=["auditor"])
    gateway = site.gateway(config)
    assert gateway.get("/v1/budget").json()["account"] == "main"
    assert gateway.get("/v1/budget", client="red").json()["account"] == "second"
    for name in ("main", "second"):
        answer = gateway.get(f"/v1/budget?account={name}", client="auditor")
        assert answer.json()["account"] == name
    assert gateway.get("/v1/budget?account=none", client="auditor").status_code == 404
    teams = gateway.get("/v1/budget").json()["teams"]
    assert [team["team"] for team in teams] == ["ops"]


# ---- Rate headers ----

def rate(answer):
    assert answer.headers["RateLimit-Policy"] == '"account";q=3;w=3600'
    found = re.fullmatch(r'"account";r=(\d+);t=(\d+)', answer.headers["RateLimit"])
    return int(found[1]), int(found[2])


def test_rate_headers(site):
    simulator = site.simulator()
    config = site.config(simulator, requests=3, window_s=NEVER_S, max_devices_per_call=1)
    config.add_team("narrow", rules=[])
    config.add_client("narrow", "narrow")
    gateway = site.gateway(config)
    assert rate(gateway.post({"types": "none"})) == (3, 0)
    assert rate(gateway.post(unexempt("any-1"))) == (2, 0)
    assert rate(gateway.post(unexempt("any-1"), client="narrow")) == (2, 0)
    assert rate(gateway.post(unexempt("any-2"), SUBMIT, headers={"Prefer": "wait=9"})) == (1, 0)
    simulator.order({"do": "status", "status": 500})
    refused = gateway.post(unexempt("any-3"))
    assert refused.status_code == 502
    free, seconds = rate(refused)
    assert free == 0 and NEVER_S - 10 < seconds <= NEVER_S + 1
    full = gateway.post(unexempt("any-4"))
    assert_problem(full, 429, "quota-exceeded")
    free, seconds = rate(full)
    assert free == 0 and NEVER_S - 10 < seconds <= NEVER_S + 1
    accepted = gateway.post(unexempt("any-5"), SUBMIT)
    assert accepted.status_code == 202
    for answer in (accepted, gateway.get(accepted.headers["Location"]), gateway.get(SUBMIT),
                   gateway.get("/v1/budget"), gateway.get("/v1/none")):
        assert not [name for name in answer.headers if name.lower().startswith("ratelimit")]


def test_rate_headers_follow_the_window(site):
    """Also when nothing happens but time."""
    simulator = site.simulator()
    gateway = site.gateway(site.config(simulator, requests=3, window_s=1))

    def free():
        answer = gateway.post({"types": "none"})
        return int(re.search(r"r=(\d+)", answer.headers["RateLimit"])[1])
    assert gateway.post(unexempt("any-1")).status_code == 200
    assert free() == 2
    wait_for("the slot to come free", lambda: free() == 3, 5)
