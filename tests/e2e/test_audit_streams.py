"""The audit log sent elsewhere: nothing is lost, nothing waits, and receivers get what they should."""
import json
import os
import signal
import threading

import pytest
from kit import DEADLINE_S, SANITIZED, run_tollgate, wait_for
from kit.receiver import DatagramReceiver, TcpReceiver, TlsReceiver, UnixReceiver

BODY = {"types": "exempt", "ids": ["any-1"], "params": {"exempt_time": 24}}
LAG = "tollgate_audit_stream_lag_records"
ERRORS = "tollgate_audit_stream_errors_total"


def exported(gateway):
    """The records' exact bytes."""
    run = run_tollgate("audit", "export", "-c", gateway.config.path)
    assert run.returncode == 0, run.stderr
    return run.stdout.encode().split(b"\n")[:-1]


def add_stream(config, name, **options):
    config.json.setdefault("audit", {}).setdefault("streams", []).append({"name": name, **options})


def wait_sent(gateway, read):
    """Until what read() gives has every record that there is now."""
    records = set(exported(gateway))
    wait_for("every record to arrive", lambda: records <= set(read()), every_s=0.05)


def lines_of(path):
    data = path.read_bytes() if path.exists() else b""
    assert data.endswith(b"\n") or not data
    return data.split(b"\n")[:-1]


@pytest.fixture
def receivers():
    made = []

    def keep(receiver):
        made.append(receiver)
        return receiver.start()
    yield keep
    for receiver in made:
        receiver.stop()


# ---- Files ----

def test_a_file_is_what_export_gives(site):
    config = site.config(site.simulator())
    add_stream(config, "lines", type="file", path="audit.jsonl")
    gateway = site.gateway(config)
    for _ in range(3):
        assert gateway.post(BODY).status_code == 200
        gateway.post({"types": "exempt", "ids": []})
    gateway.restart()
    gateway.post(BODY)
    gateway.stop()
    path = config.folder / "audit.jsonl"
    assert lines_of(path) == exported(gateway)
    assert path.stat().st_mode & 0o137 == 0
    assert json.loads(lines_of(path)[-1])["event"] == "node.stopped"


def test_a_new_stream_begins_with_the_first_record(site):
    config = site.config(site.simulator())
    gateway = site.gateway(config)
    gateway.post(BODY)
    gateway.stop()
    add_stream(config, "late", type="file", path="late.jsonl")
    gateway.start()
    gateway.stop()
    assert lines_of(config.folder / "late.jsonl") == exported(gateway)


@pytest.mark.parametrize("how", ["signal", "moved"])
def test_rotation_loses_and_doubles_nothing(site, how):
    config = site.config(site.simulator())
    add_stream(config, "lines", type="file", path="audit.jsonl")
    gateway = site.gateway(config)
    path = config.folder / "audit.jsonl"
    stop = threading.Event()

    def work():
        while not stop.is_set():
            gateway.post(BODY)
    worker = threading.Thread(target=work)
    worker.start()
    try:
        for number in range(4):
            wait_for("the file to grow", lambda: path.exists() and path.stat().st_size > 2000)
            os.rename(path, config.folder / f"audit.jsonl.{number}")
            if how == "signal":
                gateway.send_signal(signal.SIGUSR1)
            wait_for("a new file", path.exists)
    finally:
        stop.set()
        worker.join()
    gateway.stop()
    parts = [lines_of(config.folder / f"audit.jsonl.{number}") for number in range(4)]
    assert all(parts)
    assert sum(parts, []) + lines_of(path) == exported(gateway)


def test_a_killed_gateway_doubles_no_line(site):
    config = site.config(site.simulator())
    add_stream(config, "lines", type="file", path="audit.jsonl")
    gateway = site.gateway(config)
    path = config.folder / "audit.jsonl"
    for _ in range(4):
        gateway.post(BODY)
        wait_sent(gateway, lambda: lines_of(path))
        gateway.post(BODY)
        before = path.stat().st_size
        gateway.post(BODY)
        wait_for("the file to grow", lambda before=before: path.stat().st_size > before, every_s=0)
        gateway.kill()
        gateway.start()
    gateway.stop()
    assert lines_of(path) == exported(gateway)


def test_a_piece_of_a_line_is_mended(site):
    """What a power cut or a full disk leaves."""
    config = site.config(site.simulator())
    add_stream(config, "lines", type="file", path="audit.jsonl")
    gateway = site.gateway(config)
    gateway.post(BODY)
    gateway.stop()
    path = config.folder / "audit.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"v":1,"node":"gw-te')
    gateway.start()
    gateway.stop()
    assert lines_of(path) == exported(gateway)


