"""The command line: help, exit codes, check with all its errors, secret files, keys, the schema."""
import hashlib
import json
import os
import pathlib
import re

import pytest
from kit import run_tollgate
from kit.config import write_secret
from kit.gateway import Gateway

COMMANDS = [["serve"], ["check"], ["key", "new"], ["explain"], ["audit", "verify"],
            ["audit", "export"], ["audit", "show"], ["audit", "checkpoint"], ["audit", "key", "new"]]
CONTRACT_EXAMPLE = {
    "$schema": "tollgate.schema.json",
    "node": "gw-1",
    "listen": [{"address": "127.0.0.1:8080"},
               {"address": "0.0.0.0:8443", "tls": {"certificate": "gw.pem", "key": "gw.key",
                                                   "client_ca": "clients.pem"}}],
    "admin": {"address": "127.0.0.1:8081"},
    "workers": 0,
    "store": "sqlite:tollgate.db",
    "audit": {"signing_key_file": "audit.key", "checkpoint_file": "checkpoints.txt",
              "checkpoint_interval_s": 60},
    "accept_query_token": False,
    "limits": {"max_connections": 10000, "max_header_bytes": 16384, "max_body_bytes": 1048576,
               "max_devices_per_request": 1000, "header_timeout_s": 10, "body_timeout_s": 30,
               "idle_timeout_s": 75},
    "accounts": {"main": {
        "base_url": "https://gears.opswat.com",
        "credentials": {"client_id": "ID", "client_secret_file": "client_secret"},
        "budget": {"requests": 10, "window_s": 60}, "max_devices_per_call": 100,
        "batch_linger_ms": 1000, "connect_timeout_s": 5, "timeout_s": 30}},
    "teams": {"helpdesk": {
        "account": "main", "weight": 3, "reserved": 1, "max": 8, "queue_limit": 1000,
        "sync_wait_s": 65,
        "rules": [
            {"actions": ["exempt"], "max_exempt_hours": 24, "max_devices": 50},
            {"actions": ["unexempt", "ignore", "unignore", "dhcprenew", "re-identify"]},
            {"actions": ["assign_to_group"], "groups": ["quarantine", "default"]},
            {"actions": ["delete"], "max_devices": 5, "require_reason": True,
             "approvers": ["security"]}]}},
    "clients": {
        "nightly-exempt": {"team": "helpdesk", "keys": [
            {"id": "k1", "hash": "sha256:" + "0" * 64, "not_after": "2027-01-01T00:00:00Z"}]},
        "inventory": {"team": "helpdesk", "certificate": {"san": "spiffe://corp/inventory"}},
        "siem": {"roles": ["auditor"], "keys": [{"id": "k2", "hash": "sha256:" + "1" * 64}]}},
    "protected_devices": [{"macs": ["00:0c:29:*"], "actions": ["delete"]}],
}


class NowhereSimulator:
    """An upstream that no test here talks to."""
    url, tls = "http://127.0.0.1:1", None


@pytest.fixture
def config(site):
    return site.config(NowhereSimulator)


# ---- Help and usage ----

@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_of_each_command(command):
    run = run_tollgate(*command, "--help")
    assert run.returncode == 0
    assert run.stderr == ""
    assert f"tollgate {' '.join(command)}" in run.stdout
    assert run_tollgate(*command, "-h").stdout == run.stdout


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["help"]])
def test_help_lists_the_commands(arguments):
    run = run_tollgate(*arguments)
    assert run.returncode == 0
    assert all(f"tollgate {' '.join(command)}" in run.stdout for command in COMMANDS)


@pytest.mark.parametrize("arguments", [
    [], ["nonsense"], ["serve"], ["check"], ["check", "-c"], ["serve", "-c", "a", "b"],
    ["check", "--nonsense"], ["key"], ["key", "old"], ["key", "new", "--xml"], ["audit"],
    ["explain"], ["explain", "-c", "x"], ["audit", "export"], ["audit", "export", "--x"],
])
def test_usage_errors_exit_2(arguments):
    run = run_tollgate(*arguments)
    assert run.returncode == 2
    assert run.stdout == ""
    assert run.stderr


