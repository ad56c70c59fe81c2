"""All nine actions through the front door: the upstream gets the canonical body, the caller exactly
the upstream's answer."""
import json
import re

import pytest
from kit.gateway import DROP_IN, SUBMIT

# What the documentation of Device Action v3.1 says of each kind of device ("applies to"), in the
# order of KINDS. A device that the upstream does not know, or cannot reach, fails.
KINDS = ["normal", "unknown", "ignored", "exempt", "noagent", "oldagent", "dc", "unlicensed",
         "failing"]
STATUSES = {
    "exempt":          [1, -1, -1, 1, 1, 1, 1, -1, 0],
    "unexempt":        [1, -1, -1, 1, 1, 1, 1, -1, 0],
    "ignore":          [-1, 1, -1, -1, -1, -1, -1, -1, 0],
    "unignore":        [-1, -1, 1, -1, -1, -1, -1, -1, 0],
    "delete":          [1, 1, 1, 1, 1, 1, 1, 1, 0],
    "dhcprenew":       [1, -1, -1, 1, -1, 1, -1, 1, 0],
    "re-identify":     [1, -1, -1, 1, 1, 1, 1, -1, 0],
    "assign_to_group": [1, 1, 1, 1, 1, 1, -1, 1, 0],
    "fetch_agent_log": [1, -1, -1, 1, -1, -1, -1, 1, 0],
}
PARAMS = {"exempt": {"exempt_time": 24}, "assign_to_group": {"group_id": "quarantine"}}
NUMBERS = {action: number for number, action in enumerate(STATUSES, 1)}


def canonical(body):
    return json.dumps(body, separators=(",", ":"))


@pytest.fixture(scope="module", params=["plain", "tls"])
def pair(request, module_site):
    tls = module_site.certificate(request.param) if request.param == "tls" else None
    simulator = module_site.simulator(tls=tls)
    return simulator, module_site.gateway(module_site.config(simulator))


@pytest.fixture
def simulator(pair):
    pair[0].forget_calls()
    return pair[0]


@pytest.fixture
def gateway(pair):
    return pair[1]


def check_answer(answer, asked, statuses, action):
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    items = answer.json()
    assert isinstance(items, list)
    assert [list(item) for item in items] == [["id", "status", "command_id"]] * len(asked)
    assert [item["id"] for item in items] == asked
    assert [item["status"] for item in items] == statuses
    for item in items:
        if action == "fetch_agent_log" and item["status"] == 1:
            assert re.fullmatch(r"\S+", item["command_id"])
        else:
            assert item["command_id"] == ""


@pytest.mark.parametrize("action", STATUSES)
def test_by_ids(simulator, gateway, action):
    ids = [f"{kind}-{NUMBERS[action]:03}" for kind in KINDS] + ["no-such-device"]
    body = {"types": action, "ids": ids}
    if action in PARAMS:
        body["params"] = PARAMS[action]
    answer = gateway.post(body)
    check_answer(answer, ids, STATUSES[action] + [0], action)
    assert simulator.bodies() == [canonical(body)]


@pytest.mark.parametrize("action", STATUSES)
def test_by_macs(simulator, gateway, action):
    number = NUMBERS[action] + 10  # not those that test_by_ids has changed
    plain = [f"00:0c:29:0{row}:00:{number:02}" for row in range(1, 10)] + ["00:0c:29:aa:bb:cc"]
    spelled = list(plain)
    spelled[1] = plain[1].upper()
    spelled[2] = plain[2].replace(":", "-")
    spelled[3] = plain[3].replace(":", "").upper()
    spelled[9] = "00-0C-29-Aa-bB-cc"
    body = {"types": action, "macs": spelled}
    if action in PARAMS:
        body["params"] = PARAMS[action]
    answer = gateway.post(body)
    check_answer(answer, spelled, STATUSES[action] + [0], action)
    assert simulator.bodies() == [canonical({**body, "macs": plain})]


def test_upstream_has_applied_what_was_asked(simulator, gateway):
    body = {"types": "exempt", "ids": ["normal-090"], "params": {"exempt_time": 64999}}
    assert gateway.post(body).json()[0]["status"] == 1
    body = {"types": "assign_to_group", "ids": ["normal-091"], "params": {"group_id": "Gäste 1"}}
    assert gateway.post(body).json()[0]["status"] == 1
    devices = simulator.devices()
    assert devices["normal-090"]["state"] == "exempt"
    assert devices["normal-090"]["exempt_time"] == 64999
    assert devices["normal-091"]["group"] == "Gäste 1"
    assert json.loads(simulator.bodies()[1]) == body


