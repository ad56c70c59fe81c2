"""Policy at the front door: default deny, the first rule that fits, each constraint, protected
devices, reasons; and tollgate explain, which says the same."""
import datetime
import json

import pytest
from kit import run_tollgate
from kit.checks import assert_problem
from kit.gateway import DROP_IN, SUBMIT

DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
TODAY = DAYS[datetime.datetime.now(datetime.timezone.utc).weekday()]
# Not today, nor what today may become while the test runs.
FAR_DAYS = [DAYS[(DAYS.index(TODAY) + away) % 7] for away in (2, 3, 4)]

TEAMS = {
    "none": [],
    "helpdesk": [
        {"actions": ["exempt"], "max_exempt_hours": 24, "max_devices": 3},
        {"actions": ["unexempt", "ignore"]},
        {"actions": ["assign_to_group"], "groups": ["quarantine", "default"]},
        {"actions": ["delete"], "max_devices": 2, "require_reason": True},
    ],
    "steps": [
        {"actions": ["exempt"], "max_devices": 1},
        {"actions": ["exempt"], "max_exempt_hours": 8},
        {"actions": ["exempt", "delete"], "require_reason": True},
    ],
    "hours": [
        {"actions": ["unexempt"], "hours": {"days": FAR_DAYS}},
        {"actions": ["ignore"], "hours": {"days": DAYS}},
    ],
    "shadow": [
        {"actions": ["exempt"], "max_devices": 1, "shadow": True},
        {"actions": ["exempt"]},
        {"actions": ["delete"], "shadow": True},
    ],
    "unlimited": [{"actions": ["exempt", "delete"], "max_exempt_hours": 64999}],
}
PROTECTED = [
    {"macs": ["00:0c:29:*"], "actions": ["delete"]},
    {"ids": ["any-boss", "*-core"]},
    {"macs": ["AA-BB-CC-*"]},
]


@pytest.fixture(scope="module")
def pair(module_site):
    simulator = module_site.simulator()
    config = module_site.config(simulator)
    for name, rules in TEAMS.items():
        config.add_team(name, rules)
        config.add_client(name, name)
    config.json["protected_devices"] = PROTECTED
    return simulator, module_site.gateway(config)


@pytest.fixture
def simulator(pair):
    pair[0].forget_calls()
    return pair[0]


@pytest.fixture
def gateway(pair):
    return pair[1]


def ids(count):
    return [f"any-{number}" for number in range(count)]


def exempt(count, hours=None):
    body = {"types": "exempt", "ids": ids(count)}
    return body if hours is None else {**body, "params": {"exempt_time": hours}}


def action(name, count=1, **more):
    return {"types": name, "ids": ids(count), **more}


def group(name):
    return action("assign_to_group", params={"group_id": name})


# team, body, reason, the rule that allows or None, the rules that the violations name
CASES = [
    ("none", action("unexempt"), None, None, ["none"]),
    ("helpdesk", exempt(1, 24), None, "helpdesk/0", []),
    ("helpdesk", exempt(3, 1), None, "helpdesk/0", []),
    ("helpdesk", exempt(4, 1), None, None, ["helpdesk/0"]),
    ("helpdesk", exempt(1, 25), None, None, ["helpdesk/0"]),
    ("helpdesk", exempt(1, 0), None, None, ["helpdesk/0"]),
    ("helpdesk", exempt(1), None, None, ["helpdesk/0"]),  # for ever is the upstream's default
    ("helpdesk", {**exempt(1), "params": {}}, None, None, ["helpdesk/0"]),
    ("helpdesk", exempt(4, 25), None, None, ["helpdesk/0", "helpdesk/0"]),
    ("helpdesk", action("unexempt", 100), None, "helpdesk/1", []),
    ("helpdesk", action("ignore"), None, "helpdesk/1", []),
    ("helpdesk", action("unignore"), None, None, ["helpdesk"]),
    ("helpdesk", action("dhcprenew"), None, None, ["helpdesk"]),
    ("helpdesk", action("re-identify"), None, None, ["helpdesk"]),
    ("helpdesk", action("fetch_agent_log"), None, None, ["helpdesk"]),
    ("helpdesk", group("quarantine"), None, "helpdesk/2", []),
    ("helpdesk", group("default"), None, "helpdesk/2", []),
    ("helpdesk", group("Quarantine"), None, None, ["helpdesk/2"]),
    ("helpdesk", group("quarantine "), None, None, ["helpdesk/2"]),
    ("helpdesk", action("delete"), "ticket 1", "helpdesk/3", []),
    ("helpdesk", action("delete"), None, None, ["helpdesk/3"]),
    ("helpdesk", action("delete"), "   ", None, ["helpdesk/3"]),
    ("helpdesk", action("delete", 3), "ticket 1", None, ["helpdesk/3"]),
    ("helpdesk", action("delete", 3), None, None, ["helpdesk/3", "helpdesk/3"]),
    ("steps", exempt(1, 0), None, "steps/0", []),
    ("steps", exempt(2, 8), None, "steps/1", []),
    ("steps", exempt(2, 9), "ticket", "steps/2", []),
    ("steps", exempt(1, 9), "ticket", "steps/0", []),
    ("steps", exempt(2, 9), None, None, ["steps/0", "steps/1", "steps/2"]),
    ("steps", action("delete"), None, None, ["steps/2"]),
    ("hours", action("unexempt"), None, None, ["hours/0"]),
    ("hours", action("ignore"), None, "hours/1", []),
    ("shadow", exempt(2), None, "shadow/1", None),
    ("shadow", exempt(1), None, "shadow/1", None),
    ("shadow", action("delete"), None, None, None),
    ("unlimited", exempt(1, 64999), None, "unlimited/0", []),
    ("unlimited", exempt(1, 0), None, None, ["unlimited/0"]),
    # protected, whatever the rules say
    ("ops", {"types": "delete", "macs": ["00:0C:29:FF:00:01"]}, "ticket", None,
     ["protected_devices/0"]),
    ("ops", {"types": "delete", "macs": ["000c29ff0001"]}, None, None, ["protected_devices/0"]),
    ("ops", {"types": "unexempt", "macs": ["00:0C:29:FF:00:01"]}, None, "ops/0", []),
    ("ops", {"types": "delete", "macs": ["00:0d:29:ff:00:01"]}, None, "ops/0", []),
    ("ops", {"types": "unexempt", "macs": ["00:0d:29:ff:00:01", "aa:bb:cc:00:00:01"]}, None, None,
     ["protected_devices/2"]),
    ("ops", {"types": "unexempt", "ids": ["any-1", "any-boss"]}, None, None,
     ["protected_devices/1"]),
    ("ops", {"types": "fetch_agent_log", "ids": ["switch-core"]}, None, None,
     ["protected_devices/1"]),
    ("ops", {"types": "unexempt", "ids": ["any-bos", "any-boss2", "core"]}, None, "ops/0", []),
]
NAMES = [f"{number}-{case[0]}-{case[1]['types']}" for number, case in enumerate(CASES)]