def test_version():
    run = run_tollgate("--version")
    assert run.returncode == 0
    assert re.fullmatch(r"tollgate \d+\.\d+\.\d+\S*\n", run.stdout)


# ---- Keys ----

def test_key_new_json():
    run = run_tollgate("key", "new", "--json")
    assert run.returncode == 0
    minted = json.loads(run.stdout)
    assert list(minted) == ["id", "key", "hash"]
    assert re.fullmatch(r"tg_[A-Za-z0-9_]{20,}", minted["key"])
    assert minted["hash"] == "sha256:" + hashlib.sha256(minted["key"].encode()).hexdigest()
    assert minted["key"] not in run.stderr


def test_key_new_for_people():
    run = run_tollgate("key", "new")
    assert run.returncode == 0
    key = run.stdout.strip()
    assert re.fullmatch(r"tg_[A-Za-z0-9_]{20,}", key)
    assert run.stdout == key + "\n"
    assert "sha256:" + hashlib.sha256(key.encode()).hexdigest() in run.stderr
    assert key not in run.stderr


def test_keys_differ():
    minted = [json.loads(run_tollgate("key", "new", "--json").stdout) for _ in range(20)]
    for part in ("id", "key", "hash"):
        assert len({key[part] for key in minted}) == 20


# ---- Check ----

def check(config):
    return run_tollgate("check", "-c", config.write())


def pointers(run):
    """What stands as a pointer in the lines of errors."""
    return {match[1] for line in run.stderr.splitlines()
            if (match := re.match(r"\S+\.json: (/.*?): ", line))}


def test_a_good_configuration(config):
    run = check(config)
    assert run.returncode == 0, run.stderr


def set_at(document, path, value):
    *parents, last = path
    for step in parents:
        document = document[step]
    document[last] = value


WRONG = [
    # where, the value there, the pointer of the error if it is not where
    ("nonsense", 1), ("node", ""), ("node", "a b"), ("node", None), ("listen", []),
    ("listen", {}), ("listen/0/address", "127.0.0.1"), ("listen/0/address", "127.0.0.1:70000"),
    ("listen/0/address", 8080), ("listen/0/port", 1), ("workers", -1), ("workers", 2.0),
    ("workers", "2"), ("store", "mysql:x"), ("store", "sqlite:"), ("accept_query_token", 1),
    ("accept_query_token", "yes"), ("limits", {"max_body_bytes": 0}, "/limits/max_body_bytes"),
    ("limits", {"max_boddy_bytes": 1}, "/limits/max_boddy_bytes"), ("accounts", {}),
    ("accounts", []), ("accounts/main/base_url", "http://gears.opswat.com"),
    ("accounts/main/base_url", "http://127.0.0.1.example.com"),
    ("accounts/main/base_url", "ftp://127.0.0.1"),
    ("accounts/main/base_url", "https://user:pass@gears.opswat.com"),
    ("accounts/main/base_url", "https://gears.opswat.com/?x=1"),
    ("accounts/main/base_url", "gears.opswat.com"), ("accounts/main/base_url", ""),
    ("accounts/main/credentials", {}), ("accounts/main/credentials", {"client_id": "x"}),
    ("accounts/main/credentials/client_secret", "s3cret"),
    ("accounts/main/credentials/client_secret_file", "no-such-file"),
    ("accounts/main/credentials/access_token_file", "client_secret", "/accounts/main/credentials"),
    ("accounts/main/credentials/token_url", "http://example.com/token"),
    ("accounts/main/budget/requests", 0), ("accounts/main/budget/requests", "10"),
    ("accounts/main/budget/window_s", 0), ("accounts/main/budget/window_s", 1.5),
    ("accounts/main/timeout_s", 0), ("accounts/main/ca_file", "no-such-ca.pem"),
    ("accounts/a b", {"credentials": {}}), ("teams", {}), ("teams/ops/account", "other"),
    ("teams/ops/weight", 0), ("teams/ops/weight", -3), ("teams/ops/wieght", 3),
    ("teams/ops/sync_wait_s", 301), ("teams/ops/queue_limit", 0),
    ("teams/ops/rules/0/actions", ["reboot"], "/teams/ops/rules/0/actions/0"),
    ("teams/ops/rules/0/actions", "delete"), ("teams/ops/rules/0/actions", []),
    ("teams/ops/rules/0/max_device", 5), ("teams/ops/rules/0/max_devices", 0),
    ("teams/ops/rules/0/max_exempt_hours", 65000), ("teams/ops/rules/0/require_reason", "yes"),
    ("teams/ops/rules/0/groups", [1], "/teams/ops/rules/0/groups/0"),
    ("teams/ops/rules/0/hours", {"days": ["monday"]}, "/teams/ops/rules/0/hours/days/0"),
    ("teams/ops/rules/0/hours", {"from": "8:00"}, "/teams/ops/rules/0/hours/from"),
    ("teams/ops/rules/0/hours", {"to": "25:00"}, "/teams/ops/rules/0/hours/to"),
    ("clients/script/team", "nobody"), ("clients/script/roles", ["god"], "/clients/script/roles/0"),
    ("clients/script/keys/0/hash", "sha256:12"), ("clients/script/keys/0/hash", "0" * 64),
    ("clients/script/keys/0/id", ""), ("clients/script/keys/0/key", "tg_x"),
    ("clients/script/keys/0/not_after", "tomorrow"),
    ("clients/script/keys/0/not_after", "2027-13-01T00:00:00Z"),
    ("clients/script/keys", [], "/clients/script"),
    ("protected_devices", [{"actions": ["x"]}], "/protected_devices/0/actions/0"),
    ("protected_devices", [{"mac": ["x"]}], "/protected_devices/0/mac"),
]


