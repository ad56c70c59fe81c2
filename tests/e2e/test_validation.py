"""Every wrong body gets its code, its problem and its pointers; the upstream sees none of it."""
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kit.checks import assert_problem
from kit.gateway import DROP_IN, SUBMIT
from kit.model import ACTIONS, canonical_text, judge

MAX_DEVICES = 150


@pytest.fixture(scope="module")
def site(module_site):
    class Both:
        simulator = module_site.simulator(max_devices=MAX_DEVICES)
        config = module_site.config(simulator)
    Both.config.json["limits"] = {"max_devices_per_request": MAX_DEVICES}
    Both.config.add_client("auditor", roles=["auditor"])
    Both.gateway = module_site.gateway(Both.config)
    return Both


@pytest.fixture
def gateway(site):
    """The upstream must have seen nothing when the test is over."""
    site.simulator.forget_calls()
    yield site.gateway
    assert site.simulator.calls() == []
    stats = site.simulator.stats()
    assert (stats["executed"], stats["bad_request"], stats["bad_token"]) == (0, 0, 0)


def body(**members):
    return {"types": "unexempt", "ids": ["any-1"], **members}


def without(key, **members):
    made = body(**members)
    del made[key]
    return made


def macs(*values):
    return {"types": "unexempt", "macs": list(values)}


def exempt(**params):
    return body(types="exempt", params=params)


def group(**params):
    return body(types="assign_to_group", params=params)


