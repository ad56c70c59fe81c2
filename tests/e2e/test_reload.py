"""SIGHUP: another configuration for the running gateway. Case 30, and case 10's revoked key on a
live connection."""
import hashlib
import json
import os
import signal
import socket
import ssl
import threading

import pytest
from kit import SANITIZED, run_tollgate
from kit.checks import assert_calls, assert_contiguous, assert_problem
from kit.config import write_secret
from kit.evidence import is_signed, read_notes
from kit.gateway import DROP_IN, SUBMIT
from kit.http import session
from kit.load import blast, request_bytes
from kit.waiting import Together, wait_for

SOAK = os.environ.get("TOLLGATE_SOAK") == "1"
RELOADS = 1000 if SOAK else 100

BODY = {"types": "unexempt", "ids": ["any-1"]}


def body(number, action="unexempt"):
    return {"types": action, "ids": [f"dev-{number}"]}


@pytest.fixture
def simulator(site):
    return site.simulator()


@pytest.fixture
def config(site, simulator):
    return site.config(simulator)


def sha256_of(config):
    return hashlib.sha256(config.path.read_bytes()).hexdigest()


# ---- Good and bad ----

def test_a_good_one_is_recorded(site, config):
    gateway = site.gateway(config)
    config.account["budget"]["requests"] = 77
    gateway.reload()
    first, second = gateway.audit_of(event="config.loaded")
    assert second["detail"] == {"sha256": sha256_of(config),
                                "accounts": {"main": {"requests": 77, "window_s": 1}}}
    assert first["detail"]["accounts"]["main"]["requests"] == 100000
    line, = gateway.logged("configuration reloaded")
    assert line["sha256"] == sha256_of(config)
    assert gateway.audit_of(event="config.rejected") == []
    assert gateway.get("/v1/budget").json()["requests"] == 77


# name, what makes the configuration bad, the pointers of what is wrong
BAD = [
    ("unknown option", lambda c: c.update(nonsense=1), ["/nonsense"]),
    ("wrong type", lambda c: c["teams"]["ops"].update(weight="3"), ["/teams/ops/weight"]),
    ("out of range", lambda c: c["accounts"]["main"]["budget"].update(requests=0),
     ["/accounts/main/budget/requests"]),
    ("two at once", lambda c: (c.update(nonsense=1), c["limits"].update(max_connections=-1)),
     ["/nonsense", "/limits/max_connections"]),
    ("no such team", lambda c: c["clients"]["script"].update(team="nobody"),
     ["/clients/script/team"]),
    ("no secret file", lambda c: c["accounts"]["main"]["credentials"].update(
        client_secret_file="not-there"), ["/accounts/main/credentials/client_secret_file"]),
    ("no token in the token file", lambda c: c["accounts"]["main"].update(
        credentials={"access_token_file": "two_words"}), ["/accounts/main"]),
    ("no CA", lambda c: c["accounts"]["main"].update(ca_file="gateway.json"),
     ["/accounts/main/ca_file"]),
    ("no signing key", lambda c: c.update(audit={"signing_key_file": "client_secret"}),
     ["/audit/signing_key_file"]),
    ("no certificate", lambda c: c["listen"][0].update(
        tls={"certificate": "gateway.json", "key": "client_secret"}),
     ["/listen/0/tls/certificate"]),
    ("another node", lambda c: c.update(node="gw-other"), ["/node"]),
    ("another store", lambda c: c.update(store="sqlite:other.db"), ["/store"]),
    ("other workers", lambda c: c.update(workers=3), ["/workers"]),
    ("another address", lambda c: c["listen"][0].update(address="127.0.0.1:1"),
     ["/listen/0/address"]),
    ("one more address", lambda c: c["listen"].append({"address": "127.0.0.1:0"}),
     ["/listen"]),
    ("another admin", lambda c: c["admin"].update(address="127.0.0.1:1"), ["/admin"]),
    ("more connections", lambda c: c["limits"].update(max_connections=501),
     ["/limits/max_connections"]),
    ("a stream", lambda c: c.update(audit={"streams": [
        {"name": "new", "type": "file", "path": "stream.jsonl"}]}), ["/audit/streams"]),
    ("seccomp", lambda c: c.update(seccomp=not c.get("seccomp", False)), ["/seccomp"]),
    ("no admin", lambda c: c.pop("admin"), ["/admin"]),
]