def test_a_file_that_cannot_be_written_is_told_once_and_made_up_for(site):
    config = site.config(site.simulator())
    (config.folder / "logs").mkdir()
    add_stream(config, "lines", type="file", path="logs/audit.jsonl")
    path = config.folder / "logs" / "audit.jsonl"
    path.mkdir()
    gateway = site.gateway(config)
    assert gateway.post(BODY).status_code == 200
    wait_for("two failures", lambda: gateway.metric(ERRORS, stream="lines") >= 2)
    assert gateway.metric(LAG, stream="lines") > 0
    path.rmdir()
    wait_sent(gateway, lambda: lines_of(path))
    said, = gateway.logged("an audit stream fails: it goes on where it was when it can")
    assert said["stream"] == "lines" and "audit.jsonl" in said["detail"]
    wait_for("the good news", lambda: gateway.logged("an audit stream works again"))
    gateway.stop()
    assert lines_of(path) == exported(gateway)


# ---- Syslog ----

KINDS = ["tls", "tls-name", "tls-client", "tcp", "unix", "datagram"]


def syslog(site, receivers, kind):
    """A receiver of that kind, and the options of a stream to it."""
    if kind.startswith("tls"):
        certificate = site.certificate("receiver")
        client = site.certificate("gateway")
        receiver = receivers(TlsReceiver(certificate, client if kind == "tls-client" else None))
        options = {"ca_file": str(certificate.certificate)}
        if kind == "tls-client":
            options |= {"certificate": str(client.certificate), "key": str(client.key)}
        address = receiver.address
        if kind == "tls-name":
            certificate = site.certificate("localhost", "DNS:localhost")
            receiver.context.load_cert_chain(certificate.certificate, certificate.key)
            options["ca_file"] = str(certificate.certificate)
            address = f"tls://localhost:{receiver.port}"
        return receiver, {"type": "syslog", "address": address, **options}
    if kind == "tcp":
        receiver = receivers(TcpReceiver())
    elif kind == "unix":
        receiver = receivers(UnixReceiver(site.folder / "log"))
    else:
        receiver = receivers(DatagramReceiver(site.folder / "log"))
    return receiver, {"type": "syslog", "address": receiver.address}


def check_messages(receiver, records):
    """Each message says of its record what it should."""
    assert receiver.records == records
    for message in receiver.messages:
        record = json.loads(message.record)
        assert message.time == record["time"]
        assert message.event == record["event"]
        assert message.app_name == "tollgate"
        assert message.facility == 10
        bad = record["event"] in ("request.refused", "request.unauthenticated") or \
            record.get("outcome") in ("failed", "unknown") or \
            isinstance(record.get("detail"), dict) and \
            record["detail"].get("state") in ("failed", "unknown")
        assert message.severity == (4 if bad else 6), record
        assert message.data.pop("node") == "gw-test"
        assert int(message.data.pop("seq")) == record["seq"]
        names = {"client", "team", "action_id", "call_id", "account", "action", "outcome",
                 "problem", "request_id"}
        assert message.data == {name: record[name] for name in names & set(record)}


@pytest.mark.parametrize("kind", KINDS)
def test_syslog_gets_every_record(site, receivers, kind):
    receiver, options = syslog(site, receivers, kind)
    simulator = site.simulator()
    config = site.config(simulator)
    add_stream(config, "siem", **options)
    gateway = site.gateway(config)
    simulator.order({"do": "status", "status": 400}, {"do": "close-after"})
    for _ in range(3):
        gateway.post(BODY, headers={"Action-Reason": 'a "quoted" ] reason \\ ü'.encode()})
    gateway.post({"types": "exempt", "ids": []}, headers={"X-Request-ID": "r-1"})
    gateway.request("POST", "/v1/actions", None)
    wait_sent(gateway, lambda: receiver.records)
    gateway.restart()
    gateway.post(BODY)
    gateway.stop()
    wait_sent(gateway, lambda: receiver.records)
    check_messages(receiver, exported(gateway))
    assert len(receiver.messages) == len(receiver.records), "an orderly restart doubles nothing"


