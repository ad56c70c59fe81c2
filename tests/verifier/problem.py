"""What can be wrong with a log, and the order in which it is told."""
from typing import NamedTuple

# Of one seq, those that come first here are told first.
REASONS = (
    "record-altered", "leaf-altered", "seq-gap", "seq-duplicate", "record-misplaced",
    "tree-altered", "root-mismatch", "checkpoint-malformed", "signature-invalid", "key-unknown",
    "truncated", "forked", "intent-duplicate", "intent-without-action", "outcome-duplicate",
    "outcome-without-intent", "finished-without-acceptance", "over-budget",
)


class Problem(NamedTuple):
    node: str
    seq: int
    reason: str
    detail: str


def in_order(problems):
    """Without repetition: by node, then by seq."""
    return sorted(set(problems), key=lambda problem: (
        name_bytes(problem.node), problem.seq, REASONS.index(problem.reason), problem.detail))


def first_of(problems):
    """The one with the lowest seq of all nodes; of problems in order, or None."""
    return min(problems, key=lambda problem: problem.seq, default=None)


def name_text(name):
    """The name of a node, which need not be UTF-8 once it was tampered with, as a string."""
    return name.decode(errors="surrogateescape")


def name_bytes(name):
    return name.encode(errors="surrogateescape")
