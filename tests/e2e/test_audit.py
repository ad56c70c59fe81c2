"""The audit log: what stands in it and in which order, and that secrets stand nowhere."""
import base64
import os
import re

import pytest
from kit import run_tollgate
from kit.checks import assert_contiguous
from kit.config import write_secret
from kit.gateway import DROP_IN
from kit.simulator import CLIENT_SECRET

BODY = {"types": "exempt", "ids": ["any-2", "any-1"], "params": {"exempt_time": 24}}
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
FIELDS = {"v", "node", "seq", "time", "event", "request_id", "client", "key_id", "team", "remote",
          "action_id", "call_id", "account", "action", "devices", "params", "reason", "decision",
          "rule", "problem", "upstream_status", "results", "detail", "outcome", "traceparent"}
EVENTS = {"node.started", "node.stopped", "config.loaded", "config.rejected", "request.refused",
          "request.unauthenticated", "action.accepted", "action.finished", "call.intent",
          "call.outcome", "token.refreshed", "token.failed"}


def test_a_whole_flow(site):
    simulator = site.simulator()
    config = site.config(simulator)
    gateway = site.gateway(config)
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    answer = gateway.post(BODY, headers={"X-Request-ID": "flow-1", "Action-Reason": "ticket 5",
                                         "traceparent": trace})
    assert answer.status_code == 200
    gateway.post({"types": "exempt", "ids": []}, headers={"X-Request-ID": "flow-2"})
    gateway.request("POST", DROP_IN, None, {"X-Request-ID": "flow-3"})
    gateway.wait_audit(request_id="flow-3")
    gateway.stop()
    records = gateway.audit()

    assert_contiguous(records)
    for record in records:
        assert list(record)[:5] == ["v", "node", "seq", "time", "event"]
        assert set(record) <= FIELDS, set(record) - FIELDS
        assert record["v"] == 1
        assert record["node"] == "gw-test"
        assert re.fullmatch(TIME, record["time"])
        assert record["event"] in EVENTS
    assert [record["time"] for record in records] == sorted(record["time"] for record in records)
    events = [record["event"] for record in records]
    assert events[:2] == ["node.started", "config.loaded"]
    assert events[-1] == "node.stopped"
    assert "token.refreshed" in events

    id = answer.headers["Location"].rsplit("/", 1)[1]
    accepted, intent, outcome, finished = [r for r in records if r.get("action_id") == id]
    key = config.json["clients"]["script"]["keys"][0]["id"]
    who = {"request_id": "flow-1", "client": "script", "key_id": key, "team": "ops",
           "remote": "127.0.0.1", "traceparent": trace}
    assert accepted["event"] == "action.accepted"
    assert accepted.items() >= {**who, "account": "main", "action": "exempt", "reason": "ticket 5",
                                "decision": "allow", "rule": "ops/0"}.items()
    assert accepted["devices"] == ["any-2", "any-1"]
    assert accepted["params"] == {"exempt_time": 24}
    assert intent["event"] == "call.intent"
    assert intent.items() >= {"account": "main", "action": "exempt"}.items()
    assert intent["devices"] == ["any-2", "any-1"]
    assert intent["params"] == {"exempt_time": 24}
    assert outcome["event"] == "call.outcome"
    assert (outcome["outcome"], outcome["upstream_status"]) == ("ok", 200)
    assert outcome["call_id"] == intent["call_id"] == finished["call_id"]
    assert finished["event"] == "action.finished"
    assert finished.items() >= {"request_id": "flow-1", "client": "script", "team": "ops",
                                "account": "main", "action": "exempt"}.items()
    assert finished["results"] == answer.json()

    refused, = [r for r in records if r.get("request_id") == "flow-2"]
    assert refused["event"] == "request.refused"
    assert refused.items() >= {"client": "script", "key_id": key, "team": "ops",
                               "remote": "127.0.0.1", "problem": "invalid-action"}.items()
    unauthenticated, = [r for r in records if r.get("request_id") == "flow-3"]
    assert unauthenticated["event"] == "request.unauthenticated"
    assert unauthenticated["remote"] == "127.0.0.1"
    assert "client" not in unauthenticated


def test_sequence_goes_on_after_a_restart(site):
    simulator = site.simulator()
    gateway = site.gateway(site.config(simulator))
    for _ in range(3):
        gateway.post(BODY)
        gateway.restart()
    records = gateway.audit()
    assert_contiguous(records)
    assert [record["event"] for record in records].count("node.started") == 4
    assert [record["event"] for record in records].count("node.stopped") == 3


def test_export_twice_gives_the_same_bytes(site):
    """The exact bytes are stored: they are what later is hashed."""
    gateway = site.gateway(site.config(site.simulator()))
    gateway.post(BODY)
    gateway.stop()
    first, second = (run_tollgate("audit", "export", "-c", gateway.config.path).stdout
                     for _ in range(2))
    assert first == second and first.count("\n") == len(gateway.audit())


@pytest.mark.parametrize("text", ["tab\there", "umlaut ü", "x" * 512])
def test_reasons_are_kept_whole(site, text):
    gateway = site.gateway(site.config(site.simulator()))
    answer = gateway.post(BODY, headers={"Action-Reason": text.encode()})
    if "\t" in text:
        assert answer.status_code == 400  # control characters are refused
        return
    assert answer.status_code == 200
    record, = gateway.audit_of(event="action.accepted")
    assert record["reason"] == text
    assert gateway.action(answer.headers["Location"])["reason"] == text


