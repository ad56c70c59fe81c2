"""tollgate audit verify, export, show, checkpoint and key new, on the log of a real gateway and on
copies of it that somebody tampered with (abuse case 28)."""
import csv
import hashlib
import io
import json
import os
import pty
import shutil
import sqlite3
import subprocess

import pytest
from kit import TOLLGATE, run_tollgate
from kit.bodies import exempt, macs, unexempt
from kit.waiting import wait_for


class Log:
    """A finished log and the key it was signed with."""

    def __init__(self, config, public_key):
        self.config, self.public_key = config, public_key
        self.path = config.folder / "tollgate.db"
        self.saved = config.folder / "checkpoints.txt"

    def copy(self, folder):
        path = folder / "copy.db"
        shutil.copyfile(self.path, path)
        return path


def verify(path, public_key, *options):
    return run_tollgate("audit", "verify", "--store", f"sqlite:{path}", "--public-key", public_key,
                        *options)


def found(run):
    """The first bad seq and the reason, both as text and as JSON tell it."""
    assert run.returncode == 1, (run.stdout, run.stderr)
    report = json.loads(run.stdout)
    assert report["ok"] is False and report["first"] in report["problems"]
    return report["first"]["seq"], report["first"]["reason"]


def records_of(path):
    with sqlite3.connect(path) as database:
        return [json.loads(record) for record, in
                database.execute("SELECT record FROM audit ORDER BY seq")]


def at_rest(path):
    """All of it in one file, so that it can be copied."""
    database = sqlite3.connect(path)
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()


@pytest.fixture(scope="module")
def log(module_site):
    config = module_site.config(module_site.simulator(), requests=5, window_s=1)
    public_key = config.sign_audit(checkpoint_interval_s=1)
    gateway = module_site.gateway(config)
    for number in range(8):
        gateway.post(exempt(24, f"any-{number}"), headers={"Action-Reason": "=1+1, \"why\""})
        gateway.post(unexempt(f"any-{number}"))
    gateway.restart()
    gateway.post(macs("00:0C:29:FF:00:01"))
    gateway.post({"types": "exempt", "ids": []})
    gateway.stop()
    log = Log(config, public_key)
    at_rest(log.path)
    return log


@pytest.fixture
def copy(log, tmp_path):
    """(path, execute): a copy, and how to do something to it."""
    path = log.copy(tmp_path)
    database = sqlite3.connect(path, isolation_level=None)
    yield path, database.execute
    database.close()


# ---- Good ones ----

def test_a_good_log_holds(log):
    run = verify(log.path, log.public_key, "--checkpoint", log.saved)
    assert run.returncode == 0, (run.stdout, run.stderr)
    assert run.stderr == ""
    assert "everything holds" in run.stdout and "node gw-test" in run.stdout
    assert "account main" in run.stdout
    report = json.loads(verify(log.path, log.public_key, "--json").stdout)
    node, = report["nodes"]
    assert report["ok"] is True and report["first"] is None and report["problems"] == []
    assert node["records"] == node["size"] == node["signed_size"] == len(records_of(log.path))
    assert node["checkpoints"] >= 2
    assert report["accounts"] == [{"account": "main", "calls": 17, "unchecked": 0, "requests": 5,
                                   "window_s": 1}]
    assert run_tollgate("audit", "verify", "-c", log.config.path).returncode == 0


def test_while_the_gateway_runs(site):
    config = site.config(site.simulator())
    public_key = config.sign_audit(checkpoint_interval_s=1)
    gateway = site.gateway(config)
    for number in range(5):
        gateway.post(exempt(1, f"any-{number}"))
        run = verify(config.folder / "tollgate.db", public_key)
        assert run.returncode == 0, (run.stdout, run.stderr)
    wait_for("a checkpoint", lambda: run_tollgate(
        "audit", "checkpoint", "-c", config.path).returncode == 0)


def test_after_a_crash(site):
    simulator = site.simulator()
    config = site.config(simulator)
    public_key = config.sign_audit(checkpoint_interval_s=1)
    gateway = site.gateway(config)
    gateway.post(exempt(1, "any-1"))
    simulator.order({"do": "hang"})
    gateway.submit(exempt(1, "any-2"))
    wait_for("the call", lambda: len(gateway.audit_of(event="call.intent")) == 2)
    gateway.kill()
    gateway.start()
    gateway.wait_audit(event="call.outcome", outcome="unknown")
    gateway.stop()
    run = verify(config.folder / "tollgate.db", public_key, "--checkpoint",
                 config.folder / "checkpoints.txt")
    assert run.returncode == 0, (run.stdout, run.stderr)