@pytest.mark.parametrize("case", WRONG, ids=lambda case: f"{case[0]}={json.dumps(case[1])[:30]}")
def test_an_error_names_its_pointer(config, case):
    where, value, *at = case
    path = [int(step) if step.isdigit() else step for step in where.split("/")]
    set_at(config.json, path, value)
    run = check(config)
    assert run.returncode == 1
    assert (at[0] if at else "/" + where) in pointers(run), run.stderr
    assert run.stdout == ""


def test_all_errors_at_once(config):
    cases = [case for case in WRONG if case[0] in (
        "nonsense", "workers", "accept_query_token", "accounts/main/budget/requests",
        "teams/ops/weight", "teams/ops/wieght", "clients/script/team", "node",
        "clients/script/keys/0/hash")]
    for where, value, *_ in cases:
        set_at(config.json, [int(step) if step.isdigit() else step for step in where.split("/")],
               value)
    run = check(config)
    assert run.returncode == 1
    assert {"/" + case[0] for case in cases} <= pointers(run), run.stderr


@pytest.mark.parametrize("where", ["node", "listen", "accounts", "teams", "clients",
                                   "accounts/main/credentials", "teams/ops/account",
                                   "teams/ops/rules/0/actions", "clients/script/keys/0/hash",
                                   "clients/script/keys/0/id"])
def test_what_is_required(config, where):
    *parents, last = [int(step) if step.isdigit() else step for step in where.split("/")]
    document = config.json
    for step in parents:
        document = document[step]
    del document[last]
    run = check(config)
    assert run.returncode == 1
    assert "/" + where in pointers(run), run.stderr


@pytest.mark.parametrize("text", ["", "{", "[]", '{"node":"a","node":"b"}', "\ufeff{}"])
def test_what_is_not_json(site, text):
    path = site.folder / "bad.json"
    path.write_text(text, encoding="utf-8")
    run = run_tollgate("check", "-c", path)
    assert run.returncode == 1
    assert str(path) in run.stderr


def test_no_such_configuration(site):
    for command in (["check"], ["serve"], ["audit", "export"]):
        run = run_tollgate(*command, "-c", site.folder / "none.json")
        assert run.returncode == 1
        assert "none.json" in run.stderr


