#!/usr/bin/env python3
"""A second verifier of tollgate's audit log, to check the first one by: written from the
specifications alone, with Python's standard library and openssl.

usage: verify.py --store PATH --public-key FILE... [--checkpoint FILE]... [--json]

A public key file holds a PEM key or a vkey, a checkpoint file the notes that somebody kept. Exit:
0 everything holds, 1 it does not, 2 there is nothing that could be verified."""
import argparse
import json
import pathlib
import sys
from collections import defaultdict
from typing import NamedTuple

import note as notes
from calls import Calls
from log import ORIGIN, Log
from problem import Problem, first_of, in_order
from stored import Store, Unreadable


class Report(NamedTuple):
    problems: list
    remarks: list

    @property
    def first(self):
        return first_of(self.problems)


def read_keys(paths):
    keys = []
    for path in paths:
        try:
            keys.append(notes.parse_key(pathlib.Path(path).read_text(encoding="utf-8")))
        except (notes.Malformed, ValueError) as error:
            raise notes.Malformed(f"{path}: {error}") from error
    return keys


def sort_saved(files, report):
    """{node: [(name, bytes)]} of the notes in [(name, bytes)] of files."""
    saved = defaultdict(list)
    for name, data in files:
        for number, (note, whole) in enumerate(notes.split_notes(data), 1):
            which = f"note {number} of {name}"
            origin = note.split(b"\n", 1)[0]
            if not whole:
                report.remarks.append(f"{which} was cut off: it proves nothing")
            elif origin.startswith(ORIGIN.encode()):
                saved[origin.removeprefix(ORIGIN.encode())].append((which, note))
            else:
                report.problems.append(Problem("", 0, "checkpoint-malformed",
                                               f"{which} is not of a log of tollgate"))
    return saved


def verify(url, keys, files=()):
    """files: [(name, bytes)], files of saved checkpoints."""
    report = Report([], [])
    store = Store(url)
    try:
        calls = Calls()
        saved = sort_saved(files, report)
        for node in sorted({*store.nodes(), *saved}):
            log = Log(store, node, keys,
                      lambda seq, record: calls.add(log.name, seq, record))
            log.check(saved.get(node, []))
            if log.first > 0:
                calls.pruned.add(log.name)
            if not log.good:
                calls.damaged.add(log.name)
            report.problems.extend(log.problems)
            report.remarks.extend(log.remarks)
        calls.check()
        report.problems.extend(calls.problems)
    finally:
        store.close()
    return Report(in_order(report.problems), report.remarks)


def show(report, as_json):
    if as_json:
        first = report.first._asdict() if report.first else None
        print(json.dumps({"ok": not report.problems, "first": first,
                          "problems": [problem._asdict() for problem in report.problems],
                          "remarks": report.remarks}, indent=1))
        return
    sys.stdout.reconfigure(errors="backslashreplace")
    for remark in report.remarks:
        print(remark)
    for problem in report.problems:
        print(f"{problem.node} {problem.seq}: {problem.reason}: {problem.detail}")
    print("Something is wrong." if report.problems else "Everything holds.")


def main(arguments):
    summary, _, rest = __doc__.partition("\n\nusage")
    parser = argparse.ArgumentParser(description=summary, epilog=rest.partition("\n\n")[2])
    parser.add_argument("--store", required=True, metavar="PATH")
    parser.add_argument("--public-key", required=True, action="append", metavar="FILE")
    parser.add_argument("--checkpoint", default=[], action="append", metavar="FILE")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    try:
        keys = read_keys(options.public_key)
        files = [(path, pathlib.Path(path).read_bytes()) for path in options.checkpoint]
        report = verify(options.store, keys, files)
    except (OSError, Unreadable, notes.Malformed) as error:
        print(error, file=sys.stderr)
        return 2
    show(report, options.json)
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
