"""Secrets stay where they are put (case 33): a client secret, tokens, a client's key and a signing
key are planted, everything goes wrong that can, and then they are looked for everywhere."""
import base64
import os
import resource
import shutil
import signal
import subprocess
import sys
import time

import pytest
from kit import SANITIZED
from kit.bodies import unexempt
from kit.config import write_secret
from kit.http import session
from kit.raw import Connection
from kit.waiting import wait_for

ROOT = os.geteuid() == 0
SECRET = "canary0client0secret0Vw3n8QkT5xRz"
TOKEN = "CANARY0UPSTREAM0TOKEN0J7P2M9XQ4L6B"
WRONG_KEY = "canary0wrong0key0h6s2k9d4f8"


def spellings(secret):
    """A secret's bytes as they may appear: plain, as hex, and as base64 wherever it begins."""
    found = {secret, secret.hex().encode(), secret.hex().upper().encode()}
    for before in range(3):
        text = base64.b64encode(b"\0" * before + secret)
        # The first and last characters mix with what stands beside.
        found.add(text[4 if before else 0:-4])
    return found


def find(secrets, data):
    """The names of the secrets that are in it, also when lines were broken."""
    joined = data.replace(b"\\n", b"").replace(b"\n", b"")
    return [name for name, secret in secrets.items()
            if any(spelling in data or spelling in joined for spelling in spellings(secret))]


class Planted:
    """A gateway with all kinds of secrets, used until all kinds of errors have happened."""

    def __init__(self, site):
        self.simulator = site.simulator(client_secret=SECRET, access_token=TOKEN)
        self.config = config = site.config(self.simulator, timeout_s=3)
        config.json["accept_query_token"] = True
        config.sign_audit(checkpoint_interval_s=1)
        write_secret(config.folder / "client_secret", SECRET)
        write_secret(config.folder / "access_token", TOKEN)
        config.json["accounts"]["fixed"] = {
            **config.account, "credentials": {"access_token_file": "access_token"}}
        config.add_team("fixed")
        config.json["teams"]["fixed"]["account"] = "fixed"
        config.add_client("fixed", "fixed")
        config.add_client("siem", roles=["auditor"])
        config.serve_tls(site.certificate("front"))
        shutil.copy(config.front_tls.key, config.folder / "front.key")
        config.json["listen"].append({"address": "127.0.0.1:0"})
        signing, front = (subprocess.run(
            ["openssl", "pkcs8", "-topk8", "-nocrypt", "-in", config.folder / name, "-outform",
             "DER"], check=True, capture_output=True).stdout for name in ("audit.key", "front.key"))
        self.secrets = {
            "client secret": SECRET.encode(), "upstream token": TOKEN.encode(),
            "client key": config.keys["script"].encode(), "wrong key": WRONG_KEY.encode(),
            "other client key": config.keys["fixed"].encode(),
            "signing key": signing[-32:],  # RFC 8410: the seed
            "TLS key": front[36:68]}  # RFC 5915 in PKCS#8: the private number
        self.answers = []
        self.gateway = site.gateway(config, start=False)

    def note(self, answer):
        self.answers.append(answer.content + str(answer.headers).encode())
        return answer

    def say(self, data):
        with Connection(tuple_of(self.gateway.addresses[1])) as connection:
            connection.send(data)
            connection.socket.settimeout(10)
            self.answers.append(connection.socket.makefile("rb").read())

    def upstream_trouble(self):
        gateway, simulator = self.gateway, self.simulator
        for client, own in (("script", SECRET), ("fixed", TOKEN)):
            for fault in ("echo-token", "close-before", "close-after", "garbage", "truncate",
                          "hang"):
                simulator.order({"do": fault})
                self.note(gateway.post(unexempt("any-1"), client=client))
            simulator.order({"do": "status", "status": 200, "body": [
                {"id": "any-1", "status": 1, "command_id": "x" + own}]})
            self.note(gateway.post(unexempt("any-1"), client=client))
        simulator.revoke_tokens()
        simulator.order({"on": "token", "do": "status", "status": 401, "body": {
            "error": "invalid_client", "error_description": "client_secret=" + SECRET}})
        for _ in range(2):
            self.note(gateway.post(unexempt("any-1")))
        wait_for("the token again", lambda: self.note(
            gateway.post(unexempt("any-1"))).status_code == 200, 20, every_s=0.2)

    def client_trouble(self):
        gateway = self.gateway
        key = gateway.key()
        plain = gateway.addresses[1]
        for path in ("/nothing/here", "/v1/actions", "/v1/actions/act_none", "/v1/audit",
                     "/o/api/v3.1/devices/action", "/v1/actions?cursor=%00", "/"):
            for given in (key, WRONG_KEY, key + "x"):
                for method in ("GET", "POST", "DELETE", "PATCH"):
                    mark = "&" if "?" in path else "?"
                    with session() as one:
                        self.note(one.request(
                            method, f"http://{plain}{path}{mark}access_token={given}",
                            data=b"{", timeout=30))
                        self.note(one.request(
                            method, f"http://{plain}{path}", data=b"[]", timeout=30,
                            headers={"Authorization": "Bearer " + given}))
        head = (f"GET /v1/actions?access_token={key} HTTP/1.1\r\nHost: gw\r\n"
                f"Authorization: Bearer {key}\r\n").encode()
        for rest in (b"bad header\r\n\r\n", b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
                     b"Authorization: Bearer " + key.encode() + b"\r\n\r\n",
                     b"X: " + b"y" * 20000 + b"\r\n\r\n", b"\x00\r\n\r\n"):
            self.say(head + rest)

    def look_around(self):
        gateway = self.gateway
        for client in ("siem", "script"):
            for path in ("/v1/audit", "/v1/audit?limit=1000&order=asc", "/v1/audit/checkpoint",
                         "/v1/actions", "/v1/budget"):
                self.note(gateway.get(path, client))
        for page in ("/metrics", "/readyz", "/livez", "/none"):
            self.note(gateway.admin(page))


