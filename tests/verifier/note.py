"""Signed notes (C2SP signed-note) with Ed25519, and the checkpoints of a log (C2SP
tlog-checkpoint). Signatures are verified by the openssl program."""
import base64
import binascii
import functools
import hashlib
import pathlib
import re
import subprocess
import tempfile
from typing import NamedTuple

ED25519 = b"\x01"  # the signature type in a key
SPKI = bytes.fromhex("302a300506032b6570032100")  # RFC 8410: what stands before the 32 bytes
SIGNATURE_BYTES = 64
MAX_SIGNATURES = 64


class Malformed(Exception):
    """It is no note, no checkpoint or no key."""


class KeyUnknown(Exception):
    """None of the known keys signed it."""


class SignatureInvalid(Exception):
    """A known key is said to have signed it, and has not."""


# ---- Keys ----

class Key(NamedTuple):
    name: str | None  # None: the name of whatever log it is asked about
    public: bytes

    def name_for(self, origin):
        return origin if self.name is None else self.name


def key_id(name, public):
    return hashlib.sha256(name.encode() + b"\n" + ED25519 + public).digest()[:4]


def is_key_name(name):
    return bool(name) and "+" not in name and not any(map(str.isspace, name))


def format_vkey(name, public):
    return f"{name}+{key_id(name, public).hex()}+{base64.b64encode(ED25519 + public).decode()}"


def parse_key(text):
    """A PEM public key, or a vkey: name+<8 hex of the key id>+base64(type || public key)."""
    text = text.strip()
    if text.startswith("-----BEGIN PUBLIC KEY-----\n"):
        der = decode_base64("".join(text.split("\n")[1:-1]))
        if not der.startswith(SPKI) or len(der) != len(SPKI) + 32:
            raise Malformed("the PEM key is not of Ed25519")
        return Key(None, der[len(SPKI):])
    parts = text.split("+", 2)  # base64 may hold a + too
    if len(parts) != 3 or not is_key_name(parts[0]):
        raise Malformed("it is neither a PEM public key nor a vkey")
    data = decode_base64(parts[2])
    key = Key(parts[0], data[1:])
    if data[:1] != ED25519 or len(data) != 33 or parts[1] != key_id(*key).hex():
        raise Malformed("the vkey is not of Ed25519, or its key id is wrong")
    return key


def decode_base64(text):
    """Only the one canonical spelling."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Malformed("the base64 is wrong") from error
    if base64.b64encode(data).decode() != text:
        raise Malformed("the base64 is not canonical")
    return data


# ---- Notes ----

class Signature(NamedTuple):
    name: str
    id: bytes
    bytes: bytes


class Note(NamedTuple):
    text: bytes  # what is signed, with its last newline
    signatures: list[Signature]


def parse_note(data):
    try:
        decoded = data.decode()
    except UnicodeDecodeError as error:
        raise Malformed("it is not UTF-8") from error
    if re.search(r"[\x00-\x09\x0b-\x1f]", decoded):
        raise Malformed("it has control characters")
    text, separator, signatures = decoded.rpartition("\n\n")
    if not separator or not text or not signatures.endswith("\n"):
        raise Malformed("it is not a text, an empty line and signature lines")
    lines = signatures[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise Malformed("it has too many signatures")
    return Note((text + "\n").encode(), [parse_signature(line) for line in lines])


def parse_signature(line):
    parts = line.split(" ")
    if len(parts) != 3 or parts[0] != "\u2014" or not is_key_name(parts[1]):
        raise Malformed("a signature line is not as it should be")
    data = decode_base64(parts[2])
    if len(data) < 5:
        raise Malformed("a signature is too short")
    return Signature(parts[1], data[:4], data[4:])


def verify_note(note, origin, keys):
    """Every signature that is said to be of a known key must be, and there must be one."""
    known = {(key.name_for(origin), key_id(key.name_for(origin), key.public)): key.public
             for key in keys}
    ours = [(known[signature.name, signature.id], signature.bytes)
            for signature in note.signatures if (signature.name, signature.id) in known]
    if not ours:
        raise KeyUnknown("it is signed by none of the keys that were given")
    for public, signature in ours:
        if not ed25519_verifies(public, note.text, signature):
            raise SignatureInvalid("the signature is not of that key over that text")


@functools.cache
def ed25519_verifies(public, message, signature):
    if len(signature) != SIGNATURE_BYTES:
        return False
    pem = base64.b64encode(SPKI + public).decode()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "key").write_text(
            f"-----BEGIN PUBLIC KEY-----\n{pem}\n-----END PUBLIC KEY-----\n", encoding="ascii")
        (folder / "message").write_bytes(message)
        (folder / "signature").write_bytes(signature)
        run = subprocess.run(
            ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", folder / "key", "-rawin",
             "-in", folder / "message", "-sigfile", folder / "signature"],
            capture_output=True, check=False)
    return run.returncode == 0


# ---- Checkpoints ----

class Checkpoint(NamedTuple):
    origin: str
    size: int
    root: bytes


def parse_checkpoint(note):
    """The text of a note as that of a checkpoint."""
    lines = note.text.decode().split("\n")[:-1]
    if len(lines) < 3 or "" in lines:
        raise Malformed("the text is not three lines or more")
    origin, size, root = lines[:3]
    if not re.fullmatch("0|[1-9][0-9]{0,18}", size):
        raise Malformed("the size is not a number")
    root = decode_base64(root)
    if len(root) != 32:
        raise Malformed("the root is not 32 bytes")
    return Checkpoint(origin, int(size), root)


def open_checkpoint(data, origin, keys):
    """The checkpoint of that log that is in these bytes, its signature verified. Raises what
    this module has for each thing that can be wrong."""
    note = parse_note(data)
    checkpoint = parse_checkpoint(note)
    if checkpoint.origin != origin:
        raise Malformed(f"its origin is {checkpoint.origin}, not {origin}")
    verify_note(note, origin, keys)
    return checkpoint


WHOLE = re.compile(rb"(?:[^\n]+\n)+\n(?:\xe2\x80\x94 [^\n]*\n)+")
CUT = re.compile(rb"(?:[^\n]+\n?)+(?:\n+\xe2[^\n]*\Z)?")


def split_notes(data):
    """The notes of a file to which checkpoints are appended, each followed by an empty line:
    (bytes, whole) of each. Not whole is one without signatures or without its last newline: what
    is left when the writer died, also if others follow."""
    notes, at = [], 0
    while at < len(data):
        whole = WHOLE.match(data, at)
        found = whole or CUT.match(data, at)
        if found:
            notes.append((found.group(), whole is not None))
        at = found.end() if found else at + 1  # an empty line
    return notes
