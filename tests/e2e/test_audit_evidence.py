"""The audit log as evidence: a log that a gateway wrote holds for both verifiers, tollgate's own
and the one in tests/verifier, and whatever is done to a copy of it both find, at the same seq."""
import json
import os
import pathlib
import random
import shutil
import sqlite3
import subprocess
import sys
from typing import NamedTuple

import pytest
from kit import SANITIZED, run_tollgate
from kit.bodies import exempt, macs, move, unexempt
from kit.load import submit_all
from kit.waiting import wait_for

VERIFIER = pathlib.Path(__file__).parents[1] / "verifier"
sys.path.insert(0, str(VERIFIER))

import damage  # noqa: E402
import forge  # noqa: E402
import note as notes  # noqa: E402
import stories  # noqa: E402
import verify  # noqa: E402

pytestmark = pytest.mark.slow

SOAK = os.environ.get("TOLLGATE_SOAK") == "1"
BYTES = 10000 if SOAK else 50 if SANITIZED else 200  # damages of one byte each
ROWS = 100 if SOAK else 1 if SANITIZED else 5  # of each other kind
SEED = int(os.environ.get("TOLLGATE_SEED", 20261124))
BUDGET = 40  # calls a second: so few that it has to wait for slots
RECORDS = 560  # more than two blocks of 256, so that the tree has inner nodes that are stored


class Evidence(NamedTuple):
    """What somebody has who wants to know: a database, a public key, saved checkpoints."""
    folder: pathlib.Path
    store: pathlib.Path
    key: forge.SigningKey
    saved: pathlib.Path

    def copy(self, path):
        shutil.copyfile(self.store, path)
        return self._replace(store=path)

    def second(self, saved=True):
        """What the second verifier finds."""
        files = [(self.saved.name, self.saved.read_bytes())] if saved else []
        return verify.verify(str(self.store), [self.key.verifier()], files)

    def first(self, saved=True):
        """What tollgate finds: its exit and its JSON."""
        run = run_tollgate("audit", "verify", "--store", f"sqlite:{self.store}", "--public-key",
                           self.key.pem, *(["--checkpoint", self.saved] if saved else []), "--json")
        try:
            return run.returncode, json.loads(run.stdout)
        except ValueError:
            return run.returncode, {"ok": None, "first": None, "problems": run.stderr}


# ---- A good log ----

def signing_key(config):
    """A key for the gateway's checkpoints, where its configuration says."""
    key = forge.SigningKey(config.folder / "signing")
    key.private.chmod(0o600)
    config.json["audit"] = {"signing_key_file": str(key.private), "checkpoint_interval_s": 1,
                            "checkpoint_file": "checkpoints.txt"}
    return key


def checkpoints(config):
    path = config.folder / "checkpoints.txt"
    return notes.split_notes(path.read_bytes()) if path.exists() else []


def work(simulator, gateway, number):
    """A bit of everything that leaves records."""
    assert gateway.post(exempt(24, f"any-{number}")).status_code == 200
    assert gateway.post(macs("00:0C:29:01:02:03")).status_code == 200
    gateway.post({"types": "exempt", "ids": []})
    gateway.request("POST", "/v1/actions", None)
    simulator.order({"do": "status", "status": 500}, {"do": "close-after"}, {"do": "garbage"})
    for fault in range(3):
        gateway.post(unexempt(f"any-fault-{number}-{fault}"))
    bodies = [move(f"group-{number}-{at % 7}", f"any-{number}-{at}") for at in range(20)]
    for action in submit_all(gateway, bodies):
        gateway.wait_final(action["id"])


