#!/usr/bin/env python3
"""What overload does to those who are let in, those who are not, and those who only look.

    /usr/bin/python3 tests/bench/overload.py [--seconds 10] [--connections 64] [--times 10]

wrk sends durable 202s over so many connections without ever pausing, and then over ten times as many;
it heeds no Retry-After. Beside it a few probes, each on a connection of its own, send at a slow and
even pace and heed it: an action of the flooding team, one of another team, status, audit and budget
reads, /livez and /metrics. Their times are what the tables say, in ms. Needs wrk.
"""
import argparse
import contextlib
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

from kit import Config, Gateway, Simulator  # noqa: E402
from kit.load import request_bytes  # noqa: E402
from kit.raw import Connection  # noqa: E402

WRK = """
wrk.method = "POST"
wrk.headers["Authorization"] = "Bearer %s"
wrk.headers["Content-Type"] = "application/json"
local id, n = 0, 0
function setup(thread) thread:set("id", id) id = id + 1 end
function request()
    n = n + 1
    return wrk.format(nil, "/v1/actions", nil,
        '{"types":"unexempt","ids":["%s-' .. id .. '-' .. n .. '"]}')
end
"""


def get_bytes(gateway, address, path, client):
    return (f"GET {path} HTTP/1.1\r\nHost: {address}\r\n"
            f"Authorization: Bearer {gateway.key(client)}\r\n\r\n").encode()


class Probe(threading.Thread):
    """Sends what make(n) gives at an even pace, and keeps the times by status."""

    def __init__(self, name, address, make, every_s):
        super().__init__(daemon=True)
        self.name, self.address, self.make, self.every_s = name, address, make, every_s
        self.times = {}
        self.over = threading.Event()
        self.start()

    def run(self):
        with Connection(self.address) as connection:
            number = 0
            while not self.over.wait(self.every_s):
                number += 1
                data = self.make(number)
                sent = time.monotonic()
                connection.send(data)
                answer = connection.read_response()
                took = time.monotonic() - sent
                self.times.setdefault(answer.status_code, []).append(took * 1000)
                if answer.status_code == 503:
                    assert int(answer.headers["Retry-After"]) >= 1
                    time.sleep(0.25)  # sooner it is not read

    def end(self):
        self.over.set()
        self.join(60)
        return self.times


def part(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))]


def resident_mb(gateway):
    with open(f"/proc/{gateway.process.pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS:")) / 1024


@contextlib.contextmanager
def probes(gateway, action_id):
    host, port = gateway.admin_url.removeprefix("http://").rsplit(":", 1)
    front, admin = gateway.address, (host, int(port))

    def submits(client, name):
        return lambda number: request_bytes(
            gateway, "/v1/actions", {"types": "unexempt", "ids": [f"{name}-{number}"]}, client)

    def gets(path, client="script"):
        data = get_bytes(gateway, gateway.addresses[0], path, client)
        return lambda number: data

    tag = str(time.monotonic_ns())
    running = [Probe(f"same team {i}", front, submits("script", f"same-{tag}-{i}"), 0.02)
               for i in range(8)]
    running += [Probe("other team", front, submits("other", f"other-{tag}"), 0.02),
                Probe("GET /v1/actions/ID", front, gets(f"/v1/actions/{action_id}"), 0.05),
                Probe("GET /v1/audit", front, gets("/v1/audit?limit=10", "auditor"), 0.05),
                Probe("GET /v1/budget", front, gets("/v1/budget"), 0.05),
                Probe("/livez", admin, gets("/livez"), 0.05),
                Probe("/metrics", admin, gets("/metrics"), 0.05)]
    yield running


def measure(title, gateway, folder, action_id, seconds, connections):
    before = resident_mb(gateway)
    with probes(gateway, action_id) as running:
        out = ""
        if connections:
            lua = folder / "post.lua"
            lua.write_text(WRK % (gateway.key(), f"w-{connections}"), encoding="ascii")
            out = subprocess.run(["wrk", "-t", "2", "-c", str(connections), "-d", str(seconds),
                                  "-s", lua, gateway.url + "/v1/actions"], check=True,
                                 capture_output=True, text=True).stdout
        else:
            time.sleep(seconds)
        merged = {}
        for probe in running:
            name = re.sub(r" \d$", "", probe.name)
            for status, times in probe.end().items():
                merged.setdefault((name, status), []).extend(times)
    total = re.search(r"(\d+) requests in", out)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    bad = int(bad.group(1)) if bad else 0
    print(f"\n## {title}")
    if total:
        print(f"wrk: {(int(total.group(1)) - bad) / seconds:.0f} accepted, {bad / seconds:.0f} "
              f"refused a second; ", end="")
    print(f"resident {before:.0f} to {resident_mb(gateway):.0f} MB")
    print(f"{'':24}{'status':>8}{'count':>8}{'p50':>8}{'p90':>8}{'p99':>8}{'max':>8}")
    for (name, status), times in merged.items():
        print(f"{name:24}{status:8}{len(times):8}{part(times, .5):8.1f}{part(times, .9):8.1f}"
              f"{part(times, .99):8.1f}{max(times):8.1f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--times", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        simulator = Simulator()
        config = Config(folder / "gateway", simulator, requests=10, window_s=60)
        config.json["teams"]["ops"]["queue_limit"] = 1000000
        config.add_team("other", queue_limit=1000000)
        config.add_client("other", "other")
        config.add_client("auditor", roles=["auditor"])
        gateway = Gateway(config)
        action = gateway.submit({"types": "unexempt", "ids": ["one"]})
        try:
            for title, connections in (
                    ("Unloaded", 0), (f"{options.connections} connections", options.connections),
                    (f"{options.connections * options.times} connections",
                     options.connections * options.times), ("Afterwards", 0)):
                measure(title, gateway, folder, action["id"], options.seconds, connections)
            for line in gateway.logged("overloaded: action calls are refused") + \
                    gateway.logged("the overload is over"):
                print(line)
        finally:
            gateway.stop()
            simulator.stop()


if __name__ == "__main__":
    main()