@pytest.mark.parametrize("kind", ["foreign", "other name"])
def test_a_wrong_certificate_gets_nothing(site, receivers, kind):
    certificate = site.certificate("receiver", "IP:127.0.0.1" if kind == "foreign" else
                                   "IP:127.0.0.2")
    receiver = receivers(TlsReceiver(certificate))
    ca = site.certificate("another") if kind == "foreign" else certificate
    config = site.config(site.simulator())
    add_stream(config, "siem", type="syslog", address=receiver.address,
               ca_file=str(ca.certificate))
    gateway = site.gateway(config)
    assert gateway.post(BODY).status_code == 200
    said = wait_for("the log to say so", lambda: gateway.logged(
        "an audit stream fails: it goes on where it was when it can"))
    assert "self-signed" in said[0]["detail"] or "mismatch" in said[0]["detail"]
    assert receiver.messages == []


# ---- Dead and slow receivers ----

@pytest.mark.parametrize("kind", ["tls", "tcp", "unix", "datagram"])
def test_a_dead_receiver_gets_everything_later(site, receivers, kind):
    receiver, options = syslog(site, receivers, kind)
    receiver.stop()
    config = site.config(site.simulator())
    add_stream(config, "siem", **options)
    gateway = site.gateway(config)
    for _ in range(5):
        assert gateway.post(BODY, timeout=DEADLINE_S).status_code == 200
    wait_for("the stream to be behind", lambda: gateway.metric(LAG, stream="siem") > 20)
    receiver.start()
    wait_sent(gateway, lambda: receiver.records)
    assert gateway.post(BODY).status_code == 200
    wait_sent(gateway, lambda: receiver.records)
    receiver.stop()
    assert gateway.post(BODY).status_code == 200
    receiver.start()
    wait_sent(gateway, lambda: receiver.records)
    gateway.stop()
    wait_sent(gateway, lambda: receiver.records)
    check_messages(receiver, exported(gateway))


@pytest.mark.parametrize("kind", ["tls", "tcp", "unix", "datagram"])
def test_an_end_without_a_receiver_is_made_up_for(site, receivers, kind):
    receiver, options = syslog(site, receivers, kind)
    config = site.config(site.simulator())
    add_stream(config, "siem", **options)
    gateway = site.gateway(config)
    wait_sent(gateway, lambda: receiver.records)
    receiver.stop()
    gateway.post(BODY)
    gateway.stop()
    receiver.start()
    gateway.start()
    gateway.stop()
    wait_sent(gateway, lambda: receiver.records)
    assert receiver.records == exported(gateway)