@pytest.fixture(scope="module")
def evidence(module_site, tmp_path_factory):
    """Of a gateway that worked, was stopped, killed and started again."""
    folder = tmp_path_factory.mktemp("evidence")
    simulator = module_site.simulator()
    config = module_site.config(simulator, requests=BUDGET)
    key = signing_key(config)
    gateway = module_site.gateway(config)
    number = 0
    while len(gateway.audit()) < RECORDS:
        work(simulator, gateway, number)
        if number % 3 == 2:
            gateway.kill()
            gateway.start()
        else:
            gateway.restart()
        number += 1
    gateway.stop()
    with sqlite3.connect(config.folder / "tollgate.db") as sqlite:
        sqlite.execute("VACUUM INTO ?", (str(folder / "good.db"),))
    shutil.copyfile(config.folder / "checkpoints.txt", folder / "saved.txt")
    return Evidence(folder, folder / "good.db", key, folder / "saved.txt")


def test_it_holds(evidence):
    sqlite = damage.open_copy(evidence.store)
    assert damage.size_of(sqlite) >= RECORDS
    assert len(damage.rows_of(sqlite, "audit_tree")) == damage.size_of(sqlite) // 256
    assert len(damage.rows_of(sqlite, "audit_checkpoints")) >= 4
    sqlite.close()
    report = evidence.second()
    assert report.problems == [] and report.remarks == []
    code, found = evidence.first()
    assert code == 0 and found["ok"] is True and found["problems"] == [], found


def test_calls_say_when(evidence):
    """Else there would be no telling whether the budget held."""
    sqlite = damage.open_copy(evidence.store)
    records = [json.loads(record) for record, in sqlite.execute("SELECT record FROM audit")]
    sqlite.close()
    calls = [record for record in records if record["event"] in ("call.intent", "call.outcome")]
    assert len(calls) > 3 * BUDGET
    for record in calls:
        clock = record["detail"].get("clock", {})
        assert record["detail"].get("nothing_sent") or (clock["boot_id"] and clock["ms"] > 0)
    assert all(record["detail"]["accounts"] == {"main": {"requests": BUDGET, "window_s": 1}}
               for record in records if record["event"] == "config.loaded")


def test_the_second_as_a_program(evidence):
    run = subprocess.run(
        [sys.executable, VERIFIER / "verify.py", "--store", evidence.store, "--public-key",
         evidence.key.pem, "--checkpoint", evidence.saved, "--json"],
        capture_output=True, check=False)
    assert run.returncode == 0 and json.loads(run.stdout)["ok"] is True, run.stderr


def test_a_running_gateway_is_verified(module_site):
    """While it writes; nothing of that is a problem."""
    config = module_site.config(module_site.simulator())
    key = signing_key(config)
    gateway = module_site.gateway(config)
    running = Evidence(config.folder, config.folder / "tollgate.db", key,
                       config.folder / "checkpoints.txt")
    wait_for("a checkpoint", lambda: checkpoints(config))
    for number in range(3):
        submit_all(gateway, [exempt(1, f"any-{number}-{at}") for at in range(50)])
        assert running.second(saved=False).problems == []
        code, found = running.first(saved=False)
        assert code == 0, found


def test_a_budget_that_the_operator_changed(module_site):
    """To a longer window: what was free before is nothing that the gateway did wrong."""
    config = module_site.config(module_site.simulator(), requests=10)
    key = signing_key(config)
    gateway = module_site.gateway(config)
    for count in (5, 1):
        wait_for("all slots to be free", lambda: gateway.get("/v1/budget").json()["free"] == 10)
        for number in range(count):
            assert gateway.post(exempt(24, f"any-{count}-{number}")).status_code == 200
    config.account["budget"] = {"requests": 6, "window_s": 60}
    gateway.restart()
    for number in range(5):
        assert gateway.post(exempt(24, f"any-again-{number}")).status_code == 200
    gateway.stop()
    evidence = Evidence(config.folder, config.folder / "tollgate.db", key,
                        config.folder / "checkpoints.txt")
    assert evidence.second().problems == []
    code, found = evidence.first()
    assert code == 0, found["problems"]


# ---- A damaged one ----