def tuple_of(address):
    host, port = address.rsplit(":", 1)
    return host, int(port)


def process_files(gateway):
    """Its arguments and environment, as others can see them."""
    found = b""
    for name in ("cmdline", "environ"):
        with open(f"/proc/{gateway.process.pid}/{name}", "rb") as file:
            found += file.read()
    return found


@pytest.mark.slow
def test_planted_secrets_are_found_nowhere(site):
    planted = Planted(site)
    gateway = planted.gateway.start()
    planted.client_trouble()
    planted.upstream_trouble()
    planted.look_around()
    wait_for("a checkpoint", (planted.config.folder / "checkpoints.txt").exists)
    export = "\n".join(map(str, gateway.audit())).encode()
    seen = {"answers": b"\n".join(planted.answers), "audit export": export}
    if ROOT:  # others may not even look: test_no_debugger...
        seen["arguments and environment"] = process_files(gateway)
    running = {file.name: file.read_bytes() for file in planted.config.folder.iterdir()}
    gateway.stop()
    seen["log"] = gateway.text.encode()
    for file in planted.config.folder.iterdir():
        seen[file.name] = running.get(file.name, b"") + file.read_bytes()
    assert {"tollgate.db", "tollgate.db-wal", "checkpoints.txt"} <= set(running)
    # They are where they were put, and a search like this one finds them.
    for file, name in (("client_secret", "client secret"), ("access_token", "upstream token"),
                       ("audit.key", "signing key"), ("front.key", "TLS key")):
        assert find(planted.secrets, seen.pop(file)) == [name]
    assert {place: find(planted.secrets, data) for place, data in seen.items()} == \
        {place: [] for place in seen}
    # What is said instead: who it was, and that something was taken out.
    assert planted.config.json["clients"]["script"]["keys"][0]["id"].encode() in export
    assert b"*" * len(TOKEN) in seen["answers"]