@pytest.mark.parametrize("make_bad, pointers", [case[1:] for case in BAD],
                         ids=[case[0] for case in BAD])
def test_a_bad_one_changes_nothing(many, make_bad, pointers):
    gateway, config = many
    good = json.loads(json.dumps(config.json))
    config.json["teams"]["ops"]["sync_wait_s"] = 7  # a change that must not be seen
    make_bad(config.json)
    loaded = len(gateway.audit_of(event="config.loaded"))
    detail = gateway.rejection()
    config.json = good
    assert sorted(error["pointer"] for error in detail["errors"]) == sorted(pointers), detail
    assert all(error["detail"] for error in detail["errors"])
    logged = [line for line in gateway.logged("the configuration is wrong")]
    assert [line["pointer"] for line in logged[-len(pointers):]] == \
        [error["pointer"] for error in detail["errors"]]
    assert len(gateway.audit_of(event="config.loaded")) == loaded
    assert gateway.post(BODY).status_code == 200
    restarts = [error for error in detail["errors"] if "restart" in error["detail"]]
    assert bool(restarts) == (pointers[0] in (
        "/node", "/store", "/workers", "/listen/0/address", "/listen", "/admin", "/audit/streams",
        "/seccomp") or pointers == ["/limits/max_connections"])


@pytest.fixture(scope="module")
def many(module_site):
    config = module_site.config(module_site.simulator())
    config.json["limits"] = {"max_connections": 500}
    write_secret(config.folder / "two_words", "two words\n")
    return module_site.gateway(config), config


@pytest.mark.parametrize("text", ["", "{", "[]", '{"node": "a", "node": "b"}', "\ufeff{}"])
def test_what_is_no_configuration_at_all(many, text):
    gateway, _ = many
    detail = gateway.rejection(text)
    assert detail.get("text") or detail["errors"]
    assert gateway.post(BODY).status_code == 200


def test_no_file_at_all(site, config):
    gateway = site.gateway(config)
    config.path.unlink()
    gateway.send_signal(signal.SIGHUP)
    record, = gateway.wait_audit(event="config.rejected")
    assert "No such file" in record["detail"]["text"]
    assert gateway.post(BODY).status_code == 200
    config.json["teams"]["ops"]["rules"] = []
    gateway.reload()
    assert gateway.post(BODY).status_code == 403


def test_a_key_that_was_written_for_its_hash_is_not_quoted(site, config):
    gateway = site.gateway(config)
    key = config.json["clients"]["script"]["keys"][0]
    key["hash"] = gateway.key()
    detail = gateway.rejection()
    assert [error["pointer"] for error in detail["errors"]] == ["/clients/script/keys/0/hash"]
    assert gateway.key()[:20] not in gateway.text + str(gateway.audit())


# ---- Under load ----

def resident_kb(gateway):
    status = open(f"/proc/{gateway.process.pid}/status", encoding="ascii").read()
    return int(status.split("VmRSS:")[1].split()[0])


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_many_reloads_under_load(site):
    """Case 30: no request fails, whatever is reloaded meanwhile; and nothing of what was is kept."""
    simulator = site.simulator()
    config = site.config(simulator)
    config.serve_tls(site.certificate("front"))
    other = site.certificate("other")
    gateway = site.gateway(config)
    certificates = [config.front_tls, other]
    stop = threading.Event()
    answers = []

    def load(number):
        with session() as one:
            one.verify = False  # the certificate changes
            while not stop.is_set():
                answers.append(one.post(gateway.url + (DROP_IN, SUBMIT)[number % 2],
                                        headers=gateway.headers(), json=body(number),
                                        timeout=60).status_code)

    clients = Together()
    for number in range(6):
        clients.start(load, number)
    for number in range(RELOADS):
        team = config.json["teams"]["ops"]
        team["weight"] = 1 + number % 5
        team["queue_limit"] = 1000 + number
        config.account["budget"]["requests"] = 100000 - number
        config.account["batch_linger_ms"] = number % 3 * 5
        config.account["timeout_s"] = 10 + number // 10 % 2  # another connector each ten
        config.json["limits"] = {"max_connections": 1000 + number}
        if number % 2 == 0:
            config.add_team(f"passing-{number}")
        else:
            del config.json["teams"][f"passing-{number - 1}"]
        config.json["listen"][0]["tls"] = {
            "certificate": str(certificates[number % 2].certificate),
            "key": str(certificates[number % 2].key)}
        gateway.reload()
        if number % 10 == 5:
            gateway.reload_badly("{")
        if number == RELOADS // 4:
            early_kb = resident_kb(gateway)
    if not SANITIZED:
        assert resident_kb(gateway) < early_kb + 20000
    stop.set()
    clients.results()
    assert len(answers) > RELOADS
    assert set(answers) <= {200, 202}, {code: answers.count(code) for code in set(answers)}
    records = gateway.audit()
    assert len([one for one in records if one["event"] == "config.loaded"]) == RELOADS + 1
    assert_contiguous(records)
    gateway.stop()
    assert_calls(gateway.audit())


