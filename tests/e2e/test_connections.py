"""Case 7: as many connections as are allowed, and as descriptors are left: the cap holds, nothing spins,
and who is connected is served."""
import os
import resource
import socket
import time

import pytest
from kit.bodies import unexempt
from kit.gateway import SUBMIT
from kit.http import new_source
from kit.load import request_bytes
from kit.process import SANITIZED
from kit.raw import Connection
from kit.waiting import wait_for

MANY = 10000
MAX_IDLE_MB = 100  # for as many


@pytest.fixture
def descriptors():
    """Enough for this process to hold them."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MANY + 1000
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(before[1], wanted)))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def cpu_seconds(gateway):
    with open(f"/proc/{gateway.process.pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(gateway):
    with open(f"/proc/{gateway.process.pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS:")) / 1024


def check_idle(gateway, seconds=2):
    """It does next to nothing while nobody asks anything."""
    before = cpu_seconds(gateway)
    time.sleep(seconds)
    assert cpu_seconds(gateway) - before < 0.1 * seconds


def is_closed(connection):
    """Whether the other side closed it within some seconds."""
    connection.settimeout(10)
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


def connect_many(gateway, count):
    connections = []
    for _ in range(count):
        connections.append(socket.create_connection(gateway.address, 30))
    return connections


@pytest.mark.slow
def test_ten_thousand_idle_connections(site, descriptors):
    config = site.config(site.simulator())
    config.json["limits"] = {"max_connections": MANY, "max_connections_per_address": MANY,
                             "header_timeout_s": 300}
    gateway = site.gateway(config)
    before = resident_mb(gateway)
    with Connection(gateway.address) as probe:
        probe.send(request_bytes(gateway, SUBMIT, unexempt("any-0")))
        assert probe.read_response().status_code == 202
        idle = connect_many(gateway, MANY - 1)
        try:
            wait_for("all to be taken", lambda: gateway.metric("tollgate_connections") == MANY, 60)
            cost = resident_mb(gateway) - before
            print(f"{MANY} idle connections: {cost:.0f} MB")
            if not SANITIZED:
                assert cost < MAX_IDLE_MB
            with socket.create_connection(gateway.address, 30) as one_more:
                assert is_closed(one_more), "the cap does not hold"
            assert gateway.metric("tollgate_connections") == MANY
            check_idle(gateway)
            probe.send(request_bytes(gateway, SUBMIT, unexempt("any-1")))
            assert probe.read_response().status_code == 202
            assert gateway.admin("/livez").status_code == 200
        finally:
            for connection in idle:
                connection.close()
    wait_for("them to go", lambda: gateway.metric("tollgate_connections") == 0, 60)
    assert gateway.post(unexempt("any-2")).status_code == 200


def test_one_address_takes_only_its_share(site):
    """Another finds a place all the same, and so do operators."""
    config = site.config(site.simulator())
    config.json["limits"] = {"max_connections": 40, "max_connections_per_address": 10}
    gateway = site.gateway(config)
    greedy, other = new_source(), new_source()
    idle = [Connection(gateway.address, source=greedy) for _ in range(10)]
    wait_for("all to be taken", lambda: gateway.metric("tollgate_connections") == 10)
    for _ in range(20):
        with Connection(gateway.address, source=greedy) as one_more:
            assert is_closed(one_more.socket), "the cap does not hold"
    assert gateway.metric("tollgate_connections_refused_total", cap="address") == 20
    assert gateway.metric("tollgate_connections") == 10
    assert gateway.post(unexempt("any-1"), source=other).status_code == 200
    config.json["limits"]["max_connections_per_address"] = 11
    gateway.reload()
    idle.append(Connection(gateway.address, source=greedy))
    wait_for("one more", lambda: gateway.metric("tollgate_connections") == 11)
    with Connection(gateway.address, source=greedy) as one_more:
        assert is_closed(one_more.socket), "the new cap does not hold"
    config.json["limits"]["max_connections_per_address"] = 10
    gateway.reload()
    idle.pop().socket.close()
    idle.pop().socket.close()
    wait_for("its place", lambda: gateway.metric("tollgate_connections") == 9)
    assert gateway.post(unexempt("any-2"), source=greedy).status_code == 200
    for connection in idle:
        connection.socket.close()
    wait_for("them to go", lambda: gateway.metric("tollgate_connections") == 0)
    assert gateway.metric("tollgate_connections_refused_total", cap="all") == 0


@pytest.mark.slow
def test_no_descriptors_are_left(site):
    """More clients than descriptors: they wait, it does not spin, and goes on when some are free."""
    gateway = site.gateway(site.config(site.simulator()))
    with Connection(gateway.address) as probe:
        probe.send(request_bytes(gateway, SUBMIT, unexempt("any-0")))
        assert probe.read_response().status_code == 202
        used = len(os.listdir(f"/proc/{gateway.process.pid}/fd"))
        resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE, (used + 20, used + 20))
        idle = []
        for _ in range(60):
            try:
                idle.append(socket.create_connection(gateway.address, 30))
            except ConnectionResetError:
                pass  # as good as being closed
        wait_for("a complaint", lambda: gateway.logged("cannot accept connections"))
        host, port = gateway.admin_url.removeprefix("http://").rsplit(":", 1)
        idle.append(socket.create_connection((host, int(port)), 30))  # of operators too
        check_idle(gateway)
        probe.send(request_bytes(gateway, SUBMIT, unexempt("any-1")))
        assert probe.read_response().status_code == 202
        for connection in idle:
            connection.close()
    answer = wait_for("a place", lambda: gateway.post(unexempt("any-2")), 20)
    assert answer.status_code == 200
    assert len(gateway.logged("cannot accept connections")) < 200