def test_two_keys_with_one_id(config):
    config.add_client("other", "ops", id=config.json["clients"]["script"]["keys"][0]["id"])
    run = check(config)
    assert run.returncode == 1
    assert config.json["clients"]["other"]["keys"][0]["id"] in run.stderr


def test_serve_says_the_same_errors(config):
    config.json["teams"]["ops"]["weight"] = 0
    run = run_tollgate("serve", "-c", config.write())
    assert run.returncode == 1
    assert pointers(run) == {"/teams/ops/weight"}


# ---- Secret files ----

@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620, 0o602, 0o610, 0o601, 0o660, 0o666])
def test_secrets_that_others_can_touch(config, mode):
    os.chmod(config.folder / "client_secret", mode)
    for command in ("check", "serve"):
        run = run_tollgate(command, "-c", config.write())
        assert run.returncode == 1
        assert "/accounts/main/credentials/client_secret_file" in pointers(run)


@pytest.mark.parametrize("make", [
    lambda path: os.mkdir(path), lambda path: os.mkfifo(path, 0o600),
    lambda path: write_secret(path, ""), lambda path: write_secret(path, " \n"),
    lambda path: os.symlink("nowhere", path),
], ids=["folder", "pipe", "empty", "blank", "dangling link"])
def test_secrets_that_are_none(config, make):
    path = config.folder / "client_secret"
    path.unlink()
    make(path)
    run = check(config)
    assert run.returncode == 1
    assert "/accounts/main/credentials/client_secret_file" in pointers(run)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_secrets_of_another_user(config):
    os.chown(config.folder / "client_secret", 65534, -1)
    run = check(config)
    assert run.returncode == 1
    assert "/accounts/main/credentials/client_secret_file" in pointers(run)


def test_the_token_file_must_be_private_too(config):
    os.chmod(config.use_token_file("TOKEN"), 0o644)
    run = check(config)
    assert run.returncode == 1
    assert "/accounts/main/credentials/access_token_file" in pointers(run)


def test_the_listeners_key_must_be_private_too(config, site):
    certificate = site.certificate()
    config.serve_tls(certificate)
    assert check(config).returncode == 0
    certificate.key.chmod(0o644)
    assert "/listen/0/tls/key" in pointers(check(config))


def test_errors_never_say_the_secret(config):
    write_secret(config.folder / "client_secret", "canary-4471")
    os.chmod(config.folder / "client_secret", 0o644)
    config.account["base_url"] = "https://user:canary-4472@example.com"
    run = check(config)
    assert run.returncode == 1
    assert "canary-447" not in run.stderr + run.stdout


# ---- The schema ----

def resolve(schema, root):
    while "$ref" in schema:
        place = root
        for step in schema["$ref"].lstrip("#/").split("/"):
            place = place[step]
        schema = place
    return schema


def validate(value, schema, root, at=""):
    """The parts of JSON Schema that matter here; gives what is wrong, with its place."""
    schema = resolve(schema, root)
    types = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int}
    wanted = schema.get("type")
    if wanted and (not isinstance(value, types[wanted]) or
                   wanted == "integer" and isinstance(value, bool)):
        return [f"{at}: not of type {wanted}"]
    problems = []
    if "enum" in schema and value not in schema["enum"]:
        problems.append(f"{at}: not one of {schema['enum']}")
    if isinstance(value, int) and not isinstance(value, bool):
        if not schema.get("minimum", value) <= value <= schema.get("maximum", value):
            problems.append(f"{at}: out of range")
    if isinstance(value, str):
        if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", 1 << 30):
            problems.append(f"{at}: too short or too long")
    if isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", 1 << 30):
            problems.append(f"{at}: too few or too many")
        for place, item in enumerate(value):
            problems += validate(item, schema.get("items", {}), root, f"{at}/{place}")
    if isinstance(value, dict):
        known = schema.get("properties", {})
        rest = schema.get("additionalProperties", True)
        problems += [f"{at}/{name}: required" for name in schema.get("required", [])
                     if name not in value]
        for name, item in value.items():
            if name in known:
                problems += validate(item, known[name], root, f"{at}/{name}")
            elif rest is False:
                problems.append(f"{at}/{name}: unknown")
            elif isinstance(rest, dict):
                problems += validate(item, rest, root, f"{at}/{name}")
    return problems