@pytest.mark.skipif(SANITIZED, reason="a sanitizer does what the filter forbids")
def test_within_the_filter_of_system_calls(site, config):
    """A reload does nothing that a gateway with "seccomp" may not do."""
    config.json["seccomp"] = True
    config.serve_tls(site.certificate("front"))
    audit_key = config.sign_audit()
    second = site.simulator()
    gateway = site.gateway(config)
    config.account["budget"]["requests"] = 5
    config.sign_audit(checkpoint_interval_s=1)
    authority = site.authority()
    config.json["listen"][0]["tls"].update(client_ca=str(authority.certificate),
                                           client_certificate="optional",
                                           crl_file=str(authority.crl_file))
    add_account(config, second)
    gateway.reload()
    assert gateway.post(BODY).status_code == 200
    assert gateway.post(BODY, client="other").status_code == 200
    gateway.reload_badly("{")
    config.json["audit"]["checkpoint_command"] = ["/bin/cat"]
    detail = gateway.rejection()
    assert [error["pointer"] for error in detail["errors"]] == ["/audit/checkpoint_command"]
    assert audit_key.exists() and gateway.running()


def test_signals_that_come_at_once(site, config):
    """Each is heeded: what the file holds after the last is in force in the end."""
    gateway = site.gateway(config)
    for number in range(200):
        gateway.send_signal(signal.SIGHUP)
    config.account["budget"]["requests"] = 55
    config.write()
    gateway.send_signal(signal.SIGHUP)
    wait_for("the last to be in force",
             lambda: gateway.get("/v1/budget").json()["requests"] == 55)


def test_sigterm_while_it_reloads(site, config):
    gateway = site.gateway(config)
    for number in range(20):
        gateway.send_signal(signal.SIGHUP)
    gateway.stop()


# ---- Keys ----

def test_a_key_revoked_on_a_live_connection(site, config):
    """Case 10."""
    gateway = site.gateway(config)
    replacement = config.add_key("script")
    with session() as one:
        ask = lambda key: one.get(gateway.url + "/v1/budget",
                                  headers={"Authorization": "Bearer " + key})
        assert ask(gateway.key()).status_code == 200
        before = [ask(replacement)]
        del config.json["clients"]["script"]["keys"][0]
        gateway.reload()
        assert_problem(before[0], 401, "unauthenticated")
        problem = assert_problem(ask(gateway.key()), 401, "unauthenticated")
        assert {**problem, "request_id": ""} == {**before[0].json(), "request_id": ""}
        assert ask(replacement).status_code == 200


def test_a_request_that_waits_outlives_its_key(site, config, simulator):
    """It was allowed when it came."""
    gateway = site.gateway(config)
    simulator.order({"on": "action", "do": "delay", "ms": 1500})
    waiting = Together()
    waiting.start(gateway.post, BODY)
    wait_for("the call to be under way", lambda: gateway.audit_of(event="call.intent"))
    config.json["clients"] = {}
    config.add_client("other", "ops")
    gateway.reload()
    answer, = waiting.results()
    assert answer.status_code == 200
    assert gateway.post(BODY).status_code == 401
    assert gateway.post(BODY, client="other").status_code == 200