INVALID = {
    # name: (body, pointers; a tuple is one of several, where the contract leaves it open)
    "empty object": ({}, ["/types", ("", "/ids", "/macs")]),
    "no types": (without("types"), ["/types"]),
    "types null": (body(types=None), ["/types"]),
    "types list": (body(types=["exempt"]), ["/types"]),
    "types number": (body(types=1), ["/types"]),
    "types empty": (body(types=""), ["/types"]),
    "types unknown": (body(types="reboot"), ["/types"]),
    "types upper case": (body(types="Exempt"), ["/types"]),
    "types with space": (body(types="exempt "), ["/types"]),
    "types of 3.2": (body(types="scan_threats"), ["/types"]),
    "types of 2.0": (body(types="exempt_all"), ["/types"]),
    "types with underscore": (body(types="re_identify"), ["/types"]),
    "no devices": (without("ids"), [("", "/ids", "/macs")]),
    "both kinds": (body(macs=["00:0c:29:ff:00:01"]), [("", "/ids", "/macs")]),
    "both kinds, one empty": (body(macs=[]), [("", "/ids", "/macs"), ("/macs", "")]),
    "ids null": (body(ids=None), ["/ids"]),
    "ids string": (body(ids="any-1"), ["/ids"]),
    "ids object": (body(ids={"0": "any-1"}), ["/ids"]),
    "ids empty": (body(ids=[]), ["/ids"]),
    "macs empty": ({"types": "unexempt", "macs": []}, ["/macs"]),
    "macs string": ({"types": "unexempt", "macs": "00:0c:29:ff:00:01"}, ["/macs"]),
    "id number": (body(ids=[1]), ["/ids/0"]),
    "id null": (body(ids=["any-1", None]), ["/ids/1"]),
    "id nested": (body(ids=[["any-1"]]), ["/ids/0"]),
    "id empty": (body(ids=[""]), ["/ids/0"]),
    "id of 129": (body(ids=["x" * 129]), ["/ids/0"]),
    "id of a megabyte": (body(ids=["x" * 1000000]), ["/ids/0"]),
    "id parent": (body(ids=[".."]), ["/ids/0"]),
    "id path": (body(ids=["../../admin"]), ["/ids/0"]),
    "id percent dots": (body(ids=["%2e%2e"]), ["/ids/0"]),
    "id percent nul": (body(ids=["any%00"]), ["/ids/0"]),
    "id percent slash": (body(ids=["a%2fb"]), ["/ids/0"]),
    "id slash": (body(ids=["a/b"]), ["/ids/0"]),
    "id backslash": (body(ids=["a\\b"]), ["/ids/0"]),
    "id quote": (body(ids=['a"b']), ["/ids/0"]),
    "id apostrophe": (body(ids=["a'b"]), ["/ids/0"]),
    "id newline": (body(ids=["any-1\n"]), ["/ids/0"]),
    "id return": (body(ids=["a\r\nX: y"]), ["/ids/0"]),
    "id escape": (body(ids=["a\x1b[31m"]), ["/ids/0"]),
    "id space": (body(ids=[" any-1"]), ["/ids/0"]),
    "id not ascii": (body(ids=["gerät"]), ["/ids/0"]),
    "id fullwidth": (body(ids=["any-１"]), ["/ids/0"]),
    "id comma": (body(ids=["a,b"]), ["/ids/0"]),
    "several ids": (body(ids=["ok", "", "ok2", "a b", 7]), ["/ids/1", "/ids/3", "/ids/4"]),
    "mac short": (macs("00:0c:29:ff:00"), ["/macs/0"]),
    "mac long": (macs("00:0c:29:ff:00:01:02"), ["/macs/0"]),
    "mac no hex": (macs("00:0c:29:ff:00:0g"), ["/macs/0"]),
    "mac mixed separators": (macs("00:0c-29:ff:00:01"), ["/macs/0"]),
    "mac cisco": (macs("000c.29ff.0001"), ["/macs/0"]),
    "mac one digit": (macs("0:c:29:ff:0:1"), ["/macs/0"]),
    "mac space": (macs("00:0c:29:ff:00:01 "), ["/macs/0"]),
    "mac empty": (macs(""), ["/macs/0"]),
    "mac number": (macs(12), ["/macs/0"]),
    "mac trailing colon": (macs("00:0c:29:ff:00:01:"), ["/macs/0"]),
    "mac second": (macs("00:0c:29:ff:00:01", "any-1"), ["/macs/1"]),
    "mac eleven digits": (macs("000c29ff000"), ["/macs/0"]),
    "too many ids": (body(ids=[f"any-{n}" for n in range(MAX_DEVICES + 1)]), ["/ids"]),
    "too many macs": (macs(*[f"00:0c:29:ff:01:{n:02x}" for n in range(MAX_DEVICES + 1)]),
                      ["/macs"]),
    "unknown key": (body(type="exempt"), ["/type"]),
    "unknown keys": (body(a=1, b=None), ["/a", "/b"]),
    "unknown key to escape": (body(**{"a/b~c": 1}), ["/a~1b~0c"]),
    "empty key": (body(**{"": 1}), ["/"]),
    "access_token in the body": (body(access_token="x"), ["/access_token"]),
    "params null": (body(params=None), ["/params"]),
    "params list": (body(params=[]), ["/params"]),
    "params string": (body(params="24"), ["/params"]),
    "exempt_time real": (exempt(exempt_time=24.0), ["/params/exempt_time"]),
    "exempt_time string": (exempt(exempt_time="24"), ["/params/exempt_time"]),
    "exempt_time null": (exempt(exempt_time=None), ["/params/exempt_time"]),
    "exempt_time true": (exempt(exempt_time=True), ["/params/exempt_time"]),
    "exempt_time negative": (exempt(exempt_time=-1), ["/params/exempt_time"]),
    "exempt_time 65000": (exempt(exempt_time=65000), ["/params/exempt_time"]),
    "exempt_time 2^32": (exempt(exempt_time=1 << 32), ["/params/exempt_time"]),
    "exempt_time list": (exempt(exempt_time=[24]), ["/params/exempt_time"]),
    "exempt unknown param": (exempt(exempt_time=24, hours=1), ["/params/hours"]),
    "exempt with group": (exempt(group_id="default"), ["/params/group_id"]),
    "param for unexempt": (body(params={"exempt_time": 1}), ["/params/exempt_time"]),
    "param for delete": (body(types="delete", params={"x": 1}), ["/params/x"]),
    "param for fetch_agent_log": (body(types="fetch_agent_log", params={"a": 1}), ["/params/a"]),
    "group without params": (body(types="assign_to_group"), [("/params/group_id", "/params")]),
    "group without id": (group(), ["/params/group_id"]),
    "group null": (group(group_id=None), ["/params/group_id"]),
    "group number": (group(group_id=1), ["/params/group_id"]),
    "group empty": (group(group_id=""), ["/params/group_id"]),
    "group of 129": (group(group_id="g" * 129), ["/params/group_id"]),
    "group of 129 wide characters": (group(group_id="ü" * 129), ["/params/group_id"]),
    "group of a megabyte": (group(group_id="g" * 1000000), ["/params/group_id"]),
    "group newline": (group(group_id="a\nb"), ["/params/group_id"]),
    "group tab": (group(group_id="a\tb"), ["/params/group_id"]),
    "group delete": (group(group_id="a\x7f"), ["/params/group_id"]),
    "group escape": (group(group_id="\x1b[2J"), ["/params/group_id"]),
    "group c1": (group(group_id="a\x85b"), ["/params/group_id"]),
    "group unknown param": (group(group_id="ok", exempt_time=1), ["/params/exempt_time"]),
    "all at once": ({"types": "exempt", "ids": ["a b", "ok", ""], "x": 1, "y": 2,
                     "params": {"exempt_time": "1", "z": 1}},
                    ["/ids/0", "/ids/2", "/x", "/y", "/params/exempt_time", "/params/z"]),
}


