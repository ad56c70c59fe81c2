"""The audit log as auditors read it over HTTP: filters and pages, checkpoints, and proofs that a
stranger with the public key can check."""
import base64
import json
import signal
import sqlite3

import pytest
from kit.bodies import exempt, macs, unexempt
from kit.checks import assert_problem
from kit.evidence import (is_signed, leaf_hash, read_note, read_notes, root_of, root_of_inclusion,
                          roots_of_consistency)
from kit.waiting import wait_for

AUDIT = "/v1/audit"


def make(site, **audit):
    simulator = site.simulator()
    config = site.config(simulator)
    public_key = config.sign_audit(checkpoint_interval_s=1, **audit)
    config.add_team("blue")
    config.add_client("bluebird", "blue")
    config.add_client("siem", roles=["auditor"])
    config.add_client("chief", roles=["operator"])
    return simulator, public_key, site.gateway(config)


def page(gateway, query="", client="siem"):
    answer = gateway.get(AUDIT + query, client=client)
    assert answer.status_code == 200, answer.text
    return answer.json()


def records(gateway, query, **how):
    return page(gateway, query, **how)["records"]


def checkpoint_over(gateway, size):
    """The newest checkpoint, once it covers so many records."""
    def newest():
        answer = gateway.get(AUDIT + "/checkpoint", client="siem")
        note = read_note(answer.text) if answer.ok else None
        return note if note and note.size >= size else None
    return wait_for(f"a checkpoint over {size} records", newest, 10, every_s=0.05)


# ---- Finding ----

def test_filters(site):
    _, _, gateway = make(site)
    first = gateway.post(exempt(24, "any-1", "any-2"))
    gateway.post(unexempt("any-2"), client="bluebird")
    gateway.post(macs("00:0C:29:FF:00:01"), client="bluebird")
    gateway.post({"types": "exempt", "ids": []})
    id = first.headers["Location"].rsplit("/", 1)[1]
    everything = gateway.audit()
    assert records(gateway, "?order=asc&limit=1000") == everything
    assert records(gateway, "?limit=1000") == everything[::-1]
    of_team = [record for record in everything if record.get("team") == "blue"]
    assert len(of_team) == 4
    assert records(gateway, "?team=blue&order=asc") == of_team
    assert records(gateway, "?client=bluebird&order=asc") == of_team
    assert {record["event"] for record in records(gateway, "?device=any-1")} == \
        {"action.accepted", "call.intent", "action.finished"}
    assert len(records(gateway, "?device=any-2")) == 6
    for spelling in ("00:0c:29:ff:00:01", "000C29FF0001", "00-0c-29-ff-00-01"):
        assert len(records(gateway, f"?device={spelling}")) == 3
    for query in (f"?action={id}", f"?action_id={id}"):
        assert [record["event"] for record in records(gateway, query + "&order=asc")] == \
            ["action.accepted", "call.intent", "call.outcome", "action.finished"]
    refused, = records(gateway, "?event=request.refused")
    assert refused["problem"] == "invalid-action"
    assert {record["action"] for record in records(gateway, "?action=unexempt&team=blue")} == \
        {"unexempt"}
    assert records(gateway, "?device=nobody") == []
    assert records(gateway, "?node=elsewhere") == []


def test_times(site):
    _, _, gateway = make(site)
    gateway.wait_audit(event="token.refreshed")
    everything = gateway.audit()
    middle = everything[2]["time"]
    assert records(gateway, f"?from={middle}&order=asc") == \
        [record for record in gateway.audit() if record["time"] >= middle]
    assert records(gateway, f"?to={middle}&order=asc") == \
        [record for record in everything if record["time"] < middle]
    assert records(gateway, "?to=2020-01-01") == []
    assert len(records(gateway, "?from=2020-01-01")) >= len(everything)


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_pages_follow_one_another(site, order):
    _, _, gateway = make(site)
    for number in range(5):
        gateway.post(exempt(1, f"any-{number}"))
    got, cursor = [], ""
    while cursor is not None:
        one = page(gateway, f"?order={order}&limit=3{cursor and '&cursor=' + cursor}&to=2100-01-01")
        assert len(one["records"]) <= 3
        got += one["records"]
        cursor = one["next"]
    seqs = [record["seq"] for record in got]
    assert seqs == sorted(seqs, reverse=order == "desc")
    assert len(set(seqs)) == len(seqs) >= 22


