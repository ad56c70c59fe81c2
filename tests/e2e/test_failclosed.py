"""Case 26: what cannot be recorded is not done. Each trouble of the disk or the database is real: 503,
nothing sent upstream, not ready; and when it is over the gateway goes on by itself."""
import os
import shutil
import sqlite3
import subprocess
import time
from contextlib import contextmanager

import pytest
from kit.bodies import unexempt
from kit.checks import assert_contiguous, assert_problem
from kit.gateway import SUBMIT
from kit.trace import injected
from kit.waiting import wait_for

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="mounting and tracing take root")
COMMITS = ("fdatasync", "fsync")


@contextmanager
def full_disk(gateway):
    """Nothing fits on the small file system of the store any more."""
    ballast = gateway.store_folder / "ballast"
    with open(ballast, "wb", buffering=0) as file:
        try:
            while file.write(b"x" * 4096):
                pass
        except OSError:
            pass
    yield
    ballast.unlink()


@contextmanager
def locked(gateway):
    """Another program holds the database."""
    other = sqlite3.connect(gateway.store_folder / "tollgate.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield
    other.execute("ROLLBACK")
    other.close()


@contextmanager
def gone(gateway):
    """The database's file was moved away."""
    path = gateway.store_folder / "tollgate.db"
    path.rename(gateway.store_folder / "elsewhere.db")
    yield
    (gateway.store_folder / "elsewhere.db").rename(path)


TROUBLES = {
    "disk full": full_disk,
    "sync fails": lambda gateway: injected(gateway, [f"{call}:error=EIO" for call in COMMITS]),
    "write fails": lambda gateway: injected(gateway, ["pwrite64:error=EIO"]),
    "read-only": lambda gateway: injected(gateway, ["pwrite64:error=EROFS",
                                                    "ftruncate:error=EROFS"]),
    "locked": locked,
    "gone": gone,
}


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=0700", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.fixture
def pair(site, small_disk):
    simulator = site.simulator()
    config = site.config(simulator)
    config.json["store"] = f"sqlite:{small_disk}/tollgate.db"
    config.sign_audit(checkpoint_interval_s=1)
    gateway = site.gateway(config)
    gateway.store_folder = small_disk
    yield simulator, gateway
    gateway.stop()


@ROOT
@pytest.mark.parametrize("trouble", TROUBLES)
def test_nothing_is_done_that_cannot_be_recorded(pair, trouble):
    simulator, gateway = pair
    assert gateway.post(unexempt("any-before")).status_code == 200
    with TROUBLES[trouble](gateway):
        for number in range(3):
            for path in (None, SUBMIT):
                answer = gateway.post(unexempt(f"any-during-{number}"),
                                      **({"path": path} if path else {}))
                assert_problem(answer, 503, "unavailable")
                assert int(answer.headers["Retry-After"]) >= 1
        # A refusal that cannot be recorded is none either.
        assert_problem(gateway.post({"types": "unexempt", "ids": []}), 503, "unavailable")
        assert gateway.admin("/readyz").status_code == 503
        assert gateway.admin("/livez").status_code == 200
        wait_for("a complaint", lambda: gateway.logged(
            "the store cannot be written: nothing is sent until it can"))
    wait_for("it to be ready again", lambda: gateway.admin("/readyz").status_code == 200, 10)
    assert gateway.post(unexempt("any-after")).status_code == 200
    assert [id for call in simulator.calls() for id in call["ids"]] == ["any-before", "any-after"]
    assert gateway.metric("tollgate_audit_append_failures_total") > 0
    wait_for("a word about it", lambda: gateway.logged("the store can be written again"))
    gateway.stop()
    records = gateway.audit()
    assert_contiguous(records)
    devices = [record["devices"] for record in records if record["event"] == "action.accepted"]
    assert devices == [["any-before"], ["any-after"]]


@ROOT
def test_what_was_queued_goes_when_it_can_be_recorded(pair):
    """An intent that cannot be written is no reason to send."""
    simulator, gateway = pair
    simulator.order({"do": "delay", "ms": 1500})
    first = gateway.submit(unexempt("any-1"))
    wait_for("the call", lambda: gateway.action(first["id"])["state"] == "dispatched")
    second = gateway.submit({"types": "exempt", "ids": ["any-1"], "params": {"exempt_time": 1}})
    with injected(gateway, [f"{call}:error=EIO" for call in COMMITS]):
        time.sleep(2.5)  # the first is answered meanwhile, and its outcome cannot be written
        assert len(simulator.calls()) == 1
    assert gateway.wait_final(first["id"])["state"] == "completed"
    assert gateway.wait_final(second["id"])["state"] == "completed"
    assert [call["types"] for call in simulator.calls()] == ["unexempt", "exempt"]


@ROOT
def test_a_call_that_left_late_is_counted_late(site):
    """The machine was held up after it was decided to send: the upstream counts when it came."""
    simulator = site.simulator()
    gateway = site.gateway(site.config(simulator, requests=1, window_s=3, timeout_s=1,
                                       batch_linger_ms=0, max_devices_per_call=1))
    simulator.order({"do": "close-after"})
    with injected(gateway, ["sendto:delay_enter=2500000:when=1"]):
        actions = [gateway.submit(unexempt(f"any-{number}")) for number in range(2)]
        wait_for("the call", simulator.calls)
    assert [gateway.wait_final(action["id"])["state"] for action in actions] == \
        ["unknown", "completed"]
    first, second = [call["mono_ms"] for call in simulator.calls()]
    assert second - first >= 3000


def test_the_tools_are_there():
    """The tests above would say nothing without them."""
    assert os.geteuid() != 0 or (shutil.which("strace") and shutil.which("mount"))