@pytest.mark.parametrize("given, sent", [
    ({}, {}),
    ({"params": {}}, {}),
    ({"params": {"exempt_time": 0}}, {"params": {"exempt_time": 0}}),
])
def test_params_only_where_asked(simulator, gateway, given, sent):
    assert gateway.post({"types": "exempt", "ids": ["any-p"], **given}).status_code == 200
    assert simulator.bodies() == [canonical({"types": "exempt", "ids": ["any-p"], **sent})]


def test_an_action_without_params_sends_none(simulator, gateway):
    answer = gateway.post({"params": {}, "ids": ["any-q"], "types": "unexempt"})
    assert answer.status_code == 200
    assert simulator.bodies() == ['{"types":"unexempt","ids":["any-q"]}']


def test_equal_ids_once(simulator, gateway):
    answer = gateway.post({"types": "unexempt", "ids": ["any-b", "any-a", "any-b", "any-B"]})
    check_answer(answer, ["any-b", "any-a", "any-B"], [1, 1, 1], "unexempt")
    assert simulator.bodies() == ['{"types":"unexempt","ids":["any-b","any-a","any-B"]}']


def test_equal_macs_once_spelled_as_first_asked(simulator, gateway):
    spellings = ["00:0C:29:FF:00:01", "00-0c-29-ff-00-01", "000c29ff0001", "00:0c:29:ff:00:02"]
    answer = gateway.post({"types": "unexempt", "macs": spellings})
    check_answer(answer, [spellings[0], spellings[3]], [1, 1], "unexempt")
    assert simulator.bodies() == \
        ['{"types":"unexempt","macs":["00:0c:29:ff:00:01","00:0c:29:ff:00:02"]}']


def test_a_hundred_devices_in_one_call(simulator, gateway):
    ids = [f"any-{number:03}" for number in range(100, 0, -1)]
    check_answer(gateway.post({"types": "dhcprenew", "ids": ids}), ids, [1] * 100, "dhcprenew")
    assert len(simulator.calls()) == 1


def test_more_devices_than_a_call_may_hold(site):
    """max_devices_per_call bounds every call, also that of one request: it is split, or refused
    before anything is sent."""
    simulator = site.simulator(max_devices=1000)
    config = site.config(simulator)
    config.account["max_devices_per_call"] = 100
    gateway = site.gateway(config)
    ids = [f"any-{number}" for number in range(250)]
    answer = gateway.post({"types": "unexempt", "ids": ids})
    assert max([len(call["ids"]) for call in simulator.calls()], default=0) <= 100
    assert answer.status_code in (200, 422)
    if answer.status_code == 200:
        check_answer(answer, ids, [1] * 250, "unexempt")


def test_longest_id_and_every_character(simulator, gateway):
    ids = ["any-" + "x" * 124, "any-AZaz09._:-", "..any", "any..", "..."]
    answer = gateway.post({"types": "unexempt", "ids": ids})
    check_answer(answer, ids, [1, 1, 0, 0, 0], "unexempt")


def test_both_paths_are_the_same(simulator, gateway):
    body = {"types": "unexempt", "ids": ["any-1"]}
    drop_in = gateway.post(body, DROP_IN)
    submitted = gateway.post(body, SUBMIT, headers={"Prefer": "wait=20"})
    assert drop_in.json() == submitted.json()
    assert drop_in.status_code == submitted.status_code == 200
    assert simulator.bodies() == [canonical(body)] * 2


def test_the_answer_names_the_action(gateway):
    answer = gateway.post({"types": "fetch_agent_log", "ids": ["any-1"]})
    action = gateway.action(answer.headers["Location"])
    assert action["state"] == "completed"
    assert action["results"] == answer.json()


def test_rate_headers(gateway):
    answer = gateway.post({"types": "unexempt", "ids": ["any-1"]})
    assert answer.headers["RateLimit-Policy"] == '"account";q=100000;w=1'
    found = re.fullmatch(r'"account";r=(\d+);t=(\d+)', answer.headers["RateLimit"])
    assert found and int(found[1]) < 100000
    status = gateway.get(answer.headers["Location"])
    accepted = gateway.post({"types": "unexempt", "ids": ["any-1"]}, SUBMIT)
    assert accepted.status_code == 202
    for other in (status, accepted):
        assert "RateLimit" not in other.headers
        assert "RateLimit-Policy" not in other.headers


def test_charset_and_case_of_the_content_type(gateway):
    body = {"types": "unexempt", "ids": ["any-1"]}
    for value in ("application/json; charset=utf-8", "Application/JSON;charset=UTF-8",
                  'application/json; charset="utf-8"'):
        assert gateway.post(body, headers={"Content-Type": value}).status_code == 200
