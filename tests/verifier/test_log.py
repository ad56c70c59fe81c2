"""The verifier on logs that are good, and on logs that are damaged in every way."""
import json
import random
import shutil
import subprocess
import sys

import damage
import forge
import note as notes
import pytest
import verify

SEED = 20261124


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A good log of one node: (folder, key, forge)."""
    folder = tmp_path_factory.mktemp("log")
    key = forge.SigningKey(folder / "key")
    sqlite = forge.write_database(folder / "good.db")
    sqlite.execute("BEGIN")
    log = forge.Forge(sqlite, key)
    log.start()
    log.work(150, checkpoint_every=20)
    log.add("node.stopped")
    log.checkpoint()
    sqlite.execute("COMMIT")
    sqlite.close()
    return folder, key, log


@pytest.fixture
def copy(made, tmp_path):
    path = tmp_path / "copy.db"
    shutil.copyfile(made[0] / "good.db", path)
    return path


def check(made, path, saved=True):
    _, key, log = made
    return verify.verify(str(path), [key.verifier()],
                         [("saved", log.saved())] if saved else [])


def test_a_good_log(made):
    report = check(made, made[0] / "good.db")
    assert report.problems == [] and report.remarks == []


def assert_found(report, expected):
    assert report.first is not None, expected
    assert expected.fits(*report.first[:3]), (expected, report.problems[:4])


@pytest.mark.parametrize("number", range(300))
def test_a_changed_byte(made, copy, number):
    sqlite = damage.open_copy(copy)
    expected = damage.change_byte(sqlite, random.Random(SEED + number))
    sqlite.close()
    assert_found(check(made, copy, saved=False), expected)


@pytest.mark.parametrize("table", ["audit", "audit_tree", "audit_checkpoints"])
def test_a_nul_in_a_name(made, copy, table):
    sqlite = damage.open_copy(copy)
    expected = damage.put_nul(sqlite, random.Random(SEED), table)
    sqlite.close()
    assert_found(check(made, copy, saved=False), expected)


@pytest.mark.parametrize("number", range(5))
@pytest.mark.parametrize("change", damage.ROW_DAMAGES, ids=lambda change: change.__name__)
def test_a_damaged_row(made, copy, change, number):
    sqlite = damage.open_copy(copy)
    expected = change(sqlite, random.Random(SEED + number))
    sqlite.close()
    assert_found(check(made, copy), expected)


# ---- History rewritten ----

def signer(made, tmp_path, how):
    """(sign, reason): what somebody without the key makes of checkpoints, or with it."""
    _, key, _ = made
    other = forge.SigningKey(tmp_path / "other")
    return {
        "none": (None, None),
        "unsigned": (lambda origin, text: text + "\n", "checkpoint-malformed"),
        "other-key": (other.sign, "key-unknown"),
        "pretended": (lambda origin, text: other.sign(origin, text,
                                                      notes.key_id(origin, key.public)),
                      "signature-invalid"),
        "insider": (key.sign, None),
    }[how]


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("how", ["none", "unsigned", "other-key", "pretended", "insider"])
def test_rewritten(made, copy, tmp_path, how, number):
    sqlite = damage.open_copy(copy)
    sign, reason = signer(made, tmp_path, how)
    expected = damage.rewrite(sqlite, random.Random(SEED + number), sign, reason)
    sqlite.close()
    report = check(made, copy)
    assert_found(report, expected)
    assert "forked" in {problem.reason for problem in report.problems}
    alone = check(made, copy, saved=False)
    assert {problem.reason for problem in alone.problems} == ({reason} if reason else set())


# ---- Pruned ----

@pytest.fixture
def pruned(made, tmp_path):
    """(path, forge) of a log of which 512 records were dropped."""
    path = tmp_path / "pruned.db"
    sqlite = forge.write_database(path)
    log = forge.Forge(sqlite, made[1])
    log.start()
    log.work(200, checkpoint_every=19)
    log.checkpoint()
    log.prune(512)
    sqlite.close()
    return path, log


def check_pruned(made, pruned, sql="", *values):
    path, log = pruned
    sqlite = damage.open_copy(path)
    sqlite.execute(sql, values)
    sqlite.close()
    return verify.verify(str(path), [made[1].verifier()], [("saved", log.saved())])


def test_pruned_is_proven(made, pruned):
    report = check_pruned(made, pruned)
    assert report.problems == [] and report.remarks == []


def test_pruned_without_the_nodes_of_old_checkpoints(made, pruned):
    report = check_pruned(made, pruned, "DELETE FROM audit_tree WHERE level < 8")
    assert report.problems == []
    assert len(report.remarks) == 2 * sum(size < 512 for size in pruned[1].sizes)


@pytest.mark.parametrize("sql, seqs, reasons", [
    ("UPDATE audit_tree SET hash = zeroblob(32) WHERE level = 8 AND number = 1", {458},
     {"root-mismatch"}),
    ("DELETE FROM audit_tree WHERE level = 8 AND number = 0", {0}, {"tree-altered"}),
    ("DELETE FROM audit WHERE seq = 512", {512}, {"seq-gap"}),
    ("UPDATE audit_pruned SET size = 513", {0}, {"tree-altered"}),
    ("DELETE FROM audit_pruned", {0}, {"seq-gap"}),
    ("UPDATE audit_pruned SET note = 'x'", {512}, {"checkpoint-malformed"}),
    ("DELETE FROM audit", {512}, {"truncated"}),
])
def test_pruned_and_damaged(made, pruned, sql, seqs, reasons):
    report = check_pruned(made, pruned, sql)
    assert report.first.seq in seqs and report.first.reason in reasons, report.problems[:3]


# ---- Saved files ----

def check_files(made, *files):
    return verify.verify(str(made[0] / "good.db"), [made[1].verifier()],
                         [(f"file {number}", data) for number, data in enumerate(files)])


def test_saved_files(made, tmp_path):
    saved = made[2].saved()
    report = check_files(made, saved, saved[:-20], b"")
    assert report.problems == []
    assert len(report.remarks) == 1 and "cut" in report.remarks[0]


def test_saved_by_another(made, tmp_path):
    other = forge.Forge(forge.write_database(tmp_path / "other.db"), made[1], "gw-9")
    other.start()
    other.checkpoint()
    report = check_files(made, other.saved())
    assert [problem[:3] for problem in report.problems] == [("gw-9", 0, "truncated")]
    report = check_files(made, b"some\n1\n" + other.saved().split(b"\n", 2)[2])
    assert [problem.reason for problem in report.problems] == ["checkpoint-malformed"]


# ---- The program ----

def run(*arguments):
    return subprocess.run([sys.executable, verify.__file__, *map(str, arguments)], text=True,
                          capture_output=True, check=False)


def test_the_program(made, copy, tmp_path):
    folder, key, log = made
    saved, vkey = tmp_path / "saved.txt", tmp_path / "vkey"
    saved.write_bytes(log.saved())
    vkey.write_text(notes.format_vkey("tollgate/gw-1", key.public) + "\n", encoding="utf-8")
    good = run("--store", f"sqlite:{folder / 'good.db'}", "--public-key", key.pem,
               "--checkpoint", saved, "--json")
    assert good.returncode == 0, good.stderr
    assert json.loads(good.stdout) == {"ok": True, "first": None, "problems": [], "remarks": []}
    assert run("--store", folder / "good.db", "--public-key", vkey).returncode == 0
    sqlite = damage.open_copy(copy)
    sqlite.execute("DELETE FROM audit WHERE seq = 77")
    sqlite.close()
    bad = run("--store", copy, "--public-key", vkey, "--json")
    assert bad.returncode == 1
    first = json.loads(bad.stdout)["first"]
    assert (first["node"], first["seq"], first["reason"]) == ("gw-1", 77, "seq-gap")
    assert "gw-1 77: seq-gap" in run("--store", copy, "--public-key", vkey).stdout


@pytest.mark.parametrize("arguments", [
    [], ["--store", "/nowhere/x.db"], ["--store", "/nowhere/x.db", "--public-key", __file__],
    ["--store", __file__, "--public-key", "PEM"], ["--store", "nothing.db", "--public-key", "PEM"]])
def test_the_program_without_what_it_needs(made, arguments):
    known = {"PEM": str(made[1].pem)}
    run_ = run(*[known.get(argument, argument) for argument in arguments])
    assert run_.returncode == 2 and run_.stderr and not run_.stdout