@pytest.mark.parametrize("reason", [b"x" * 513, b"\xff\xfe", b"a\xc3"])
def test_other_reasons_are_refused(site, reason):
    simulator = site.simulator()
    gateway = site.gateway(site.config(simulator))
    assert gateway.post(BODY, headers={"Action-Reason": reason}).status_code == 400
    assert simulator.calls() == []


def test_control_characters_are_encoded(site):
    """Case 25: what a client names reaches no terminal raw, 8-bit controls included."""
    gateway = site.gateway(site.config(site.simulator()))
    for group in ("\x1b[31mred", "a\x9b31mb", "a\x7fb"):
        gateway.post({"types": "assign_to_group", "ids": ["any-1"], "params": {"group_id": group}})
        gateway.post({group: 1, "types": group, "ids": [group]})
        gateway.post(BODY, headers={"Action-Reason": group.encode()})
    shown = run_tollgate("audit", "export", "-c", gateway.config.path).stdout + gateway.text
    found = {character for character in shown
             if character != "\n" and (ord(character) < 32 or 127 <= ord(character) < 160)}
    assert found == set()


# ---- Secrets: case 33 ----

TOKEN = "CANARYTOKEN0AUDIT0NEVER0TO0BE0SEEN0ANYWHERE00001"
SECRET = "canary-secret-never-to-be-seen-9911"


def spellings(secret):
    data = secret.encode()
    yield data
    yield data.hex().encode()
    yield base64.b64encode(data).rstrip(b"=")[:-1]
    yield data[:len(data) // 2 + 4]  # the better half of it


def read_all(folder):
    """Every file of the folder but the secrets' own, and the names of them."""
    found = {}
    for name in sorted(os.listdir(folder)):
        if name not in ("access_token", "client_secret"):
            found[name] = (folder / name).read_bytes()
    return found


def check_nowhere(gateway, secrets, answers):
    pid = gateway.process.pid
    places = {"stderr": gateway.text.encode(), "metrics": gateway.admin("/metrics").content,
              "readyz": gateway.admin("/readyz").content, "audit": str(gateway.audit()).encode(),
              "answers": "".join(f"{answer.headers}{answer.text}" for answer in answers).encode()}
    for name in ("cmdline", "environ", "comm"):
        with open(f"/proc/{pid}/{name}", "rb") as file:
            places[name] = file.read()
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/comm", "rb") as file:
            places["comm of " + task] = file.read()
    places.update(read_all(gateway.config.folder))
    assert "tollgate.db" in places and "tollgate.db-wal" in places
    for secret in secrets:
        for spelling in spellings(secret):
            for place, content in places.items():
                assert spelling not in content, f"{secret} stands in {place}"


def provoke(simulator, gateway):
    """All that could bring a secret to light; returns the answers."""
    key = gateway.key()
    simulator.order({"do": "echo-token"}, {"do": "garbage"}, {"do": "close-after"},
                    {"do": "status", "status": 500, "body": TOKEN},
                    {"do": "status", "status": 200, "body": [
                        {"id": "any-1", "status": 1, "command_id": TOKEN}]})
    answers = [gateway.post(BODY) for _ in range(6)]
    answers += [gateway.get(answer.headers["Location"]) for answer in answers]
    answers += [
        gateway.request("GET", f"/nowhere?access_token={key}"),
        gateway.request("POST", f"{DROP_IN}?access_token={key}", None, json=BODY),
        gateway.request("POST", DROP_IN, None, {"Authorization": f"Bearer {key}x"}, json=BODY),
        gateway.request("POST", DROP_IN, None, {"Authorization": f"Basic {key}"}, json=BODY),
        gateway.request("POST", DROP_IN, None, {"Authorization": key}, json=BODY),
    ]
    return answers


def test_token_and_keys_appear_nowhere(site):
    simulator = site.simulator(access_token=TOKEN)
    config = site.config(simulator)
    config.use_token_file(TOKEN)
    gateway = site.gateway(config)
    answers = provoke(simulator, gateway)
    assert [answer.status_code for answer in answers[:6]] == [502, 502, 504, 502, 200, 200]
    check_nowhere(gateway, [TOKEN, gateway.key()], answers)


def test_client_secret_and_keys_appear_nowhere(site):
    simulator = site.simulator(client_secret=SECRET)
    config = site.config(simulator)
    write_secret(config.folder / "client_secret", SECRET)
    # The token endpoint says the secret back, and then hangs up; only then it works.
    simulator.order({"on": "token", "do": "echo-token"}, {"on": "token", "do": "close-after"})
    gateway = site.gateway(config)
    answers = provoke(simulator, gateway)
    check_nowhere(gateway, [SECRET, gateway.key()], answers)
    assert CLIENT_SECRET not in gateway.text


def test_issued_tokens_appear_nowhere(site):
    """The token is the only run of 48 capitals and digits that there could be."""
    simulator = site.simulator()
    gateway = site.gateway(site.config(simulator))
    answers = provoke(simulator, gateway)
    everything = [gateway.text, str(gateway.audit()), gateway.admin("/metrics").text,
                  *(f"{answer.headers}{answer.text}" for answer in answers)]
    everything += [content.decode("latin-1") for content in
                   read_all(gateway.config.folder).values()]
    for text in everything:
        for run in re.findall(r"(?<![A-Z0-9])[A-Z0-9]{40,}(?![A-Z0-9])", text):
            assert run == TOKEN, run  # which only the fault's body named, and not its token
