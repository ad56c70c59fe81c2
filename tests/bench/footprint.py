"""What the gateway needs: memory, time to decide by how much waits, time to start."""
import json
import socket
import sqlite3
import statistics
import subprocess
import time

import load
from kit.process import BUILD
from kit.waiting import wait_for
from load import Call
from meters import resident_bytes
from place import SUBMIT, client_of
from rates import GOOD
from table import Row

IDLE = 2000
DECIDE_RUNS = 5


def connect(gateway, count):
    """Connections that asked something once and stay."""
    request = (f"GET /v1/budget HTTP/1.1\r\nHost: bench\r\n"
               f"Authorization: Bearer {gateway.key()}\r\n\r\n").encode()
    made = []
    for _ in range(count):
        made.append(socket.create_connection(gateway.address, 30))
        made[-1].sendall(request)
        if not made[-1].recv(4096).startswith(b"HTTP/1.1 200"):
            raise RuntimeError("a connection was not served")
    return made


def queued(gateway):
    client = client_of(gateway)
    client.send("GET", "/v1/budget", None, 200)
    client.close()
    return client.answer()["queued"]


class Footprint:
    def __init__(self, place, simulator, options):
        self._place = place
        self._simulator = simulator
        self._options = options

    def memory(self):
        gateway = self._place.gateway(self._simulator, requests=10, window_s=3600)
        pid = gateway.process.pid
        rest = resident_bytes(pid)
        connections = connect(gateway, IDLE)
        each = (resident_bytes(pid) - rest) / IDLE
        for connection in connections:
            connection.close()
        call = Call("POST", SUBMIT, gateway.key(), GOOD, 202)
        load.run(gateway, call, self._options.seconds, 32)  # caches fill
        before, waiting = resident_bytes(pid), queued(gateway)
        load.run(gateway, call, 2 * self._options.seconds, 32)
        more = queued(gateway) - waiting
        action = (resident_bytes(pid) - before) / more
        self._place.end(gateway)
        return [Row("memory at rest", {"tollgate": f"{rest / 1e6:.1f} MB"}, "≤ 20 MB",
                    f"{rest / 1e6:.1f} MB", rest <= 20e6),
                Row(f"memory of an idle connection (of {IDLE:,})",
                    {"tollgate": f"{each / 1024:.1f} KB"}, "≤ 8 KB", f"{each / 1024:.1f} KB",
                    each <= 8 * 1024),
                Row(f"memory of a queued action, its device included (of {more:,})",
                    {"tollgate": f"{action:.0f} bytes"}, "≤ 1 KB", f"{action:.0f} bytes",
                    action <= 1024)]

    def _decide(self, waiting, kinds):
        """Median nanoseconds of admitting a request and of making a call."""
        runs = [json.loads(subprocess.run([BUILD / "bench" / "bench_decide", str(waiting),
                                           str(kinds)], capture_output=True, text=True,
                                          check=True).stdout) for _ in range(DECIDE_RUNS)]
        return [statistics.median(run[name] for run in runs) for name in ("admit_ns", "call_ns")]

    def decision(self):
        rows = []
        for title, kinds in (("of one kind", 1), ("of 20,000 kinds", 20000)):
            few, many = self._decide(100, kinds), self._decide(100000, kinds)
            admit, call = many[0] / few[0], many[1] / few[1]
            rows.append(Row(
                f"decisions with 100,000 queued, {title}",
                {"tollgate": f"admitting {few[0] / 1e3:.1f} → {many[0] / 1e3:.1f} µs, "
                             f"making a call {few[1] / 1e3:.1f} → {many[1] / 1e3:.1f} µs"},
                "≤ 2 × those with 100", f"{admit:.1f} ×, {call:.1f} ×", max(admit, call) <= 2))
        return rows

    def start(self):
        """With as many audit records as asked for; ten million take a minute or more and 4 GB."""
        count = self._options.records
        times = []
        gateway = self._place.gateway(self._simulator)
        gateway.stop()
        store = gateway.config.folder / "tollgate.db"
        subprocess.run([BUILD / "bench" / "bench_fill", f"sqlite:{store}",
                        gateway.config.json["node"], str(count)], check=True)
        with sqlite3.connect(store) as database:
            (last,) = database.execute("SELECT max(seq) FROM audit").fetchone()
        database.close()
        if last < count:
            raise RuntimeError(f"the store has only {last} records")
        for _ in range(3):
            began = time.monotonic()
            gateway.start(ready=False)
            wait_for("/readyz to be 200", lambda: gateway.admin("/readyz").status_code == 200,
                     60, 0.005)
            times.append(time.monotonic() - began)
            gateway.stop()
        for file in store.parent.glob("tollgate.db*"):
            file.unlink()
        took = statistics.median(times)
        return Row(f"start with {count:,} audit records", {"tollgate": f"ready in {took:.2f} s"},
                   "< 1 s with 10,000,000", f"{took:.2f} s",
                   (took < 1) if count >= 10000000 or took >= 1 else None)
