"""The rules of contract section 4, "Validation", a second time and in another way: an oracle for
the gateway's own reading of bodies. It shares nothing with the C code but the contract."""
import json
import re
import unicodedata

ACTIONS = {"exempt", "unexempt", "ignore", "unignore", "delete", "dhcprenew", "re-identify",
           "assign_to_group", "fetch_agent_log"}
ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
HEX = "[0-9A-Fa-f]{2}"
MAC = re.compile(f"{HEX}(:{HEX}){{5}}|{HEX}(-{HEX}){{5}}|({HEX}){{6}}")


def _escape(key):
    return key.replace("~", "~0").replace("/", "~1")


def _is_integer(value):
    return isinstance(value, int) and not isinstance(value, bool)


def _is_printable(text):
    return all(character == " " or unicodedata.category(character)[0] in "LMNPS"
               for character in text)


def _canonical_mac(text):
    digits = re.sub("[:-]", "", text).lower()
    return ":".join(digits[at:at + 2] for at in range(0, 12, 2))


class Verdict:
    """must: pointers that have to be named. may: pointers that can be named beside. one_of: lists
    of pointers of which at least one is named, where the contract does not say which."""

    def __init__(self):
        self.must, self.may, self.one_of, self.canonical, self.asked = set(), set(), [], None, None

    @property
    def valid(self):
        return not self.must and not self.one_of

    def agrees(self, pointers):
        allowed = self.must | self.may | {pointer for some in self.one_of for pointer in some}
        under_may = {pointer for pointer in pointers
                     if any(pointer.startswith(may + "/") for may in self.may)}
        return self.must <= pointers and pointers - under_may <= allowed and \
            all(pointers & set(some) for some in self.one_of)


def _judge_devices(verdict, key, value, maximum):
    if not isinstance(value, list) or not value:
        verdict.must.add("/" + key)
        return [], []
    asked, canonical = [], []
    for place, item in enumerate(value):
        pattern = MAC if key == "macs" else ID
        if not isinstance(item, str) or not pattern.fullmatch(item) or item in (".", ".."):
            verdict.must.add(f"/{key}/{place}")
            continue
        sent = _canonical_mac(item) if key == "macs" else item
        if sent not in canonical:
            asked.append(item)
            canonical.append(sent)
    if len(canonical) > maximum:
        verdict.must.add("/" + key)
    return asked, canonical


def _judge_params(verdict, action, params):
    if not isinstance(params, dict):
        verdict.must.add("/params")
        return
    if action is None:
        verdict.may.add("/params")
        return
    known = {"exempt": "exempt_time", "assign_to_group": "group_id"}.get(action)
    verdict.must |= {"/params/" + _escape(key) for key in params if key != known}
    if known == "exempt_time" and known in params:
        value = params[known]
        if not _is_integer(value) or not 0 <= value <= 64999:
            verdict.must.add("/params/exempt_time")
    if known == "group_id":
        value = params.get(known)
        if not isinstance(value, str) or not 1 <= len(value) <= 128 or not _is_printable(value):
            verdict.must.add("/params/group_id")


def judge(body, maximum=1000):
    """Judges a parsed body that is an object."""
    verdict = Verdict()
    verdict.must |= {"/" + _escape(key) for key in body
                     if key not in ("types", "ids", "macs", "params")}
    action = body.get("types")
    if not isinstance(action, str) or action not in ACTIONS:
        verdict.must.add("/types")
        action = None
    kinds = [key for key in ("ids", "macs") if key in body]
    devices = {key: _judge_devices(verdict, key, body[key], maximum) for key in kinds}
    if len(kinds) != 1:
        verdict.one_of.append(["", "/ids", "/macs"])
    if "params" in body or action == "assign_to_group":
        if "params" not in body:
            verdict.one_of.append(["/params", "/params/group_id"])
        else:
            _judge_params(verdict, action, body["params"])
    if verdict.valid:
        verdict.asked, sent = devices[kinds[0]]
        verdict.canonical = {"types": action, kinds[0]: sent}
        if body.get("params"):
            verdict.canonical["params"] = body["params"]
    return verdict


def canonical_text(verdict):
    return json.dumps(verdict.canonical, separators=(",", ":"), ensure_ascii=False)