def assert_pointers(found, wanted):
    allowed = set()
    for pointer in wanted:
        several = set(pointer) if isinstance(pointer, tuple) else {pointer}
        assert several & found, (wanted, found)
        allowed |= several
    assert found <= allowed, (wanted, found)


@pytest.mark.parametrize("name", INVALID)
def test_invalid(gateway, name):
    wrong, pointers = INVALID[name]
    problem = assert_problem(gateway.post(wrong), 422, "invalid-action")
    errors = problem["errors"]
    assert all(set(error) == {"pointer", "detail"} and error["detail"] for error in errors)
    assert_pointers({error["pointer"] for error in errors}, pointers)
    assert len({error["pointer"] for error in errors}) == len(errors)
    assert len(json.dumps(problem)) < 20000, "it says a client's megabyte back to it"


GOOD = b'{"types":"unexempt","ids":["any-1"]}'

MALFORMED = {
    "nothing": b"",
    "space": b"  \r\n",
    "text": b"types=exempt",
    "top array": b'["exempt"]',
    "top string": b'"exempt"',
    "top number": b"1",
    "top null": b"null",
    "cut": GOOD[:-1],
    "trailing comma": b'{"types":"unexempt","ids":["any-1"],}',
    "trailing bytes": GOOD + b"x",
    "two values": GOOD + GOOD,
    "trailing nul": GOOD + b"\x00",
    "byte order mark": b"\xef\xbb\xbf" + GOOD,
    "utf-16": GOOD.decode().encode("utf-16"),
    "single quotes": b"{'types':'unexempt','ids':['any-1']}",
    "comment": b'/* */{"types":"unexempt","ids":["any-1"]}',
    "duplicate key": b'{"types":"unexempt","types":"delete","ids":["any-1"]}',
    "duplicate equal key": b'{"types":"unexempt","types":"unexempt","ids":["any-1"]}',
    "duplicate key escaped": b'{"types":"unexempt","\\u0074ypes":"delete","ids":["any-1"]}',
    "duplicate key in params":
        b'{"types":"exempt","ids":["any-1"],"params":{"exempt_time":1,"exempt_time":0}}',
    "bad utf-8": b'{"types":"unexempt","ids":["any-\xff"]}',
    "overlong utf-8": b'{"types":"unexempt","ids":["any-\xc0\xae"]}',
    "utf-8 surrogate": b'{"types":"unexempt","ids":["any-\xed\xa0\x80"]}',
    "an escape that a character cuts":
        b'{"types":"unexempt","ids":["any-\\ude0\xd0\x8c"]}',
    "bad escape": b'{"types":"unexempt","ids":["any-\\x41"]}',
    "raw newline in a string": b'{"types":"unexempt","ids":["any-\n"]}',
    "raw nul in a string": b'{"types":"unexempt","ids":["any-\x00"]}',
    "NaN": b'{"types":"exempt","ids":["any-1"],"params":{"exempt_time":NaN}}',
    "hexadecimal": b'{"types":"exempt","ids":["any-1"],"params":{"exempt_time":0x18}}',
    "leading zero": b'{"types":"exempt","ids":["any-1"],"params":{"exempt_time":024}}',
    "plus": b'{"types":"exempt","ids":["any-1"],"params":{"exempt_time":+24}}',
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed(gateway, name):
    assert_problem(gateway.post(MALFORMED[name]), 400, "malformed-request")


# Case 14 leaves open whether these are malformed or merely wrong.
EITHER = {
    "1e400": b'{"types":"exempt","ids":["any-1"],"params":{"exempt_time":1e400}}',
    "huge integer": b'{"types":"exempt","ids":["any-1"],"params":{"exempt_time":1' + b"0" * 400 +
                    b"}}",
    "2^64": b'{"types":"exempt","ids":["any-1"],"params":{"exempt_time":18446744073709551616}}',
    "1e1": b'{"types":"exempt","ids":["any-1"],"params":{"exempt_time":1e1}}',
    "-0": b'{"types":"exempt","ids":["any-1"],"params":{"exempt_time":-0.0}}',
    "lone surrogate": b'{"types":"unexempt","ids":["any-\\ud800"]}',
    "lone low surrogate": b'{"types":"unexempt","ids":["any-\\udc00x"]}',
    "lone surrogate in a group":
        b'{"types":"assign_to_group","ids":["any-1"],"params":{"group_id":"\\ud800"}}',
    "escaped nul": b'{"types":"unexempt","ids":["any-\\u0000"]}',
    "escaped nul in a group":
        b'{"types":"assign_to_group","ids":["any-1"],"params":{"group_id":"a\\u0000b"}}',
    "escaped nul in a key": b'{"types":"unexempt","ids":["any-1"],"a\\u0000":1}',
    "escaped nul behind a known key": b'{"types\\u0000x":1,"types":"unexempt","ids":["any-1"]}',
    "deep lists": b'{"types":"unexempt","ids":' + b"[" * 100000 + b"]" * 100000 + b"}",
    "deep objects": b'{"types":"unexempt","ids":["any-1"],"params":' + b'{"a":' * 100000 + b"1" +
                    b"}" * 100000 + b"}",
    "only brackets": b"[" * 500000,
}


@pytest.mark.parametrize("name", EITHER)
def test_refused_as_malformed_or_invalid(gateway, name):
    answer = gateway.post(EITHER[name])
    assert_problem(answer, *((400, "malformed-request") if answer.status_code == 400 else
                             (422, "invalid-action")))


def test_the_async_path_validates_alike(gateway):
    for path in (DROP_IN, SUBMIT):
        problem = assert_problem(gateway.post(body(ids=["a b"]), path), 422, "invalid-action")
        assert [error["pointer"] for error in problem["errors"]] == ["/ids/0"]
        assert_problem(gateway.post(b"[]", path), 400, "malformed-request")


def test_refusals_are_audited(gateway):
    answer = gateway.post(body(ids=["a b"]))
    record, = gateway.audit_of(event="request.refused", request_id=answer.headers["X-Request-ID"])
    assert record["problem"] == "invalid-action"
    assert (record["client"], record["team"]) == ("script", "ops")


# ---- Random bodies against the model ----

texts = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\x00"),
                max_size=12)
