"""Notes, checkpoints and keys: what is read, what is refused, what is believed."""
import base64

import forge
import merkle
import note as notes
import pytest

# The example of C2SP tlog-checkpoint and signed-note: well formed, of keys that nobody told us.
EXAMPLE = """example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

\u2014 example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
"""
POEM = """Ognuno sta solo sul cuor della terra
trafitto da un raggio di sole:

ed è subito sera.

\u2014 quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=
"""
# Of golang.org/x/mod/sumdb/note: a key, and a note that it signed.
GO_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_NOTE = """If you think cryptography is the answer to your problem,
then you don't know what your problem is.

\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=
"""
ORIGIN = "tollgate/gw-1"


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    return forge.SigningKey(tmp_path_factory.mktemp("key"))


def signed(key, text=None):
    tree = merkle.Tree()
    list(tree.add(merkle.leaf_hash(b"{}")))
    return key.sign(ORIGIN, text or forge.checkpoint_text(ORIGIN, tree)).encode()


def test_examples_are_read():
    checkpoint = notes.parse_checkpoint(notes.parse_note(EXAMPLE.encode()))
    assert checkpoint[:2] == ("example.com/behind-the-sofa", 20852163)
    assert base64.b64encode(checkpoint.root) == b"CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="
    note = notes.parse_note(POEM.encode())
    assert note.text.decode().endswith("\n\ned è subito sera.\n")
    assert [signature.name for signature in note.signatures] == ["quasimodo.example/salvatore"]
    with pytest.raises(notes.Malformed):
        notes.parse_checkpoint(note)


def test_a_note_that_others_signed():
    key = notes.parse_key(GO_VKEY + "\n")
    assert key.name == "PeterNeumann"
    assert notes.format_vkey(*key) == GO_VKEY
    note = notes.parse_note(GO_NOTE.encode())
    notes.verify_note(note, None, [key])
    with pytest.raises(notes.SignatureInvalid):
        notes.verify_note(note._replace(text=note.text + b"x"), None, [key])


def test_a_checkpoint(key):
    checkpoint = notes.open_checkpoint(signed(key), ORIGIN, [key.verifier()])
    assert checkpoint == (ORIGIN, 1, merkle.leaf_hash(b"{}"))
    vkey = notes.parse_key(notes.format_vkey(ORIGIN, key.public))
    assert notes.open_checkpoint(signed(key), ORIGIN, [vkey]) == checkpoint


def test_other_keys_are_ignored(key, tmp_path):
    other = forge.SigningKey(tmp_path / "other")
    both = signed(key) + signed(other).rpartition(b"\n\n")[2]
    for one in (key, other):
        notes.open_checkpoint(both, ORIGIN, [one.verifier()])
    with pytest.raises(notes.KeyUnknown):
        notes.open_checkpoint(signed(key), ORIGIN, [other.verifier()])
    with pytest.raises(notes.KeyUnknown):  # the right key under another name
        notes.open_checkpoint(signed(key), ORIGIN, [notes.Key("tollgate/gw-2", key.public)])


def test_the_key_id_proves_nothing(key, tmp_path):
    other = forge.SigningKey(tmp_path / "other")
    text = forge.checkpoint_text(ORIGIN, merkle.Tree())
    forged = other.sign(ORIGIN, text, notes.key_id(ORIGIN, key.public))
    with pytest.raises(notes.SignatureInvalid):
        notes.open_checkpoint(forged.encode(), ORIGIN, [key.verifier()])


def test_every_changed_byte_is_found(key):
    good = signed(key)
    for at in range(len(good)):
        bad = good[:at] + bytes([good[at] ^ 1]) + good[at + 1:]
        with pytest.raises((notes.Malformed, notes.KeyUnknown, notes.SignatureInvalid)):
            notes.open_checkpoint(bad, ORIGIN, [key.verifier()])


@pytest.mark.parametrize("text", [
    f"{ORIGIN}\n1\n", f"{ORIGIN}\n01\n{'A' * 43}=\n", f"{ORIGIN}\n-1\n{'A' * 43}=\n",
    f"{ORIGIN}\n1\n{'A' * 43}\n", f"{ORIGIN}\n1\n{'A' * 42}B=\n", f"{ORIGIN}\n1\nAAAA\n",
    f"{ORIGIN}\n1\n{'A' * 43}=\n\nmore\n", f"{ORIGIN}\n\u0661\n{'A' * 43}=\n",
    f"tollgate/gw-2\n1\n{'A' * 43}=\n"])
def test_signed_but_no_checkpoint(key, text):
    with pytest.raises(notes.Malformed):
        notes.open_checkpoint(signed(key, text), ORIGIN, [key.verifier()])


@pytest.mark.parametrize("change", [
    lambda note: note[:-1], lambda note: note + b"\n", lambda note: b"\xff" + note,
    lambda note: b"\x1b" + note, lambda note: note.replace(b"\n\n", b"\n"),
    lambda note: note.rpartition(b"\n\n")[0] + b"\n\n", lambda note: b"",
    lambda note: note.replace("\u2014".encode(), b"-"), lambda note: note.replace(b"=", b""),
    lambda note: note + note.rpartition(b"\n\n")[2] * 64])
def test_no_notes(key, change):
    with pytest.raises(notes.Malformed):
        notes.parse_note(change(signed(key)))


@pytest.mark.parametrize("text", [
    "", "a+b", "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
    "Peter Neumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
    "PeterNeumann+c74f20a3+AhpC", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"])
def test_no_keys(text):
    with pytest.raises(notes.Malformed):
        notes.parse_key(text)


def test_notes_of_a_file(key):
    note = signed(key)
    assert notes.split_notes(b"") == []
    assert notes.split_notes(note + b"\n" + note + b"\n") == [(note, True)] * 2
    assert notes.split_notes(b"\n\n" + note + note + b"\n\n\n") == [(note, True)] * 2


def test_notes_that_were_cut(key):
    """At every byte of the second, at the end of the file or with others appended behind."""
    note = signed(key)
    for at in range(1, len(note)):
        first, second = notes.split_notes(note + b"\n" + note[:at])
        assert first == (note, True) and not second[1] and note.startswith(second[0].rstrip(b"\n"))
        mended = note[:at].rstrip(b"\n") + b"\n\n"
        first, *cut, last = notes.split_notes(note + b"\n" + mended + note + b"\n")
        assert first == last == (note, True)
        assert (note, True) not in cut or mended == note + b"\n"
