"""Load by wrk, and what it cost the server: requests for each second on the wall, and for each
second of processor time that the server's processes took."""
import json
import pathlib
import subprocess
from dataclasses import dataclass

from client import Client
from meters import cpu_seconds

SCRIPT = pathlib.Path(__file__).resolve().parent / "conf" / "request.lua"


@dataclass
class Call:
    """A request; %d in the body becomes a number of its own."""
    method: str
    path: str
    key: str
    body: str
    status: int


@dataclass
class Result:
    per_second: float
    per_cpu_second: float
    p50_us: float
    p99_us: float


def check(address, call):
    """The answer is the one that the measure is about."""
    client = Client(address, call.key)
    body = json.loads(call.body % 1 if "%d" in call.body else call.body) if call.body else None
    client.send(call.method, call.path, body, call.status)
    client.close()


def run(server, call, seconds, connections):
    """Loads a server (.address, .process) with that many kept connections."""
    check(server.address, call)
    host, port = server.address
    before = cpu_seconds(server.process.pid)
    ran = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", SCRIPT,
         f"http://{host}:{port}", "--", call.method, call.path, call.key, call.body],
        capture_output=True, text=True, check=True, timeout=seconds + 60)
    spent = cpu_seconds(server.process.pid) - before
    found = json.loads(ran.stdout.splitlines()[-1])
    expected = 0 if call.status < 400 else found["requests"]
    if found["broken"] or found["requests"] == 0 or found["not_2xx"] != expected:
        raise RuntimeError(f"{call.method} {call.path} was not answered with {call.status} "
                           f"throughout: {found}")
    check(server.address, call)
    return Result(found["requests"] / found["seconds"], found["requests"] / max(spent, 0.01),
                  found["p50_us"], found["p99_us"])