def same_place(first, second):
    """Names of nodes that are no text any more are not compared: each prints them in its way."""
    return first["seq"] == second.seq and (
        first["node"] == second.node or not second.node.isascii() or
        not second.node.isprintable())


def disagreement(evidence, expected, saved):
    """What is wrong with what the verifiers found; None if nothing is."""
    second = evidence.second(saved).first
    code, found = evidence.first(saved)
    first = found["first"] or {}
    if second is None or not expected.fits(second.node, second.seq, second.reason):
        return f"the second found {second}; expected {expected}"
    if code != 1 or found["ok"] or not first or first["reason"] not in expected.reasons or \
            not same_place(first, second):
        return f"tollgate found {first or found}, the second {second}; expected {expected}"
    return None


def run_damages(evidence, folder, name, count, change, saved=True):
    """Does it so often, each time to a new copy; fails with what was not found as it should be."""
    wrong = []
    for number in range(count):
        copy = evidence.copy(folder / "copy.db")
        sqlite = damage.open_copy(copy.store)
        expected = change(sqlite, random.Random(f"{SEED} {name} {number}"))
        sqlite.close()
        problem = disagreement(copy, expected, saved)
        if problem:
            wrong.append(f"{name} {number}: {problem}")
    assert not wrong, f"{len(wrong)} of {count}:\n" + "\n".join(wrong[:10])


def test_any_byte_is_found(evidence, tmp_path):
    run_damages(evidence, tmp_path, "byte", BYTES, damage.change_byte, saved=False)


@pytest.mark.parametrize("table", ["audit", "audit_tree", "audit_checkpoints"])
def test_a_nul_in_a_name_is_found(evidence, tmp_path, table):
    """Where a C string would end."""
    def change(sqlite, random):
        return damage.put_nul(sqlite, random, table)
    run_damages(evidence, tmp_path, "nul in " + table, ROWS, change, saved=False)


@pytest.mark.parametrize("change", damage.ROW_DAMAGES, ids=lambda change: change.__name__)
def test_any_row_is_found(evidence, tmp_path, change):
    run_damages(evidence, tmp_path, change.__name__, ROWS, change)


@pytest.mark.parametrize("how", ["none", "unsigned", "other-key", "pretended", "insider"])
def test_history_rewritten_is_found(evidence, tmp_path, how):
    """Consistently: only checkpoints that somebody saved, or the key, tell."""
    key, other = evidence.key, forge.SigningKey(tmp_path / "other")

    def pretend(origin, text):
        return other.sign(origin, text, notes.key_id(origin, key.public))

    sign, reason = {
        "none": (None, None),
        "unsigned": (lambda origin, text: text + "\n", "checkpoint-malformed"),
        "other-key": (other.sign, "key-unknown"),
        "pretended": (pretend, "signature-invalid"),
        "insider": (key.sign, None),
    }[how]
    run_damages(evidence, tmp_path, "rewrite-" + how, ROWS,
                lambda sqlite, random: damage.rewrite(sqlite, random, sign, reason))


# ---- A log that no gateway wrote ----

def emptied(evidence, path):
    """A database of the gateway's own making, with nothing in its audit log."""
    copy = evidence.copy(path)
    sqlite = damage.open_copy(copy.store)
    for table, in sqlite.execute("SELECT name FROM sqlite_schema WHERE type = 'table'"
                                 " AND name GLOB 'audit*'").fetchall():
        sqlite.execute(f"DELETE FROM {table}")
    return copy, sqlite


@pytest.mark.parametrize("story", stories.STORIES, ids=lambda story: story.__name__)
def test_what_records_tell(evidence, tmp_path, story):
    copy, sqlite = emptied(evidence, tmp_path / "story.db")
    expected = story(sqlite, evidence.key)
    sqlite.close()
    assert [problem[:3] for problem in copy.second(saved=False).problems] == expected
    code, found = copy.first(saved=False)
    assert [(problem["node"], problem["seq"], problem["reason"])
            for problem in found["problems"]] == expected
    assert code == (1 if expected else 0)
