"""What auditors check: checkpoints and proofs (RFC 9162 section 2.1, C2SP tlog-checkpoint), written
from the specifications."""
import base64
import hashlib
import subprocess
from dataclasses import dataclass


def leaf_hash(record):
    return hashlib.sha256(b"\0" + record).digest()


def node_hash(left, right):
    return hashlib.sha256(b"\1" + left + right).digest()


def root_of(hashes):
    """The root over leaf hashes, straight from the definition."""
    if len(hashes) == 1:
        return hashes[0]
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return node_hash(root_of(hashes[:split]), root_of(hashes[split:]))


def root_of_inclusion(index, size, leaf, proof):
    """The root that an inclusion proof leads to (RFC 9162 section 2.1.3.2)."""
    fn, sn, r = index, size - 1, leaf
    for p in proof:
        assert sn > 0, "the proof is too long"
        if fn % 2 == 1 or fn == sn:
            r = node_hash(p, r)
            while fn % 2 == 0 and fn != 0:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = node_hash(r, p)
        fn, sn = fn >> 1, sn >> 1
    assert sn == 0, "the proof is too short"
    return r


def roots_of_consistency(old_size, new_size, old_root, proof):
    """The old and the new root that a consistency proof leads to (RFC 9162 section 2.1.4.2)."""
    if old_size == new_size:
        assert not proof
        return old_root, old_root
    proof = list(proof)
    if old_size & (old_size - 1) == 0:
        proof.insert(0, old_root)
    fn, sn = old_size - 1, new_size - 1
    while fn % 2 == 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = proof[0]
    for c in proof[1:]:
        assert sn > 0
        if fn % 2 == 1 or fn == sn:
            fr, sr = node_hash(c, fr), node_hash(c, sr)
            while fn % 2 == 0 and fn != 0:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node_hash(sr, c)
        fn, sn = fn >> 1, sn >> 1
    assert sn == 0
    return fr, sr


@dataclass
class Checkpoint:
    origin: str
    size: int
    root: bytes
    body: bytes
    signature: bytes


def read_note(note):
    """One checkpoint with one signature."""
    body, _, signatures = note.partition("\n\n")
    origin, size, root = body.split("\n")
    dash, name, signature = signatures.rstrip("\n").split(" ")
    assert dash == "\u2014" and name == origin
    return Checkpoint(origin, int(size), base64.b64decode(root), (body + "\n").encode(),
                      base64.b64decode(signature)[4:])


def read_notes(text):
    """The checkpoints of a file they were appended to."""
    pieces = text.split("\n\n")
    assert pieces.pop() == "", "the file ends with an empty line"
    return [read_note(pieces[at] + "\n\n" + pieces[at + 1] + "\n")
            for at in range(0, len(pieces), 2)]


def is_signed(checkpoint, public_key, folder):
    """Whether openssl finds the signature good."""
    (folder / "body").write_bytes(checkpoint.body)
    (folder / "signature").write_bytes(checkpoint.signature)
    return subprocess.run(["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", public_key, "-rawin",
                           "-in", folder / "body", "-sigfile", folder / "signature"],
                          capture_output=True, check=False).returncode == 0