@pytest.fixture(scope="module")
def schema():
    run = run_tollgate("check", "--schema")
    assert run.returncode == 0
    return json.loads(run.stdout)


def test_the_schema_takes_the_contracts_example(schema):
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert validate(CONTRACT_EXAMPLE, schema, schema) == []


def test_the_schema_takes_what_the_gateway_takes(schema, config):
    assert check(config).returncode == 0
    assert validate(config.json, schema, schema) == []


def test_shipped_examples_fit_the_schema(schema):
    folder = pathlib.Path(__file__).resolve().parents[2] / "conf"
    examples = [path for path in sorted(folder.glob("*.json")) if "schema" not in path.name]
    for path in examples:
        assert validate(json.loads(path.read_text(encoding="utf-8")), schema, schema) == []
    for path in folder.glob("*schema*.json"):
        assert json.loads(path.read_text(encoding="utf-8")) == schema, f"{path.name} is outdated"


STRUCTURAL = {"nonsense", "workers", "accept_query_token", "teams/ops/weight", "teams/ops/wieght",
              "accounts/main/budget/requests", "accounts/main/budget/window_s", "listen/0/port",
              "clients/script/keys/0/key", "teams/ops/rules/0/max_device",
              "teams/ops/sync_wait_s", "accounts/main/credentials/client_secret"}


@pytest.mark.parametrize("case", [case for case in WRONG if case[0] in STRUCTURAL],
                         ids=lambda case: f"{case[0]}={json.dumps(case[1])[:30]}")
def test_the_schema_refuses_what_check_refuses(schema, config, case):
    set_at(config.json, [int(step) if step.isdigit() else step for step in case[0].split("/")],
           case[1])
    assert validate(config.json, schema, schema)


def test_the_schema_documents_every_option(schema):
    def undocumented(part, at):
        part = resolve(part, schema)
        for name, option in part.get("properties", {}).items():
            if not option.get("description"):
                yield f"{at}/{name}"
            yield from undocumented(option, f"{at}/{name}")
        for inner in (part.get("items"), part.get("additionalProperties")):
            if isinstance(inner, dict):
                yield from undocumented(inner, at + "/*")
    assert list(undocumented(schema, "")) == []


# ---- Serve ----

def test_a_second_instance_on_the_same_store_is_refused(site):
    simulator = site.simulator()
    gateway = site.gateway(site.config(simulator))
    run = run_tollgate("serve", "-c", gateway.config.path)
    assert run.returncode == 1
    assert "tollgate.db" in run.stderr
    assert gateway.post({"types": "unexempt", "ids": ["any-1"]}).status_code == 200
    gateway.stop()
    again = Gateway(gateway.config)
    again.stop()


def test_an_address_in_use_is_refused(site):
    simulator = site.simulator()
    gateway = site.gateway(site.config(simulator))
    other = site.config(simulator)
    other.json["listen"][0]["address"] = gateway.addresses[0]
    run = run_tollgate("serve", "-c", other.write())
    assert run.returncode == 1
    assert gateway.addresses[0] in run.stderr


def test_relative_names_are_relative_to_the_configuration(site):
    """Not to where the program was started."""
    simulator = site.simulator()
    config = site.config(simulator)
    assert pathlib.Path.cwd() != config.folder
    gateway = site.gateway(config)
    assert gateway.post({"types": "unexempt", "ids": ["any-1"]}).status_code == 200
    assert (config.folder / "tollgate.db").exists()


def test_the_store_is_private(site):
    """It holds who did what to which device."""
    gateway = site.gateway(site.config(site.simulator()))
    for name in ("tollgate.db", "tollgate.db-wal"):
        mode = (gateway.config.folder / name).stat().st_mode & 0o777
        assert mode & 0o007 == 0, f"{name} has mode {mode:o}"