@pytest.mark.parametrize("query", ["?user=x", "?limit=0", "?limit=1001", "?limit=x", "?from=soon",
                                   "?order=up", "?cursor=1", "?cursor=x:y", "?team=a&team=b",
                                   "?device=", "?cursor=-1:gw-test", "?team=%00",
                                   "?device=any-1%00x"])
def test_what_is_not_understood_finds_nothing(site, query):
    _, _, gateway = make(site)
    assert_problem(gateway.get(AUDIT + query, client="siem"), 400, "malformed-request")


@pytest.mark.parametrize("path", ["", "/checkpoint", "/entries/0", "/consistency?from=1"])
def test_only_auditors_and_operators_read_it(site, path):
    _, _, gateway = make(site)
    checkpoint_over(gateway, 1)
    for client in ("siem", "chief"):
        assert gateway.get(AUDIT + path, client=client).status_code == 200
    assert_problem(gateway.get(AUDIT + path), 403, "forbidden")
    assert_problem(gateway.get(AUDIT + path, client=None), 401, "unauthenticated")
    refused, = gateway.audit_of(event="request.refused")
    assert (refused["client"], refused["problem"]) == ("script", "forbidden")


# ---- Evidence ----

def test_a_checkpoint_is_signed_and_has_the_root(site):
    _, public_key, gateway = make(site)
    for number in range(3):
        gateway.post(exempt(1, f"any-{number}"))
    checkpoint = checkpoint_over(gateway, 15)
    assert checkpoint.origin == "tollgate/gw-test"
    assert is_signed(checkpoint, public_key, site.folder)
    stored = stored_records(gateway)[:checkpoint.size]
    assert root_of([leaf_hash(record) for record in stored]) == checkpoint.root


def test_every_entry_is_proven(site):
    _, public_key, gateway = make(site)
    for number in range(5):
        gateway.post(exempt(1, f"any-{number}"))
    size = checkpoint_over(gateway, 20).size
    stored = stored_records(gateway)
    for seq in range(size):
        entry = gateway.get(f"{AUDIT}/entries/{seq}", client="siem").json()
        checkpoint = read_note(entry["checkpoint"])
        record = base64.b64decode(entry["record_base64"])
        assert record == stored[seq]
        assert json.loads(record) == entry["record"]
        assert entry["record"]["seq"] == entry["seq"] == seq
        assert entry["tree_size"] == checkpoint.size
        proof = [base64.b64decode(text) for text in entry["inclusion_proof"]]
        assert root_of_inclusion(seq, checkpoint.size, leaf_hash(record), proof) == checkpoint.root
    assert is_signed(checkpoint, public_key, site.folder)
    assert_problem(gateway.get(f"{AUDIT}/entries/1000000", client="siem"), 404, "not-found")
    assert_problem(gateway.get(f"{AUDIT}/entries/x", client="siem"), 404, "not-found")


def test_checkpoints_are_appended_and_consistent(site):
    _, public_key, gateway = make(site)
    for number in range(3):
        gateway.post(exempt(1, f"any-{number}"))
        gateway.restart()
    gateway.stop()
    notes = read_notes((gateway.config.folder / "checkpoints.txt").read_text())
    assert len(notes) >= 7
    assert notes[-1].size == len(stored_records(gateway)), "the last one covers everything"
    gateway.start()
    newest = checkpoint_over(gateway, notes[-1].size + 1)
    for note in notes:
        assert is_signed(note, public_key, site.folder)
        answer = gateway.get(f"{AUDIT}/consistency?from={note.size}", client="siem").json()
        head = read_note(answer["checkpoint"])
        proof = [base64.b64decode(text) for text in answer["consistency_proof"]]
        assert roots_of_consistency(note.size, head.size, note.root, proof) == \
            (note.root, head.root)
        assert head.size >= newest.size
    assert_problem(gateway.get(f"{AUDIT}/consistency?from=100000", client="siem"), 404, "not-found")
    assert_problem(gateway.get(f"{AUDIT}/consistency", client="siem"), 400, "malformed-request")


def test_no_news_no_checkpoint(site):
    _, _, gateway = make(site)
    size = checkpoint_over(gateway, 3).size
    wait_for("three intervals", Elapsed(3.5))
    assert checkpoint_over(gateway, 1).size == size
    notes = read_notes((gateway.config.folder / "checkpoints.txt").read_text())
    assert len({note.size for note in notes}) == len(notes)


