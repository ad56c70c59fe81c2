#!/usr/bin/python3
"""Measures tollgate beside what people would pick instead, on this machine, in one go, and prints a
table. docs/performance.md says what is compared and how to read it."""
import argparse
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))

from footprint import Footprint  # noqa: E402
from limits import Limits  # noqa: E402
from meters import Noise  # noqa: E402
from place import PEERS, Place  # noqa: E402
from rates import Rates  # noqa: E402
from table import text_of  # noqa: E402

GROUPS = ("rates", "limits", "footprint")


def options_of(arguments):
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="GROUP",
                        help=f"only these: {', '.join(GROUPS)}")
    parser.add_argument("--rounds", type=int, default=7, help="of the rates (7)")
    parser.add_argument("--seconds", type=int, default=4, help="of each measure in a round (4)")
    parser.add_argument("--records", type=int, default=10000000,
                        help="audit records to start with (10,000,000)")
    parser.add_argument("--quick", action="store_true",
                        help="2 rounds of 1 s, 200,000 records: to see whether it works")
    parser.add_argument("--strict", action="store_true", help="fail if a row is missed")
    parser.add_argument("--folder", type=pathlib.Path, help="on the disk to measure (build/bench)")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.seconds, options.records = 2, 1, 200000
    unknown = set(options.groups) - set(GROUPS)
    if unknown:
        parser.error(f"there is no group {', '.join(unknown)}")
    options.groups = options.groups or GROUPS
    return options


def say(text):
    print(text, file=sys.stderr, flush=True)


def run_rates(place, options, noise):
    rates = Rates(place, place.simulator(), options)
    for number in range(options.rounds):
        say(f"Round {number + 1} of {options.rounds}.")
        noise.sample(place.folder)
        rates.round(number)
    noise.sample(place.folder)
    return rates.rows(noise.fsync())


def run_limits(place, _options, _noise):
    limits = Limits(place)
    say("Use of slots.")
    rows = [limits.slots()]
    say("A thousand actions.")
    return limits.thousand() + rows


def run_footprint(place, options, noise):
    footprint = Footprint(place, place.simulator(), options)
    noise.sample(place.folder)
    say("Memory.")
    rows = footprint.memory()
    say("Decisions.")
    rows += footprint.decision()
    say(f"Start with {options.records:,} audit records.")
    return rows + [footprint.start()]


def versions():
    found = []
    for package in ("nginx", "libnginx-mod-http-lua", "haproxy", "wrk"):
        ran = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package],
                             capture_output=True, text=True, check=True)
        found.append(f"{package} {ran.stdout}")
    return ", ".join(found)


def main():
    options = options_of(sys.argv[1:])
    noise = Noise()
    rows = []
    parent = options.folder or HERE.parents[1] / "build" / "bench"
    folder = pathlib.Path(tempfile.mkdtemp(prefix="run-", dir=parent))
    runs = {"rates": run_rates, "limits": run_limits, "footprint": run_footprint}
    try:
        for group in options.groups:
            place = Place(folder)
            try:
                rows += runs[group](place, options, noise)
            finally:
                place.close()
    finally:
        shutil.rmtree(folder)
    print(text_of(rows))
    print(f"\nLinux {platform.release()}; {versions()}; {options.rounds} rounds of "
          f"{options.seconds} s, medians.")
    if noise.times:
        print(f"\nNoise: {noise.describe()}.")
    print("\nWhat the peers leave out:\n")
    for peer in PEERS.values():
        print(f"- {peer.name}: {peer.left_out}.")
    return 1 if options.strict and any(row.reached is not True for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
