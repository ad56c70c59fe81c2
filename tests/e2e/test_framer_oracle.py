"""What the framer lets through, others frame the same way: Node's strict parser, which we did not
write, and evhttp, which gets it. Each reads the same bytes; they must see the same requests with
the same methods, targets and bodies, and nothing else. Streams come from a grammar and its abuse,
and from the fuzzer's corpus."""
import json
import os
import pathlib
import shutil
import subprocess

import pytest
from kit.process import BUILD, ROOT
from kit.streams import Streams

FUZZ = ROOT / "tests" / "fuzz"
CORPUS = sorted((FUZZ / "corpus" / "framer").iterdir())
END = b"GET /end HTTP/1.1\r\nHost: end\r\n\r\n"
END_SEEN = {"method": "GET", "target": "/end", "body": ""}
BATCH = 1000
ROUNDS = 300 if os.environ.get("TOLLGATE_SOAK") else 2
SEED = int(os.environ.get("TOLLGATE_SEED", "1"))

NODE = ["node", str(FUZZ / "oracle.js")]
EVHTTP = [str(BUILD / "targets" / "evhttp_main")]
READERS = {"node": NODE, "evhttp": EVHTTP}


def ask(command, streams):
    """What a reader says of each stream."""
    assert shutil.which(command[0]), f"{command[0]} is missing: './dev test e2e' installs it"
    lines = "".join(stream.hex() + "\n" for stream in streams)
    done = subprocess.run(command, input=lines, text=True, capture_output=True, timeout=300,
                          check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(said) == len(streams), done.stderr[-4000:]
    return said


def frame(streams, *arguments):
    return ask([str(BUILD / "targets" / "framer_main"), *arguments], streams)


def expected_of(framed, seen):
    """What the other must have seen, up to where it stops taking requests."""
    expected = framed["messages"] + [END_SEEN]
    for count, message in enumerate(seen, 1):
        if message["last"]:
            return expected[:count]
    return expected


def compare(name, streams, framed):
    """Gives the reader what was let through, and a last request that it must see, too."""
    through = [stream[:what["end"]] + END for stream, what in zip(streams, framed)]
    for data, what, said in zip(through, framed, ask(READERS[name], through)):
        seen = [{key: message[key] for key in END_SEEN} for message in said["messages"]]
        assert seen == expected_of(what, said["messages"]), \
            f"the framer lets through what {name} reads otherwise: {data!r}: {said}"


def check(name, streams):
    framed = frame(streams)
    for size in ("1", "7"):
        assert frame(streams, size) == framed, f"fed by {size} bytes it says something else"
    compare(name, streams, framed)
    return framed


@pytest.mark.parametrize("name", READERS)
def test_corpus(name):
    streams = [path.read_bytes() for path in CORPUS]
    found = pathlib.Path(BUILD / "fuzz" / "corpus" / "framer")
    if found.is_dir():
        streams += [path.read_bytes() for path in sorted(found.iterdir())[:5000]]
    framed = check(name, streams)
    assert sum(len(what["messages"]) for what in framed) >= 10


@pytest.mark.parametrize("name", READERS)
def test_generated(name):
    for round in range(ROUNDS):
        seed = f"{SEED}/{round}"
        generator = Streams(seed)
        streams = [generator.stream() for _ in range(BATCH)]
        framed = check(name, streams)
        verdicts = [what["verdict"] for what in framed]
        # The test says nothing if all is refused, or all let through.
        assert verdicts.count("done") > BATCH / 3, (seed, verdicts.count("done"))
        assert verdicts.count("refused") > BATCH / 5, (seed, verdicts.count("refused"))
        assert sum(len(what["messages"]) for what in framed) > BATCH


def test_readers_differ_from_a_lax_framer():
    """That the comparison can fail: were the framer as lax as evhttp, Node would tell."""
    smuggled = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 40\r\n\r\nabc"
    lax = {"end": len(smuggled), "messages": [{"method": "POST", "target": "/", "body": "616263"}]}
    compare("evhttp", [smuggled], [lax])
    with pytest.raises(AssertionError, match="reads otherwise"):
        compare("node", [smuggled], [lax])
