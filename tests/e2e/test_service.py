"""The gateway as a service: readiness, the watchdog, credentials."""
import os
import shutil
import signal

import pytest
from kit.bodies import unexempt
from kit.config import write_secret
from kit.freeze import frozen, threads
from kit.process import run_tollgate
from kit.raw import Connection
from kit.service import Manager
from kit.waiting import wait_for

ROOT = os.geteuid() == 0
WATCHDOG_MS = 1000


def start(site, manager, config=None):
    gateway = site.gateway(config or site.config(site.simulator()), start=False)
    gateway.spawn = {"env": manager.environment}
    return gateway.start()


@pytest.mark.parametrize("abstract", [False, True])
def test_ready_and_stopping(site, abstract):
    with Manager(None if abstract else site.folder) as manager:
        gateway = start(site, manager)
        first = manager.read(10)
        assert first == {"READY": "1", "STATUS": "serving"}
        with Connection(gateway.address):
            pass
        gateway.send_signal(signal.SIGTERM)
        stopping = manager.wait("STOPPING")
        assert stopping["STOPPING"] == "1" and stopping["STATUS"]
        assert gateway.wait_exit(30) == 0
        assert not any("WATCHDOG" in message for message in manager.messages)


def test_ready_only_once_it_was_restored(site):
    """What an earlier run left is read back before others are told to come."""
    simulator = site.simulator()
    config = site.config(simulator)
    gateway = site.gateway(config)
    simulator.stop()
    id = gateway.submit(unexempt("any-1"))["id"]
    gateway.kill()
    with Manager(site.folder) as manager:
        gateway.spawn = {"env": manager.environment}
        gateway.start(ready=False)
        assert manager.wait("READY")["READY"] == "1"
        assert gateway.action(id)["id"] == id


def test_a_gateway_that_does_not_start_is_not_ready(site):
    with Manager(site.folder) as manager:
        config = site.config(site.simulator())
        config.account["ca_file"] = str(write_secret(config.folder / "no.pem", "nothing"))
        with pytest.raises(AssertionError, match="does not listen"):
            start(site, manager, config)
        assert manager.is_silent("READY", 0.1)


def test_reloading(site):
    """Begun and over, whatever became of it."""
    with Manager(site.folder) as manager:
        gateway = start(site, manager)
        assert manager.read(10)["READY"] == "1"
        gateway.reload()
        begun = manager.wait("RELOADING")
        assert int(begun["MONOTONIC_USEC"]) > 0
        assert manager.wait("READY") == {"READY": "1", "STATUS": "serving"}
        gateway.reload_badly("{")
        assert manager.wait("RELOADING")
        assert "rejected" in manager.wait("READY")["STATUS"]


def test_nobody_to_tell(site):
    """A socket that is gone, or no name of one: said in the log, and no more."""
    for name in (str(site.folder / "none"), "no-name", "/" + "x" * 200):
        gateway = site.gateway(site.config(site.simulator()), start=False)
        gateway.spawn = {"env": {**os.environ, "NOTIFY_SOCKET": name}}
        gateway.start()
        assert gateway.logged("the service manager cannot be told anything")[0]["socket"] == name
        gateway.stop()


def test_watchdog(site):
    with Manager(site.folder, WATCHDOG_MS) as manager:
        start(site, manager)
        for _ in range(6):  # more often than asked for
            manager.wait("WATCHDOG", WATCHDOG_MS / 1000)


def test_a_watchdog_for_another_process(site):
    with Manager(site.folder, WATCHDOG_MS) as manager:
        manager.environment["WATCHDOG_PID"] = "1"
        start(site, manager)
        assert manager.is_silent("WATCHDOG", 2 * WATCHDOG_MS / 1000)


@pytest.mark.slow
@pytest.mark.skipif(not ROOT, reason="only root may stop a thread of it")
@pytest.mark.parametrize("name, said", [
    ("worker", "a worker"), ("dispatcher", "the dispatcher"), ("store", "the store's writer"),
    ("store-read", "the store's reader")])
def test_a_thread_that_hangs_stops_the_watchdog(site, name, said):
    """The manager hears nothing any more, and /livez tells whoever has no manager; it is over when
    the thread goes on."""
    with Manager(site.folder, WATCHDOG_MS) as manager:
        gateway = start(site, manager)
        manager.wait("WATCHDOG", 5)
        assert gateway.admin("/livez").status_code == 200
        with frozen(threads(gateway.process.pid)[name][0]):
            wait_for("/livez to tell", lambda: gateway.admin("/livez").status_code == 503, 20)
            assert gateway.admin("/livez").json() == {
                "live": False, "problems": [said + " does not answer"]}
            while manager.read(0):
                pass
            assert manager.is_silent("WATCHDOG", 3 * WATCHDOG_MS / 1000)
        manager.wait("WATCHDOG", 10)
        wait_for("/livez to be 200", lambda: gateway.admin("/livez").status_code == 200, 10)
        assert gateway.logged("a thread does not answer")[0]["thread"] == said
        assert gateway.post(unexempt("any-1")).status_code == 200


@pytest.mark.slow
def test_a_stopped_process_does_not_hang(site):
    """All of it was paused, as a container or a machine may be: that is not a thread that hangs."""
    with Manager(site.folder, WATCHDOG_MS) as manager:
        gateway = start(site, manager)
        manager.wait("WATCHDOG", 5)
        gateway.send_signal(signal.SIGSTOP)
        while manager.read(0.1):
            pass
        assert manager.is_silent("WATCHDOG", 3 * WATCHDOG_MS / 1000)
        gateway.send_signal(signal.SIGCONT)
        manager.wait("WATCHDOG", WATCHDOG_MS / 1000)
        assert gateway.logged("a thread does not answer") == []


# ---- Credentials ----

def credentials(site, config, mode=0o400):
    """Moves the client secret to where a service manager would put it."""
    folder = site.folder / "credentials"
    folder.mkdir(mode=0o700)
    shutil.move(config.folder / "client_secret", folder / "upstream")
    os.chmod(folder / "upstream", mode)
    config.account["credentials"]["client_secret_file"] = "credential:upstream"
    return {"env": {**os.environ, "CREDENTIALS_DIRECTORY": str(folder)}}


@pytest.mark.parametrize("mode", [0o400, 0o440, 0o600])
def test_a_secret_given_by_the_service_manager(site, mode):
    config = site.config(site.simulator())
    gateway = site.gateway(config, start=False)
    gateway.spawn = credentials(site, config, mode)
    gateway.start()
    assert gateway.post(unexempt("any-1")).status_code == 200
    # Who only reads the log needs no secrets.
    assert gateway.audit()
    check = run_tollgate("check", "-c", config.path)
    assert check.returncode == 0, check.stderr


@pytest.mark.parametrize("mode", [0o404, 0o460])
def test_a_credential_that_others_can_read(site, mode):
    config = site.config(site.simulator())
    gateway = site.gateway(config, start=False)
    gateway.spawn = credentials(site, config, mode)
    with pytest.raises(AssertionError, match="others can access this secret"):
        gateway.start()


@pytest.mark.parametrize("name", ["credential:upstream", "credential:../upstream", "credential:"])
def test_credentials_that_are_not_there(site, name):
    config = site.config(site.simulator())
    config.account["credentials"]["client_secret_file"] = name
    gateway = site.gateway(config, start=False)
    with pytest.raises(AssertionError, match="there are no credentials here"):
        gateway.start()