def test_an_unsigned_log_holds_with_a_warning(site):
    config = site.config(site.simulator())
    gateway = site.gateway(config)
    gateway.post(exempt(1, "any-1"))
    gateway.stop()
    run = run_tollgate("audit", "verify", "-c", config.path)
    assert run.returncode == 0
    assert "not signed" in run.stderr


# ---- Tampered ones: case 28 ----

def test_a_changed_record(log, copy):
    path, execute = copy
    seq = next(record["seq"] for record in records_of(path) if record.get("devices") == ["any-3"])
    execute("UPDATE audit SET record = CAST(replace(CAST(record AS TEXT), 'any-3', 'any-4') AS"
            " BLOB) WHERE seq = ?", (seq,))
    assert found(verify(path, log.public_key, "--json")) == (seq, "record-altered")
    run = verify(path, log.public_key)
    assert run.returncode == 1
    assert f"gw-test {seq}: record-altered" in run.stdout.splitlines()[0]


def test_a_changed_record_and_its_leaf(log, copy):
    path, execute = copy
    record, = execute("SELECT record FROM audit WHERE seq = 10").fetchone()
    forged = record[:-1] + b',"x":1}'
    execute("UPDATE audit SET record = ?, leaf = ? WHERE seq = 10",
            (forged, hashlib.sha256(b"\0" + forged).digest()))
    seq, reason = found(verify(path, log.public_key, "--json"))
    assert seq <= 10 and reason == "root-mismatch"


TAMPERINGS = {
    "leaf": ("UPDATE audit SET leaf = zeroblob(32) WHERE seq = 20", 20, "leaf-altered"),
    "delete": ("DELETE FROM audit WHERE seq = 20", 20, "seq-gap"),
    "move": ("UPDATE audit SET seq = 1000000 WHERE seq = 20", 20, "seq-gap"),
    "rename": ("UPDATE audit SET node = 'gw-tesu' WHERE seq = 20", 20, "seq-gap"),
    "nameless": ("INSERT INTO audit SELECT '', seq, record, leaf FROM audit WHERE seq = 20", 20,
                 "record-misplaced"),
    "far away": ("INSERT INTO audit SELECT node, 9223372036854775807, record, leaf FROM audit"
                 " WHERE seq = 20", 2**63 - 1, "seq-duplicate"),
    "swap": ("""UPDATE audit SET seq = -1 WHERE seq = 20;
                UPDATE audit SET seq = 20 WHERE seq = 40;
                UPDATE audit SET seq = 40 WHERE seq = -1""", 20, "record-misplaced"),
    "insert": ("""UPDATE audit SET seq = -seq - 1 WHERE seq >= 20;
                  UPDATE audit SET seq = -seq WHERE seq < 0;
                  INSERT INTO audit (node, seq, record, leaf)
                      SELECT node, 20, record, leaf FROM audit WHERE seq = 5""",
               20, "seq-duplicate"),
    "double": ("""UPDATE audit SET seq = -seq - 1 WHERE seq > 20;
                  UPDATE audit SET seq = -seq WHERE seq < 0;
                  INSERT INTO audit (node, seq, record, leaf)
                      SELECT node, 21, record, leaf FROM audit WHERE seq = 20""",
               21, "seq-duplicate"),
    "replace": ("""DELETE FROM audit WHERE seq = 20;
                   INSERT INTO audit (node, seq, record, leaf)
                       SELECT node, 20, record, leaf FROM audit WHERE seq = 30""",
                20, "seq-duplicate"),
    "tail": ("DELETE FROM audit WHERE seq >= 30", 30, "truncated"),
    "everything": ("DELETE FROM audit; DELETE FROM audit_tree; DELETE FROM audit_checkpoints", 0,
                   "no-records"),
}


@pytest.mark.parametrize("how", TAMPERINGS)
def test_tampering_is_found(log, tmp_path, how):
    path = log.copy(tmp_path)
    script, seq, reason = TAMPERINGS[how]
    database = sqlite3.connect(path)
    database.executescript(script)
    database.close()
    assert found(verify(path, log.public_key, "--json")) == (seq, reason)


def test_a_tail_that_only_a_saved_checkpoint_knows(log, copy):
    path, execute = copy
    execute("DELETE FROM audit WHERE seq >= 30")
    execute("DELETE FROM audit_checkpoints WHERE size > 30")
    assert verify(path, log.public_key).returncode == 0
    run = verify(path, log.public_key, "--checkpoint", log.saved, "--json")
    assert found(run) == (30, "truncated")


