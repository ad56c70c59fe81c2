"""What can be wrong with a log, and the order in which it is told."""
from typing import NamedTuple

REASONS = (
    "seq-duplicate", "seq-gap", "record-altered", "leaf-altered", "record-misplaced",
    "truncated", "tree-altered", "checkpoint-malformed", "key-unknown", "signature-invalid",
    "root-mismatch", "forked", "intent-duplicate", "intent-without-action",
    "outcome-duplicate", "outcome-without-intent", "over-budget",
)


class Problem(NamedTuple):
    node: str
    seq: int
    reason: str
    detail: str


def in_order(problems):
    """By node and seq; of one seq in the order of REASONS, the plainest evidence first."""
    return sorted(set(problems), key=lambda problem: (
        problem.node, problem.seq, REASONS.index(problem.reason), problem.detail))
