"""The tree hashing of RFC 9162 §2.1 with SHA-256."""
import hashlib

HASH_BYTES = 32


def leaf_hash(record):
    return hashlib.sha256(b"\x00" + record).digest()


def node_hash(left, right):
    return hashlib.sha256(b"\x01" + left + right).digest()


def tree_hash(leaves):
    """MTH of §2.1.1, word for word, over leaf hashes: slow, to check the other one by."""
    if len(leaves) < 2:
        return leaves[0] if leaves else hashlib.sha256(b"").digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return node_hash(tree_hash(leaves[:split]), tree_hash(leaves[split:]))


class Tree:
    """A tree that grows at its right edge. Kept are only its peaks: the roots of the complete
    subtrees that it falls into, the largest first, one for each bit set in the size."""

    def __init__(self, size=0, peaks=()):
        self.size = size
        self.peaks = list(peaks)

    def copy(self):
        return Tree(self.size, self.peaks)

    def add(self, leaf):
        """Appends a leaf hash; yields (level, number, hash) of each inner node now complete."""
        number, level = self.size, 0
        self.size += 1
        while number % 2 == 1:  # a right child: its sibling is the last peak
            leaf = node_hash(self.peaks.pop(), leaf)
            number, level = number // 2, level + 1
            yield level, number, leaf
        self.peaks.append(leaf)

    def root(self):
        if not self.peaks:
            return tree_hash([])
        root = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            root = node_hash(peak, root)
        return root