@pytest.mark.parametrize("change, reasons", [
    ("note = replace(note, 'tollgate/gw-test' || char(10), 'tollgate/gw-best' || char(10))",
     {"checkpoint-malformed"}),
    ("note = note || 'x'", {"checkpoint-malformed"}),
    ("size = size - 1", {"checkpoint-malformed"}),
    ("node = 'gw-tesu'", {"checkpoint-malformed"}),
])
def test_a_changed_checkpoint(log, copy, change, reasons):
    path, execute = copy
    size, = execute("SELECT min(size) FROM audit_checkpoints").fetchone()
    execute(f"UPDATE audit_checkpoints SET {change} WHERE size = ?", (size,))
    seq, reason = found(verify(path, log.public_key, "--json"))
    assert (seq, reason) == (size, *reasons) or (change.startswith("note = note") and seq <= size)


def test_another_key(log, tmp_path):
    made = run_tollgate("audit", "key", "new", "--node", "gw-test", tmp_path / "other.key")
    other = tmp_path / "other.pub"
    other.write_text(made.stdout, encoding="utf-8")
    seq, reason = found(verify(log.path, other, "--json"))
    assert reason == "key-unknown"
    assert "--public-key" in verify(log.path, other).stdout
    assert verify(log.path, other, "--public-key", log.public_key).returncode == 0


# ---- The command ----

@pytest.mark.parametrize("arguments", [
    [], ["-c"], ["--store", "sqlite:x", "-c", "y"], ["--nonsense"], ["-c", "x", "more"]])
def test_wrong_usage(arguments):
    run = run_tollgate("audit", "verify", *arguments)
    assert run.returncode == 2 and run.stdout == "" and "usage:" in run.stderr


@pytest.mark.parametrize("arguments", [
    ["--store", "sqlite:/nonexistent/x.db"], ["--store", "what:x"], ["-c", "/nonexistent"],
    ["--store", "sqlite:x", "--public-key", "/nonexistent"],
    ["--store", "sqlite:x", "--checkpoint", "/nonexistent"]])
def test_what_cannot_be_read(arguments):
    run = run_tollgate("audit", "verify", *arguments)
    assert run.returncode == 1 and run.stdout == "" and run.stderr != ""


def test_what_is_no_database(tmp_path):
    (tmp_path / "x.db").write_bytes(os.urandom(8192))
    run = run_tollgate("audit", "verify", "--store", f"sqlite:{tmp_path}/x.db")
    assert run.returncode == 1 and run.stdout == ""


def test_progress_is_for_terminals_only(log):
    """A small log is read before anything is shown, but for the line that is cleared."""
    leader, follower = pty.openpty()
    with subprocess.Popen([TOLLGATE, "audit", "verify", "-c", log.config.path],
                          stdout=subprocess.PIPE, stderr=follower) as process:
        process.stdout.read()
    os.close(follower)
    assert process.returncode == 0
    assert b"\x1b[K" in os.read(leader, 1000)
    os.close(leader)


# ---- audit key new ----

def test_key_new(tmp_path):
    path = tmp_path / "audit.key"
    run = run_tollgate("audit", "key", "new", "--node", "gw-1", path)
    assert run.returncode == 0
    assert path.stat().st_mode & 0o777 == 0o600
    assert run.stdout.startswith("-----BEGIN PUBLIC KEY-----\n")
    assert run.stdout.splitlines()[-1].startswith("tollgate/gw-1+")
    assert "PRIVATE" not in run.stdout + run.stderr
    public = subprocess.run(["openssl", "pkey", "-in", path, "-pubout"], capture_output=True,
                            text=True, check=True).stdout
    assert run.stdout.startswith(public)
    again = run_tollgate("audit", "key", "new", "--node", "gw-1", path)
    assert again.returncode == 1 and again.stdout == ""


def test_key_new_for_a_configuration(site):
    config = site.config(site.simulator())
    config.json["audit"] = {"signing_key_file": "keys.pem"}
    run = run_tollgate("audit", "key", "new", "-c", config.write())
    assert run.returncode == 0 and "tollgate/gw-test+" in run.stdout
    assert (config.folder / "keys.pem").exists()
    gateway = site.gateway(config)
    gateway.stop()
    public = config.folder / "audit.pub"
    public.write_text(run.stdout, encoding="utf-8")
    assert verify(config.folder / "tollgate.db", public).returncode == 0
    assert run_tollgate("audit", "key", "new").returncode == 2


# ---- audit checkpoint ----