scalars = st.one_of(st.none(), st.booleans(), st.integers(-70000, 70000),
                    st.floats(allow_nan=False, allow_infinity=False), texts)
anything = st.recursive(scalars, lambda inner: st.one_of(
    st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)), max_leaves=12)

good_ids = st.from_regex(r"any-[A-Za-z0-9._:-]{0,20}", fullmatch=True)
good_macs = st.from_regex(r"00:0[cC]:29:[fF][fF](:[0-9a-fA-F]{2}){2}|000[cC]29[fF]{2}[0-9a-fA-F]{4}"
                          r"|00-0[cC]-29-ff(-[0-9a-fA-F]{2}){2}", fullmatch=True)
bad_ids = st.one_of(st.from_regex(r"[A-Za-z0-9._:-]{0,130}[/ %\"\n]?", fullmatch=True), anything)
bad_macs = st.one_of(st.from_regex(r"([0-9a-fA-F]{1,2}[:-]?){5,7}", fullmatch=True), anything)
# Marks, controls of direction and unassigned characters are left out: whether they print is
# a matter of taste.
clear_text = st.text(st.characters(whitelist_categories=("Lu", "Ll", "Lo", "Nd", "Po", "Sm", "Cc"),
                                   whitelist_characters=" ", blacklist_characters="\x00"),
                     max_size=140)