@pytest.mark.slow
@pytest.mark.skipif(not ROOT, reason="only root may take an image of it")
@pytest.mark.skipif(SANITIZED, reason="sanitizers keep freed memory")
@pytest.mark.skipif(not shutil.which("gcore"), reason="gcore is not there")
def test_a_core_image_has_no_secrets(site):
    """Not even root's debugger finds any, once the requests that brought them are over: they are
    overwritten where they were, or kept in memory that images leave out."""
    planted = Planted(site)
    gateway = planted.gateway.start()
    planted.client_trouble()
    planted.upstream_trouble()
    planted.look_around()
    image = planted.config.folder / "image"
    run = subprocess.run(["gcore", "-o", image, str(gateway.process.pid)], capture_output=True,
                         text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    data = (image.parent / f"image.{gateway.process.pid}").read_bytes()
    assert b"gw-test" in data and planted.config.json["clients"]["script"]["keys"][0][
        "id"].encode() in data
    assert find(planted.secrets, data) == []


TRACE = """
import ctypes, errno, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
seized = libc.ptrace(0x4206, int(sys.argv[1]), None, None)  # PTRACE_SEIZE
print("seized" if seized == 0 else errno.errorcode[ctypes.get_errno()])
for name in ("mem", "environ"):
    try:
        open(f"/proc/{sys.argv[1]}/{name}", "rb").close()
        print("opened")
    except OSError as problem:
        print(errno.errorcode[problem.errno])
"""
SOMEBODY = 65534


@pytest.fixture
def unprivileged(site, tmp_path_factory):
    """A gateway of a user that is not root, and how to start other programs of that user."""
    simulator = site.simulator()
    config = site.config(simulator)
    gateway = site.gateway(config, start=False)
    spawn = {}
    if ROOT:
        spawn = {"user": SOMEBODY, "group": SOMEBODY, "extra_groups": []}
        config.write()
        # Below directories that only root may enter it would find nothing: it gets its own names.
        os.chmod(config.folder, 0o711)
        for parent in config.folder.parents:
            if parent == tmp_path_factory.getbasetemp().parent.parent:
                break
            os.chmod(parent, 0o711)
        for file in [config.folder, *config.folder.iterdir()]:
            shutil.chown(file, SOMEBODY, SOMEBODY)
    gateway.spawn = spawn
    return gateway.start(), spawn


def trace(pid, spawn):
    run = subprocess.run([sys.executable, "-c", TRACE, str(pid)], capture_output=True, text=True,
                         cwd="/", check=True, **spawn)
    return run.stdout.split()


def test_no_debugger_of_the_same_user(unprivileged):
    """A script that got to run as the gateway's user reads neither its memory nor environment."""
    gateway, spawn = unprivileged
    with subprocess.Popen(["sleep", "60"], cwd="/", **spawn) as other:
        allowed = trace(other.pid, spawn)
        other.kill()
    if allowed != ["seized", "opened", "opened"]:
        pytest.skip("this system lets nobody trace: nothing would be tested")
    assert trace(gateway.process.pid, spawn) == ["EPERM", "EACCES", "EACCES"]


def end_by_abort(pid):
    os.kill(pid, signal.SIGABRT)
    return os.waitpid(pid, 0)[1]


def test_no_core_dump(site):
    def unlimited():
        hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
        resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))

    gateway = site.gateway(site.config(site.simulator()), start=False)
    gateway.spawn = {"preexec_fn": unlimited, "cwd": gateway.config.folder}
    gateway.start()
    with open(f"/proc/{gateway.process.pid}/limits", encoding="ascii") as file:
        limit, = [line for line in file if line.startswith("Max core file size")]
    assert limit.split()[4:6] == ["0", "0"]
    status = end_by_abort(gateway.process.pid)
    gateway.process.returncode = -os.WTERMSIG(status)
    assert os.WTERMSIG(status) == signal.SIGABRT and not os.WCOREDUMP(status)
    with subprocess.Popen(["sleep", "60"], preexec_fn=unlimited, cwd=gateway.config.folder) as other:
        time.sleep(0.2)
        dumped = os.WCOREDUMP(end_by_abort(other.pid))
        other.returncode = -signal.SIGABRT
    if not dumped:
        pytest.skip("this system dumps no cores at all: only the limit was tested")