def test_checkpoint(log):
    run = run_tollgate("audit", "checkpoint", "-c", log.config.path)
    assert run.returncode == 0
    assert run.stdout.splitlines()[:2] == ["tollgate/gw-test", str(len(records_of(log.path)))]
    assert run.stdout in log.saved.read_text(encoding="utf-8")
    other = run_tollgate("audit", "checkpoint", "-c", log.config.path, "--node", "other")
    assert other.returncode == 1 and other.stdout == ""


# ---- audit export ----

def export(log, *options):
    run = run_tollgate("audit", "export", "-c", log.config.path, *options)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_export_filters(log):
    everything = records_of(log.path)

    def exported(*options):
        return [json.loads(line) for line in export(log, *options).splitlines()]

    assert exported() == exported("--from", "2020-01-01") == exported("--to", "2100-01-01") == \
        exported("--node", "gw-test") == everything
    assert exported("--event", "call.intent") == \
        [record for record in everything if record["event"] == "call.intent"]
    assert {record["action"] for record in exported("--action", "unexempt")} == {"unexempt"}
    assert len(exported("--device", "00-0c-29-ff-00-01")) == 3
    assert len(exported("--client", "script", "--event", "request.refused")) == 1
    assert exported("--team", "nobody") == exported("--to", "2020-01-01") == []
    middle = everything[20]["time"]
    assert exported("--from", middle) == \
        [record for record in everything if record["time"] >= middle]
    id = next(record["action_id"] for record in everything if "action_id" in record)
    assert [record["event"] for record in exported("--action-id", id)] == \
        ["action.accepted", "call.intent", "call.outcome", "action.finished"]


def test_export_as_csv(log):
    text = export(log, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    records = records_of(log.path)
    assert text.count("\n") == len(records) + 1
    assert [(row["node"], int(row["seq"]), row["event"]) for row in rows] == \
        [(record["node"], record["seq"], record["event"]) for record in records]
    for row, record in zip(rows, records):
        if record["event"] == "action.accepted":
            assert row["devices"] == " ".join(record["devices"])
        if "reason" in record:
            assert row["reason"] == "'" + record["reason"]  # no formula
        if "results" in record:
            assert json.loads(row["results"]) == record["results"]


@pytest.mark.parametrize("arguments", [["--from", "soon"], ["--to", "2026-13-01"],
                                       ["--format", "xml"], ["--format"], ["more"], ["--user", "x"]])
def test_export_wrong_usage(log, arguments):
    run = run_tollgate("audit", "export", "-c", log.config.path, *arguments)
    assert run.returncode == 2 and run.stdout == ""


# ---- audit show ----

def test_show_an_action(log):
    accepted = next(record for record in records_of(log.path)
                    if record["event"] == "action.accepted")
    for arguments in ([accepted["action_id"]], ["--action-id", accepted["action_id"]]):
        run = run_tollgate("audit", "show", "-c", log.config.path, *arguments)
        assert run.returncode == 0, run.stderr
        lines = run.stdout.splitlines()
        assert len(lines) == 4
        for line, event in zip(lines, ("action.accepted", "call.intent", "call.outcome",
                                       "action.finished")):
            assert event in line
        assert lines[0].startswith(accepted["time"])
        assert "any-0" in lines[0] and "script" in lines[0] and "ops/0" in lines[0]
    run = run_tollgate("audit", "show", "-c", log.config.path, "--json", accepted["action_id"])
    assert json.loads(run.stdout)[0] == accepted


def test_show_a_device(log):
    run = run_tollgate("audit", "show", "-c", log.config.path, "--device", "000C29FF0001")
    assert run.returncode == 0 and len(run.stdout.splitlines()) == 3
    nothing = run_tollgate("audit", "show", "-c", log.config.path, "--device", "nobody")
    assert nothing.returncode == 1 and nothing.stdout == ""
    assert run_tollgate("audit", "show", "-c", log.config.path).returncode == 2
    assert run_tollgate("audit", "show", "-c", log.config.path, "x", "--device", "y"
                        ).returncode == 2


def test_nothing_that_is_shown_can_harm_a_terminal(site):
    config = site.config(site.simulator())
    gateway = site.gateway(config)
    for text in ("\x9b31mred", "a\x7fb", "a\u0085b"):
        gateway.post(exempt(1, "any-1"), headers={"Action-Reason": text.encode()})
        gateway.post({"types": "assign_to_group", "ids": ["any-1"], "params": {"group_id": text}})
    gateway.stop()
    shown = "".join(run_tollgate("audit", *arguments, "-c", config.path).stdout for arguments in (
        ["show", "--device", "any-1"], ["export", "--format", "csv"], ["export"], ["verify"]))
    assert {character for character in shown
            if character not in "\n\r" and (ord(character) < 32 or 127 <= ord(character) < 160)} \
        == set()