def count_equal_devices_once(body):
    return {**body, "ids": body["ids"] * 5} if "ids" in body else body


@pytest.mark.parametrize("team, body, reason, allowed_by, named", CASES, ids=NAMES)
def test_at_the_front_door(simulator, gateway, team, body, reason, allowed_by, named):
    client = "script" if team == "ops" else team
    headers = {"Action-Reason": reason.strip()} if reason else {}
    body = count_equal_devices_once(body)
    answer = gateway.post(body, client=client, headers=headers)
    request_id = answer.headers["X-Request-ID"]
    if allowed_by:
        assert answer.status_code == 200, answer.text
        record, = gateway.audit_of(event="action.accepted", request_id=request_id)
        assert (record["decision"], record["rule"]) == ("allow", allowed_by)
        assert record.get("reason") == reason
        assert len(simulator.calls()) == 1
        return
    problem = assert_problem(answer, 403, "policy-denied")
    violations = problem["violations"]
    assert violations and all(violation["detail"] for violation in violations)
    if named is not None:
        assert [violation["rule"] for violation in violations] == named
    record, = gateway.audit_of(event="request.refused", request_id=request_id)
    assert (record["decision"], record["problem"]) == ("deny", "policy-denied")
    assert (record["team"], record["action"]) == (team, body["types"])
    assert simulator.calls() == []


@pytest.mark.parametrize("team, body, reason, allowed_by, named", CASES, ids=NAMES)
def test_explain_agrees(gateway, team, body, reason, allowed_by, named):
    arguments = ["--reason", reason] if reason else []
    run = run_tollgate("explain", "-c", gateway.config.path, "--team", team, "--json", *arguments,
                       json.dumps(count_equal_devices_once(body)))
    assert run.returncode == (0 if allowed_by else 1), run.stderr
    told = json.loads(run.stdout)
    assert told["decision"] == ("allow" if allowed_by else "deny")
    assert told["rule"] == allowed_by
    if named is not None:
        assert [violation["rule"] for violation in told["violations"]] == named
    plain = run_tollgate("explain", "-c", gateway.config.path, "--team", team, *arguments, "-",
                         stdin=json.dumps(body))
    assert plain.returncode == run.returncode
    assert plain.stdout.startswith("allow" if allowed_by else "deny")
    assert all(violation["detail"] in plain.stdout for violation in told["violations"])


def test_explain_of_invalid_bodies(gateway):
    for body, pointer in (('{"types":"x","ids":["a"]}', "/types"), ("[", None), ("", None)):
        run = run_tollgate("explain", "-c", gateway.config.path, "--team", "ops", "--json", "-",
                           stdin=body)
        assert run.returncode == 1
        told = json.loads(run.stdout)
        assert told["decision"] == "invalid" and told["errors"]
        assert pointer is None or pointer in [error["pointer"] for error in told["errors"]]


def test_what_shadow_rules_would_have_refused_is_recorded(gateway):
    answer = gateway.post(exempt(2), client="shadow")
    assert answer.status_code == 200
    record, = gateway.audit_of(event="action.accepted", request_id=answer.headers["X-Request-ID"])
    assert "shadow/0" in str(record["detail"])
    answer = gateway.post(exempt(1), client="shadow")
    record, = gateway.audit_of(event="action.accepted", request_id=answer.headers["X-Request-ID"])
    assert "shadow/0" not in str(record.get("detail"))


def test_the_async_path_is_judged_alike(simulator, gateway):
    for path in (DROP_IN, SUBMIT):
        assert_problem(gateway.post(exempt(1, 25), path, client="helpdesk"), 403, "policy-denied")
    assert simulator.calls() == []


def test_what_needs_an_approval_is_refused(site):
    """As long as nobody can give one."""
    simulator = site.simulator()
    config = site.config(simulator)
    config.add_team("careful", [{"actions": ["delete"], "approvers": ["ops"]}])
    config.add_client("careful", "careful")
    gateway = site.gateway(config)
    for path in (DROP_IN, SUBMIT):
        assert_problem(gateway.post({"types": "delete", "ids": ["any-1"]}, path, client="careful"),
                       403, "policy-denied")
    assert simulator.calls() == []


def test_validation_comes_before_policy(gateway):
    answer = gateway.post({"types": "exempt", "ids": []}, client="none")
    assert_problem(answer, 422, "invalid-action")
