"""What hangs on the wall clock: it may be wrong and jump (case 29), and old records are dropped by it."""
import base64
import glob

import pytest
from kit.bodies import exempt, unexempt
from kit.checks import assert_contiguous
from kit.evidence import read_notes, roots_of_consistency
from kit.gateway import SUBMIT
from kit.load import blast, request_bytes
from kit.process import SANITIZED, run_tollgate
from kit.waiting import wait_for

AUDIT = "/v1/audit"
LIBRARY = next(iter(glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")), None)
pytestmark = pytest.mark.skipif(SANITIZED, reason="a sanitizer wants to be the first library")


class WallClock:
    """What gateways that are started from now on take for the time of day; monotonic clocks stay."""

    def __init__(self, monkeypatch, folder):
        assert LIBRARY, "Debian's package faketime is missing"
        self.monkeypatch = monkeypatch
        self.file = folder / "wall-clock"
        self.set("+0")
        for name, value in {"LD_PRELOAD": LIBRARY, "FAKETIME_TIMESTAMP_FILE": str(self.file),
                            "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                            "FAKETIME_DONT_RESET": "1"}.items():
            monkeypatch.setenv(name, value)

    def set(self, offset):
        """Such as -40d or +1h. In one step: a half-written offset would be another time."""
        new = self.file.with_suffix(".new")
        new.write_text(offset + "\n")
        new.rename(self.file)

    def release(self):
        self.monkeypatch.undo()


@pytest.fixture
def wall_clock(monkeypatch, tmp_path):
    return WallClock(monkeypatch, tmp_path)


def verify(gateway, *options):
    run = run_tollgate("audit", "verify", "-c", gateway.config.path, *options)
    assert run.returncode == 0, (run.stdout, run.stderr)
    return run.stdout


def test_jumps_of_the_wall_clock(site, wall_clock):
    """Case 29: an hour either way, under load and over a restart."""
    requests, window_s = 3, 1
    simulator = site.simulator(limit=requests, window_s=window_s, latency_ms="5-30")
    config = site.config(simulator, requests=requests, window_s=window_s, max_devices_per_call=1)
    config.sign_audit(checkpoint_interval_s=1)
    gateway = site.gateway(config)
    ids = []
    for number, offset in enumerate(("+1h", "-1h", "+0", "+1h", "-1h")):
        ids += [gateway.submit(unexempt(f"any-{number}-{at}"))["id"] for at in range(requests)]
        wait_for("calls", lambda number=number: len(simulator.calls()) > number * requests)
        wall_clock.set(offset)
        if number == 3:
            gateway.restart()
    for id in ids:
        assert gateway.wait_final(id)["state"] == "completed"
    gateway.stop()
    assert simulator.stats()["refused_429"] == 0
    assert [call["ids"][0] for call in simulator.calls()] == \
        [f"any-{number}-{at}" for number in range(5) for at in range(requests)]
    records = gateway.audit()
    assert_contiguous(records)
    times = [record["time"] for record in records]
    assert times != sorted(times), "the clock did not jump"
    verify(gateway)


def fill(gateway, count):
    """So many records, one for each refusal."""
    answers = blast(gateway, [request_bytes(gateway, SUBMIT, {"types": "none"})] * count, 16)
    assert {answer.status_code for answer in answers} == {422}


def first_seq(gateway):
    page = gateway.get(f"{AUDIT}?order=asc&limit=1", client="siem").json()
    return page["records"][0]["seq"] if page["records"] else None


def test_old_records_are_dropped(site, wall_clock):
    """Behind a checkpoint, and proofs about them stay."""
    wall_clock.set("-40d")
    config = site.config(site.simulator())
    config.add_client("siem", roles=["auditor"])
    config.sign_audit(checkpoint_interval_s=1, retain_days=30)
    gateway = site.gateway(config)
    fill(gateway, 700)
    gateway.restart()
    fill(gateway, 2000)
    gateway.stop()
    kept = (config.folder / "checkpoints.txt").read_text()
    wall_clock.release()
    gateway.start()
    assert gateway.post(exempt(1, "any-1")).status_code == 200
    wait_for("old records to go", lambda: first_seq(gateway) == 2048, 20, every_s=0.1)
    for note in read_notes(kept):
        answer = gateway.get(f"{AUDIT}/consistency?from={note.size}", client="siem").json()
        head = read_notes(answer["checkpoint"] + "\n")[0]
        proof = [base64.b64decode(text) for text in answer["consistency_proof"]]
        assert roots_of_consistency(note.size, head.size, note.root, proof) == \
            (note.root, head.root)
    assert gateway.get(f"{AUDIT}/entries/2047", client="siem").status_code == 404
    assert gateway.get(f"{AUDIT}/entries/2048", client="siem").status_code == 200
    (config.folder / "kept.txt").write_text(kept)
    assert "2048" in verify(gateway, "--checkpoint", config.folder / "kept.txt")
    gateway.restart()
    verify(gateway, "--checkpoint", config.folder / "kept.txt")


def test_records_that_a_stream_has_not_sent_stay(site, wall_clock):
    wall_clock.set("-40d")
    config = site.config(site.simulator())
    config.add_client("siem", roles=["auditor"])
    nobody = {"name": "lost", "type": "syslog", "address": "tcp://127.0.0.1:1"}
    config.sign_audit(checkpoint_interval_s=1, retain_days=30, streams=[nobody])
    gateway = site.gateway(config)
    fill(gateway, 1500)
    gateway.stop()
    wall_clock.release()
    gateway.start()
    gateway.post(exempt(1, "any-1"))
    wait_for("a checkpoint", lambda: (config.folder / "checkpoints.txt").read_text().count("tollgate"))
    assert first_seq(gateway) == 0
    config.json["audit"]["streams"] = []
    gateway.restart()
    wait_for("old records to go", lambda: first_seq(gateway) == 1024, 20, every_s=0.1)
