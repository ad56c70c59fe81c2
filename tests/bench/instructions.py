#!/usr/bin/python3
"""Counts the instructions that the gateway runs for one request of each main path, and compares
with instructions.json: a path that grew by more than 10 % fails. Counts hardly depend on how busy
the machine is, so unlike times they can be held to in CI.

A path's count is the difference of two runs under callgrind, one with COUNT requests more than the
other: what starting and stopping costs is in both. One client sends one request after the other.
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))

from kit import Config, Gateway, Simulator  # noqa: E402
from client import Client  # noqa: E402

BASELINE = HERE / "instructions.json"
COUNT = 200
ALLOWED = 0.10


class Counted(Gateway):
    """The gateway under callgrind."""

    def launch(self, arguments):
        self.profile = self.config.folder / "callgrind.out"
        super().launch(["/usr/bin/valgrind", "--tool=callgrind", "--quiet",
                        f"--callgrind-out-file={self.profile}", *arguments])

    def instructions(self):
        """Of its whole life; after stop()."""
        text = self.profile.read_text(encoding="utf-8", errors="replace")
        return int(re.search(r"^(?:summary|totals): (\d+)", text, re.MULTILINE).group(1))


def bad_key(client, _):
    client.send("POST", "/v1/actions", {"types": "unexempt", "ids": ["any-1"]}, 401, key="tg_wrong")


def invalid_body(client, _):
    client.send("POST", "/v1/actions", {"types": "exempt", "ids": ["any-1"],
                                        "params": {"exempt_time": 70000}}, 422)


def durable(client, number):
    client.send("POST", "/v1/actions", {"types": "exempt", "ids": [f"any-{number}"],
                                        "params": {"exempt_time": 24}}, 202)


def status(client, number):
    if number == 0:
        durable(client, 0)
        client.path = "/v1/actions/" + client.answer()["id"]
    client.send("GET", client.path, None, 200)


# Name: what sends a request, and how many are sent before counting begins. By then as much waits
# as an estimate looks at.
PATHS = {"401 for a bad key": (bad_key, 50), "422 for an invalid body": (invalid_body, 50),
         "status of an action": (status, 50), "durable 202": (durable, 200)}


def run(simulator, folder, name, count):
    """The instructions of a gateway's life with so many requests."""
    config = Config(folder, simulator, requests=1, window_s=3600)
    config.json["workers"] = 1
    config.json["limits"] = {"bad_keys_per_minute": 1000000}
    gateway = Counted(config, start=False)
    try:
        gateway.start(ready=False)
        client = Client(gateway.address, gateway.key())
        for number in range(count):
            PATHS[name][0](client, number)
        client.close()
        gateway.stop()
    finally:
        if gateway.running():
            gateway.kill()
    return gateway.instructions()


def measure():
    """{name: instructions of one request}."""
    simulator = Simulator(limit=1000)
    jobs = {}
    try:
        with tempfile.TemporaryDirectory(prefix="tollgate-bench-") as folder, \
                concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            for name, (_, before) in PATHS.items():
                jobs[name] = [pool.submit(run, simulator, pathlib.Path(folder) / f"{name}-{count}",
                                          name, count) for count in (before, before + COUNT)]
            counts = {name: [job.result() for job in pair] for name, pair in jobs.items()}
    finally:
        simulator.stop()
    return {name: (more - less) // COUNT for name, (less, more) in counts.items()}


def compare(found):
    """Prints the table; how many paths grew too much."""
    known = json.loads(BASELINE.read_text(encoding="utf-8"))
    grown = 0
    print(f"{'instructions of a request':28}{'baseline':>12}{'now':>12}{'change':>10}")
    for name, count in found.items():
        change = count / known[name] - 1
        too_much = change > ALLOWED
        grown += too_much
        print(f"{name:28}{known[name]:12,}{count:12,}{change:+10.1%}"
              + ("  grew too much" if too_much else ""))
    if found.keys() != known.keys():
        sys.exit(f"{BASELINE.name} has other paths: write it anew with --update")
    if any(count < (1 - ALLOWED) * known[name] for name, count in found.items()):
        print(f"Some need much less now: --update, so that {BASELINE.name} keeps it that way.")
    return grown


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--update", action="store_true", help="write the baseline anew")
    arguments = parser.parse_args()
    found = measure()
    if arguments.update:
        BASELINE.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        print(f"wrote {BASELINE.name}: {found}")
        return 0
    if compare(found) == 0:
        return 0
    print("Make it cheaper, or, if it is worth its price, say so in the commit that runs "
          "'./dev bench instructions --update'.")
    return 1


if __name__ == "__main__":
    sys.exit(main())