class Elapsed:
    def __init__(self, seconds):
        self.left = int(seconds / 0.1)

    def __call__(self):
        self.left -= 1
        return self.left < 0


def test_a_cut_file_is_mended(site):
    """As after a crash in the middle of an append."""
    _, _, gateway = make(site)
    gateway.stop()
    path = gateway.config.folder / "checkpoints.txt"
    whole = path.read_text()
    path.write_text(whole + whole[:60])
    gateway.start()
    checkpoint_over(gateway, 7)
    gateway.stop()
    text = path.read_text()
    assert text.startswith(whole + whole[:60] + "\n\n")
    assert len(read_notes(text[len(whole) + 62:])) >= 1


def test_checkpoints_go_to_the_command(site):
    """Without a shell: what looks like shell is an argument."""
    shipped = site.folder / "shipped.txt"
    _, public_key, gateway = make(site, checkpoint_command=["tee", "-a", str(shipped),
                                                               f"{site.folder}/$HOME; id"])
    gateway.post(exempt(1, "any-1"))
    checkpoint_over(gateway, 7)
    wait_for("it to be shipped", lambda: shipped.exists() and shipped.read_text().count("tollgate/"))
    gateway.stop()
    assert (site.folder / "$HOME; id").exists()
    note = read_note(shipped.read_text().split("\n\n")[0] + "\n\n" +
                     shipped.read_text().split("\n\n")[1].split("\n")[0] + "\n")
    assert is_signed(note, public_key, site.folder)


@pytest.mark.parametrize("command", [["/no/such/program"], ["false"], ["sleep", "1000"]])
def test_a_command_that_fails_or_hangs_harms_nobody(site, command):
    _, _, gateway = make(site, checkpoint_command=command)
    for number in range(3):
        assert gateway.post(exempt(1, f"any-{number}")).status_code == 200
        checkpoint_over(gateway, 4 * number + 7)


def test_the_command_goes_on_where_children_are_ignored(site):
    """A supervisor that ignores SIGCHLD passes that on: ends of commands are not heard of then."""
    shipped = site.folder / "shipped.txt"
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        _, _, gateway = make(site, checkpoint_command=["tee", "-a", str(shipped)])
    finally:
        signal.signal(signal.SIGCHLD, before)
    for number in range(2):
        gateway.post(exempt(1, f"any-{number}"))
        size = checkpoint_over(gateway, 4 * number + 7).size
        wait_for("it to be shipped", lambda: shipped.exists() and
                 any(int(line) >= size for line in shipped.read_text().split("\n") if line.isdigit()))


def test_a_file_that_cannot_be_written_is_tried_again(site):
    simulator, _, gateway = make(site)
    path = gateway.config.folder / "checkpoints.txt"
    checkpoint_over(gateway, 1)
    wait_for("the file", path.exists)
    path.rename(site.folder / "kept.txt")
    path.mkdir()
    gateway.post(exempt(1, "any-1"))
    size = checkpoint_over(gateway, 7).size
    wait_for("a complaint", lambda: "could not be appended" in gateway.text)
    path.rmdir()
    wait_for("the file", lambda: path.exists() and
             any(note.size == size for note in read_notes(path.read_text())))


def test_without_a_key_nothing_is_signed(site):
    config = site.config(site.simulator())
    config.add_client("siem", roles=["auditor"])
    gateway = site.gateway(config)
    assert_problem(gateway.get(AUDIT + "/checkpoint", client="siem"), 404, "not-found")
    entry = gateway.get(AUDIT + "/entries/0", client="siem").json()
    assert entry["checkpoint"] is None and entry["inclusion_proof"] == []
    assert "the audit log is not signed" in gateway.text


def test_a_signing_key_that_others_can_read_is_refused(site):
    config = site.config(site.simulator())
    config.sign_audit()
    (config.folder / "audit.key").chmod(0o644)
    gateway = site.gateway(config, start=False)
    with pytest.raises(AssertionError):
        gateway.start()
    assert "audit.key" in gateway.text and "chmod 600" in gateway.text


def stored_records(gateway):
    with sqlite3.connect(f"file:{gateway.config.folder}/tollgate.db?mode=ro", uri=True) as database:
        return [row[0] for row in database.execute("SELECT record FROM audit ORDER BY seq")]