def resident_kib(gateway):
    with open(f"/proc/{gateway.process.pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def write_many(gateway, megabytes):
    """Refused requests with long audit records: fast, and never sent anywhere."""
    body = {"types": "exempt", "ids": [f"{'x' * 100}-{number}" for number in range(900)],
            "params": {"exempt_time": 64999}}
    sent = 0
    while sent < megabytes << 20:
        assert gateway.post(body).status_code == 403
        sent += 900 * 105


@pytest.mark.parametrize("kind", ["tls", "tcp", "unix", "datagram"])
def test_a_receiver_that_does_not_read(site, receivers, kind):
    """Nobody waits for it, memory is bounded, and it misses nothing, whether it reads on or
    comes back after it was killed with unread data."""
    receiver, options = syslog(site, receivers, kind)
    config = site.config(site.simulator())
    config.json["teams"]["ops"]["rules"] = [{"actions": ["exempt"], "max_exempt_hours": 24}]
    add_stream(config, "siem", **options)
    gateway = site.gateway(config)
    assert gateway.post(BODY).status_code == 200
    wait_sent(gateway, lambda: receiver.records)
    receiver.reading.clear()
    write_many(gateway, 16)
    before = resident_kib(gateway)
    write_many(gateway, 16)
    assert SANITIZED or resident_kib(gateway) - before < 8 * 1024
    assert gateway.metric(LAG, stream="siem") > 50
    assert gateway.post(BODY).status_code == 200
    receiver.reading.set()
    wait_sent(gateway, lambda: receiver.records)
    receiver.reading.clear()
    write_many(gateway, 1)
    receiver.stop()
    receiver.start()
    wait_sent(gateway, lambda: receiver.records)
    gateway.stop()
    wait_sent(gateway, lambda: receiver.records)
    assert sorted(receiver.records) == sorted(exported(gateway))


def test_a_restart_beside_a_receiver_that_does_not_read(site, receivers):
    receiver, options = syslog(site, receivers, "tcp")
    config = site.config(site.simulator())
    add_stream(config, "siem", **options)
    gateway = site.gateway(config)
    wait_sent(gateway, lambda: receiver.records)
    receiver.reading.clear()
    for _ in range(20):
        gateway.post(BODY)
    gateway.stop()
    receiver.drop_connections()
    receiver.reading.set()
    gateway.start()
    wait_sent(gateway, lambda: receiver.records)
    gateway.stop()
    wait_sent(gateway, lambda: receiver.records)
    assert sorted(receiver.records) == sorted(exported(gateway))


def test_a_killed_gateway_loses_nothing(site, receivers):
    receiver, options = syslog(site, receivers, "tls")
    config = site.config(site.simulator())
    add_stream(config, "siem", **options)
    gateway = site.gateway(config)
    for _ in range(4):
        gateway.post(BODY)
        gateway.kill()
        gateway.start()
    gateway.stop()
    wait_sent(gateway, lambda: receiver.records)
    assert receiver.records == exported(gateway)


# ---- Configuration ----

@pytest.mark.parametrize("streams, pointers", [
    ([{"name": "a", "type": "pipe"}], ["/audit/streams/0/type"]),
    ([{"name": "a", "type": "file"}], ["/audit/streams/0/path"]),
    ([{"type": "file", "path": "x"}], ["/audit/streams/0/name"]),
    ([{"name": "a b", "type": "file", "path": "x"}], ["/audit/streams/0/name"]),
    ([{"name": "a", "type": "file", "path": "none/x"}], ["/audit/streams/0/path"]),
    ([{"name": "a", "type": "file", "path": "x", "address": "unix:/dev/log"}],
     ["/audit/streams/0/address"]),
    ([{"name": "a", "type": "file", "path": "x"}, {"name": "a", "type": "file", "path": "x"}],
     ["/audit/streams/1/name", "/audit/streams/1/path"]),
    ([{"name": "a", "type": "syslog"}], ["/audit/streams/0/address"]),
    ([{"name": "a", "type": "syslog", "address": "udp://127.0.0.1:514"}],
     ["/audit/streams/0/address"]),
    ([{"name": "a", "type": "syslog", "address": "tcp://192.0.2.1:601"}],
     ["/audit/streams/0/address"]),
    ([{"name": "a", "type": "syslog", "address": "tls://logs.example.com"}],
     ["/audit/streams/0/address"]),
    ([{"name": "a", "type": "syslog", "address": "unix:log"}], ["/audit/streams/0/address"]),
    ([{"name": "a", "type": "syslog", "address": "tcp://[::1]:601", "ca_file": "gateway.json"}],
     ["/audit/streams/0/ca_file"]),
    ([{"name": "a", "type": "syslog", "address": "tls://h:6514", "ca_file": "none"}],
     ["/audit/streams/0/ca_file"]),
    ([{"name": "a", "type": "syslog", "address": "tls://h:6514", "ca_file": "gateway.json"}],
     ["/audit/streams/0"]),
    ([{"name": "a", "type": "syslog", "address": "tls://h:6514", "key": "client_secret"}],
     ["/audit/streams/0"]),
    ([{"name": "a", "type": "syslog", "address": "unix:/dev/log", "facility": "everything"}],
     ["/audit/streams/0/facility"]),
    ([{"name": "a", "type": "syslog", "address": "unix:/dev/log", "app_name": "two words"}],
     ["/audit/streams/0/app_name"]),
    ([{"name": f"s{number}", "type": "file", "path": f"x{number}"} for number in range(17)],
     ["/audit/streams"]),
])
def test_check_names_what_is_wrong(site, streams, pointers):
    config = site.config(site.simulator())
    config.json["audit"] = {"streams": streams}
    run = run_tollgate("check", "-c", config.write())
    assert run.returncode == 1
    found = [line.split(": ")[1] for line in run.stderr.splitlines() if ": /" in line]
    assert found == pointers, run.stderr


def test_check_takes_good_ones(site):
    config = site.config(site.simulator())
    config.json["audit"] = {"streams": [
        {"name": "a", "type": "file", "path": "x"},
        {"name": "b", "type": "syslog", "address": "tls://[2001:db8::1]:6514"},
        {"name": "c", "type": "syslog", "address": "tcp://[::1]:601", "facility": "local7"},
        {"name": "d", "type": "syslog", "address": "unix:/dev/log", "app_name": "gate"}]}
    run = run_tollgate("check", "-c", config.write())
    assert run.returncode == 0, run.stderr