def test_clients_roles_and_rules(site, config):
    gateway = site.gateway(config)
    assert gateway.post(BODY).status_code == 200
    config.json["protected_devices"] = [{"ids": ["any-*"]}]
    config.add_client("siem", roles=["auditor"])
    gateway.reload()
    assert_problem(gateway.post(BODY), 403, "policy-denied")
    assert gateway.get("/v1/audit", client="siem").status_code == 200
    config.json["clients"]["siem"] = {**config.json["clients"]["siem"], "team": "ops"}
    del config.json["clients"]["siem"]["roles"]
    config.json["protected_devices"] = []
    gateway.reload()
    assert gateway.post(BODY, client="siem").status_code == 200
    assert_problem(gateway.get("/v1/audit", client="siem"), 403, "forbidden")


def test_limits(site, config):
    gateway = site.gateway(config)
    large = {"types": "unexempt", "ids": [f"device-with-a-long-name-{n:04}" for n in range(300)]}
    config.json["limits"] = {"max_body_bytes": 1024}
    gateway.reload()
    assert_problem(gateway.post(large), 413, "body-too-large")
    config.json["limits"] = {"max_devices_per_request": 299}
    gateway.reload()
    assert_problem(gateway.post(large), 422, "invalid-action")
    config.json["limits"] = {}
    config.json["accept_query_token"] = True
    gateway.reload()
    assert gateway.request("POST", f"{DROP_IN}?access_token={gateway.key()}", None,
                           json=large).status_code == 200


# ---- Budgets and teams ----

def counted(records):
    return [record["event"] for record in records]


def intents_after_last_load(gateway):
    events = counted(gateway.audit())
    last = len(events) - 1 - events[::-1].index("config.loaded")
    return events[last:].count("call.intent")


def test_a_budget_that_grows(site, simulator):
    config = site.config(simulator, requests=2, window_s=3600, max_devices_per_call=1)
    gateway = site.gateway(config)
    for number in range(6):
        gateway.submit(body(number))
    wait_for("both slots to be used", lambda: len(simulator.calls()) == 2)
    config.account["budget"]["requests"] = 5
    gateway.reload()
    wait_for("three more", lambda: len(simulator.calls()) == 5)
    budget = gateway.get("/v1/budget").json()
    assert (budget["requests"], budget["free"], budget["used"]) == (5, 0, 5)
    assert intents_after_last_load(gateway) == 3


def test_a_budget_that_shrinks(site, simulator):
    """What is taken stays taken; slots come free once fewer are."""
    config = site.config(simulator, requests=5, window_s=3600, max_devices_per_call=1)
    gateway = site.gateway(config)
    for number in range(4):
        gateway.post(body(number))
    config.account["budget"]["requests"] = 3
    gateway.reload()
    budget = gateway.get("/v1/budget").json()
    assert (budget["requests"], budget["free"], budget["used"]) == (3, 0, 3)
    gateway.submit(body(9))
    config.account["budget"]["window_s"] = 1
    gateway.reload()  # their slots come free so much earlier
    wait_for("the fifth call", lambda: len(simulator.calls()) == 5)


def test_a_longer_window_counts_what_is_out_of_the_shorter(site, simulator):
    config = site.config(simulator, requests=2, window_s=1, max_devices_per_call=1)
    gateway = site.gateway(config)
    for number in range(2):
        assert gateway.post(body(number)).status_code == 200
    wait_for("the slots to be free", lambda: gateway.get("/v1/budget").json()["free"] == 2)
    config.account["budget"]["window_s"] = 4
    gateway.reload()
    action = gateway.submit(body(2))
    gateway.wait_final(action["id"])
    first, second, third = (call["mono_ms"] for call in simulator.calls())
    assert third - second >= 4000
    # and a restart does not forget it
    config.account["budget"]["window_s"] = 3600
    gateway.reload()
    gateway.submit(body(3))
    gateway.kill()
    gateway.start()
    wait_for("it to be restored", lambda: gateway.logged("restored"))
    config.account["budget"]["requests"] = 1000
    gateway.reload()
    assert gateway.action(gateway.submit(body(4))["id"])["state"] == "queued"
    assert len(simulator.calls()) == 3


def assert_within_budget(records):
    """At each call fewer are held than the budget last recorded allows; by the boot clock."""
    requests, window_ms, taken, counted = 0, 0, {}, {}
    for record in records:
        id, now = record.get("call_id"), record.get("detail", {}).get("clock", {}).get("ms")
        if record["event"] == "config.loaded":
            budget = record["detail"]["accounts"]["main"]
            requests, window_ms = budget["requests"], budget["window_s"] * 1000
        elif record["event"] == "call.intent":
            held = sum(counted.get(other, now) + window_ms > now for other in taken)
            assert held < requests, record
            taken[id] = now
        elif record["event"] == "call.outcome":
            counted[id] = now
    return len(taken)