param_values = st.one_of(st.integers(-5, 70000), clear_text,
                         scalars.filter(lambda value: not isinstance(value, str)))
params = st.one_of(
    st.fixed_dictionaries({"exempt_time": st.integers(0, 64999)}),
    st.fixed_dictionaries({"group_id": clear_text}),
    st.dictionaries(st.one_of(st.sampled_from(["exempt_time", "group_id"]), texts), param_values,
                    max_size=3),
    st.just({}), scalars)
mostly = {
    "types": st.one_of(*[st.sampled_from(sorted(ACTIONS))] * 2, anything),
    "ids": st.one_of(st.lists(good_ids, min_size=1, max_size=5), st.lists(bad_ids, max_size=4),
                     anything),
    "macs": st.one_of(st.lists(good_macs, min_size=1, max_size=5), st.lists(bad_macs, max_size=4),
                      anything),
    "params": params,
}


@st.composite
def near_actions(draw):
    """Bodies that are right or nearly so, in any order of keys."""
    keys = ["types"] if draw(st.integers(0, 9)) else []
    keys += draw(st.sampled_from([["ids"], ["macs"], ["ids"], ["macs"], ["ids", "macs"], []]))
    keys += ["params"] if draw(st.booleans()) else []
    made = {key: draw(mostly[key]) for key in draw(st.permutations(keys))}
    if not draw(st.integers(0, 7)):
        made[draw(texts)] = draw(anything)
    return made


PATIENT = dict(deadline=None, print_blob=True, database=None,
               suppress_health_check=list(HealthCheck))


@settings(max_examples=400, **PATIENT)
@given(near_actions())
def test_random_bodies_fare_as_in_the_model(site, wanted):
    verdict = judge(wanted, MAX_DEVICES)
    site.simulator.forget_calls()
    answer = site.gateway.post(wanted)
    bodies = site.simulator.bodies()
    if verdict.valid:
        assert answer.status_code == 200, (wanted, answer.text)
        assert [item["id"] for item in answer.json()] == verdict.asked
        assert bodies == [canonical_text(verdict)]
        return
    assert bodies == []
    problem = assert_problem(answer, 422, "invalid-action")
    found = {error["pointer"] for error in problem["errors"]}
    assert verdict.agrees(found), (wanted, verdict.must, verdict.may, verdict.one_of, found)


@settings(max_examples=150, **PATIENT)
@given(st.one_of(st.binary(max_size=200), anything.map(lambda value: json.dumps(value).encode())))
def test_random_bytes_are_refused_in_order(site, data):
    site.simulator.forget_calls()
    answer = site.gateway.post(data)
    assert answer.status_code in (400, 422), (data, answer.text)
    name = {400: "malformed-request", 422: "invalid-action"}[answer.status_code]
    assert_problem(answer, answer.status_code, name)
    assert site.simulator.calls() == []


def test_a_thousand_devices_are_within_the_default(module_site):
    """max_devices_per_request counts distinct devices, and its default is 1000."""
    simulator = module_site.simulator(max_devices=2000)
    config = module_site.config(simulator)
    config.account["max_devices_per_call"] = 1000
    gateway = module_site.gateway(config)
    ids = [f"any-{number}" for number in range(1000)]
    answer = gateway.post(body(ids=ids))
    assert answer.status_code == 200
    assert [item["id"] for item in answer.json()] == ids
    problem = assert_problem(gateway.post(body(ids=ids + ["any-1000"])), 422, "invalid-action")
    assert [error["pointer"] for error in problem["errors"]] == ["/ids"]