def test_never_over_a_budget_that_changes(site, simulator):
    """With a queue that never ends, whatever the reloads come in between."""
    config = site.config(simulator, requests=2, window_s=1, max_devices_per_call=1)
    config.json["teams"]["ops"]["queue_limit"] = 100000
    gateway = site.gateway(config)
    stop = threading.Event()

    def load(place):
        number = 0
        while not stop.is_set():
            number += 1
            gateway.submit(body(f"{place}-{number}"))

    clients = Together()
    for place in range(4):
        clients.start(load, place)
    number = 0
    while number < 60 or number % 60 > 0 or len(simulator.calls()) <= 60:
        config.account["budget"] = {"requests": (2, 60)[number % 2],
                                    "window_s": (1, 2, 1)[number // 20 % 3]}
        gateway.reload()
        number += 1
    stop.set()
    clients.results()
    assert assert_within_budget(gateway.audit()) > 60
    gateway.stop()
    run = run_tollgate("audit", "verify", "-c", config.path)
    assert run.returncode == 0, run.stdout + run.stderr


def test_limits_of_teams(site, simulator):
    config = site.config(simulator, requests=4, window_s=3600, max_devices_per_call=1)
    config.json["teams"]["ops"]["max"] = 1
    config.json["teams"]["ops"]["queue_limit"] = 2
    gateway = site.gateway(config)
    gateway.submit(body(0))
    wait_for("its one call", lambda: len(simulator.calls()) == 1)
    gateway.submit(body(1))
    gateway.submit(body(2))
    assert gateway.post(body(3), SUBMIT).status_code == 429
    config.json["teams"]["ops"].update(max=3, queue_limit=10)
    gateway.reload()
    wait_for("two more calls", lambda: len(simulator.calls()) == 3)
    gateway.submit(body(3))
    config.add_team("reserve", reserved=1)
    config.json["teams"]["ops"]["max"] = 4
    gateway.reload()
    assert gateway.action(gateway.submit(body(4))["id"])["state"] == "queued"
    assert len(simulator.calls()) == 3
    config.json["teams"]["reserve"]["reserved"] = 0
    gateway.reload()
    wait_for("the slot that was reserved", lambda: len(simulator.calls()) == 4)


def test_weights(site, simulator):
    """Two teams with the same work: the calls after the change go by the new weights."""
    config = site.config(simulator, requests=1, window_s=3600, max_devices_per_call=1)
    config.add_team("night")
    config.add_client("night", "night")
    gateway = site.gateway(config)
    gateway.post(body("first"))
    for number in range(40):
        gateway.submit(body(f"day-{number}"))
        gateway.submit(body(f"night-{number}"), client="night")
    config.json["teams"]["ops"]["weight"] = 4
    config.account["budget"]["requests"] = 51
    gateway.reload()
    wait_for("the calls", lambda: len(simulator.calls()) == 51)
    devices = [call["ids"][0] for call in simulator.calls()[1:]]
    days = sum(device.startswith("dev-day") for device in devices)
    assert 38 <= days <= 41, devices


def test_a_team_that_is_no_more(site, simulator):
    """What it had waiting ends as after a restart; what was under way ends as it does."""
    config = site.config(simulator, requests=2, window_s=60, max_devices_per_call=1)
    config.add_team("leaving")
    config.add_client("leaver", "leaving")
    config.add_client("siem", roles=["auditor"])
    gateway = site.gateway(config)
    gateway.post(body(0))
    simulator.order({"on": "action", "do": "delay", "ms": 1000})
    under_way = gateway.submit(body(1), client="leaver")
    wait_for("the call to be under way", lambda: gateway.audit_of(event="call.intent")[1:])
    waiting = gateway.submit(body(2), client="leaver")
    others = gateway.submit(body(3))
    clients = Together()
    clients.start(gateway.post, body(4), client="leaver", headers={"Prefer": "wait=300"})
    wait_for("it to wait", lambda: len(gateway.audit_of(event="action.accepted")) == 5)
    del config.json["teams"]["leaving"], config.json["clients"]["leaver"], config.keys["leaver"]
    gateway.reload()
    assert gateway.wait_final(waiting["id"], client="siem")["state"] == "failed"
    problem = gateway.action(waiting["id"], client="siem")["problem"]
    assert "no longer configured" in problem["detail"]
    answer, = clients.results()
    assert_problem(answer, 503, "unavailable")
    assert gateway.wait_final(under_way["id"], client="siem")["state"] == "completed"
    assert gateway.action(others["id"])["state"] == "queued"
    assert "leaving" not in str(gateway.get("/v1/budget").json())
    # its share stays charged, and it may come back
    config.add_team("leaving")
    config.add_client("leaver", "leaving")
    config.account["budget"]["requests"] = 4
    gateway.reload()
    action = gateway.submit(body(5), client="leaver")
    gateway.wait_final(action["id"], client="leaver")
    gateway.wait_final(others["id"])


def test_teams_come_and_go(site, config):
    """Numbers of teams that are no more are given to others."""
    gateway = site.gateway(config)
    for number in range(12):
        name = f"team-{number}"
        config.add_team(name)
        config.add_client(name, name)
        gateway.reload()
        assert gateway.post(body(number), client=name).status_code == 200
        teams = {team["team"] for team in gateway.get("/v1/budget").json()["teams"]}
        assert teams == {"ops", name}
        del config.json["teams"][name], config.json["clients"][name]
    gateway.reload()


# ---- Accounts ----

def add_account(config, simulator, **options):
    config.json["accounts"]["second"] = {**config.account, "base_url": simulator.url, **options}
    config.json["teams"]["others"] = {**config.json["teams"]["ops"], "account": "second"}
    config.add_client("other", "others")


def test_an_account_comes_and_goes(site, config, simulator):
    second = site.simulator()
    gateway = site.gateway(config)
    add_account(config, second, budget={"requests": 2, "window_s": 3600})
    gateway.reload()
    assert gateway.post(BODY, client="other").status_code == 200
    assert (len(second.calls()), len(simulator.calls())) == (1, 0)
    second.order({"on": "action", "do": "delay", "ms": 1500})
    clients = Together()
    clients.start(gateway.post, body(1), client="other")
    wait_for("the call to be under way", lambda: gateway.audit_of(event="call.intent")[1:])
    saved = json.loads(json.dumps(config.json))
    del config.json["accounts"]["second"], config.json["teams"]["others"]
    del config.json["clients"]["other"]
    gateway.reload()
    answer, = clients.results()
    assert answer.status_code == 200, "what is under way ends as it does"
    assert gateway.post(BODY, client="other").status_code == 401
    assert gateway.post(BODY).status_code == 200
    config.json = saved  # it comes back: its calls are not forgotten
    gateway.reload()
    assert gateway.get("/v1/budget", client="other").json()["free"] == 0
    action = gateway.submit(body(2), client="other")
    assert gateway.action(action["id"], client="other")["state"] == "queued"


def test_an_account_that_was_not_there_at_the_start(site, config, simulator):
    """Its calls of an earlier run count."""
    second = site.simulator()
    add_account(config, second, budget={"requests": 1, "window_s": 3600})
    gateway = site.gateway(config)
    assert gateway.post(BODY, client="other").status_code == 200
    saved = json.loads(json.dumps(config.json))
    del config.json["accounts"]["second"], config.json["teams"]["others"]
    del config.json["clients"]["other"]
    gateway.restart()
    config.json = saved
    gateway.reload()
    action = gateway.submit(body(1), client="other")
    assert gateway.action(action["id"], client="other")["state"] == "queued"
    assert len(second.calls()) == 1


def test_another_upstream(site, config, simulator):
    """Calls go on by the one they began with."""
    second = site.simulator()
    gateway = site.gateway(config)
    gateway.post(BODY)
    simulator.order({"on": "action", "do": "delay", "ms": 1500})
    clients = Together()
    clients.start(gateway.post, body(1))
    wait_for("the call to be under way", lambda: gateway.audit_of(event="call.intent")[1:])
    config.account["base_url"] = second.url
    gateway.reload()
    assert gateway.post(body(2)).status_code == 200
    answer, = clients.results()
    assert answer.status_code == 200
    assert [call["ids"] for call in simulator.calls()] == [["any-1"], ["dev-1"]]
    assert [call["ids"] for call in second.calls()] == [["dev-2"]]


def test_a_secret_in_another_file(site, config, simulator):
    second = site.simulator(client_secret="another-secret")
    gateway = site.gateway(config)
    write_secret(config.folder / "other_secret", "another-secret\n")
    config.account["base_url"] = second.url
    config.account["credentials"]["client_secret_file"] = "other_secret"
    gateway.reload()
    assert gateway.post(BODY).status_code == 200
    assert len(second.calls()) == 1


# ---- Certificates and signing keys ----

def peer_of(gateway):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with context.wrap_socket(socket.create_connection(gateway.address, 10)) as connection:
        return connection.getpeercert(True)


def test_certificates_are_swapped(site, config):
    """A file with the same name and other content; the connection that lives goes on."""
    old, new = site.certificate("old"), site.certificate("new")
    config.serve_tls(old)
    gateway = site.gateway(config)
    with session(old) as one:
        ask = lambda: one.get(gateway.url + "/v1/budget", headers=gateway.headers())
        assert ask().status_code == 200
        connections = gateway.metric("tollgate_connections")
        before = old.certificate.read_bytes()
        old.key.write_bytes(new.key.read_bytes())
        detail = gateway.rejection()  # half of it
        assert [error["pointer"] for error in detail["errors"]] == ["/listen/0/tls/key"]
        assert peer_of(gateway) == ssl.PEM_cert_to_DER_cert(before.decode())
        old.certificate.write_bytes(new.certificate.read_bytes())
        gateway.reload()
        assert peer_of(gateway) == ssl.PEM_cert_to_DER_cert(new.certificate.read_text())
        one.verify = False  # were it a new connection, it would do; but it is the same
        assert ask().status_code == 200
        wait_for("the others to be closed",
                 lambda: gateway.metric("tollgate_connections") == connections)


def test_tls_comes_and_goes(site, config):
    gateway = site.gateway(config)
    config.serve_tls(site.certificate("front"))
    gateway.reload()
    gateway.url = gateway.url.replace("http:", "https:")
    assert gateway.post(BODY).status_code == 200


def test_another_signing_key(site, config, tmp_path):
    first = config.sign_audit(checkpoint_interval_s=3600)
    gateway = site.gateway(config)
    file = config.folder / "checkpoints.txt"
    notes = lambda: read_notes(file.read_text()) if file.exists() else []
    wait_for("the first checkpoint", lambda: len(notes()) == 1)
    first_key = tmp_path / "first.pub"
    first_key.write_bytes(first.read_bytes())
    second = config.sign_audit(checkpoint_interval_s=3600)  # the same names
    gateway.reload()
    wait_for("a checkpoint with the new key", lambda: len(notes()) == 2)
    old, new = notes()
    assert is_signed(old, first_key, tmp_path) and not is_signed(old, second, tmp_path)
    assert is_signed(new, second, tmp_path) and not is_signed(new, first_key, tmp_path)
    loaded = gateway.audit_of(event="config.loaded")
    assert loaded[0]["detail"]["verifier"] != loaded[1]["detail"]["verifier"]
    assert new.size > loaded[1]["seq"], "it covers what says whose it is"
    gateway.stop()
    verify = lambda *more: run_tollgate("audit", "verify", "-c", config.path, *more).returncode
    assert (verify(), verify("--public-key", first_key)) == (1, 0)


def test_another_interval(site, config):
    config.sign_audit(checkpoint_interval_s=3600)
    gateway = site.gateway(config)
    file = config.folder / "checkpoints.txt"
    wait_for("the first checkpoint", file.exists)
    config.json["audit"]["checkpoint_interval_s"] = 1
    gateway.reload()
    gateway.post(BODY)
    wait_for("another checkpoint", lambda: len(read_notes(file.read_text())) >= 2)


def test_blast_across_a_reload(site, config):
    """Requests pipelined by nobody, on connections that live: none is lost."""
    gateway = site.gateway(config)
    requests = [request_bytes(gateway, SUBMIT, body(number)) for number in range(600)]
    clients = Together()
    clients.start(blast, gateway, requests, 16)
    for number in range(10):
        config.json["teams"]["ops"]["weight"] = 1 + number
        gateway.reload()
    answers, = clients.results()
    assert {answer.status_code for answer in answers} == {202}
