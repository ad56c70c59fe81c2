"""Memory and descriptors stay what they are, however many requests there were. TOLLGATE_SOAK=1: a
hundred thousand."""
import os
from collections import Counter

import pytest
from kit import SANITIZED
from kit.bodies import exempt, unexempt
from kit.load import blast, request_bytes
from kit.waiting import wait_for

SOAK = bool(os.environ.get("TOLLGATE_SOAK"))
ROUNDS, ROUND = (40, 2500) if SOAK else (8, 2500)
GROWTH_KB = 2048
# The store's writer keeps so much of the database in memory. A leak would hide behind it as it
# fills, so it is filled before: a refusal takes a record, of well over half a kilobyte with what
# finds it again.
STORE_CACHE_KB = 16384
WARM_REFUSALS = 2 * STORE_CACHE_KB


def resident_kb(gateway):
    with open(f"/proc/{gateway.process.pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS:"))


def descriptors(gateway):
    return sorted(os.readlink(f"/proc/{gateway.process.pid}/fd/{name}").split(":")[0]
                  for name in os.listdir(f"/proc/{gateway.process.pid}/fd"))


def get(path, key=None):
    lines = [f"GET {path} HTTP/1.1", "Host: gw"]
    if key:
        lines.append("Authorization: Bearer " + key)
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def round_of_requests(gateway, number):
    """Of everything something: what is done, what is refused by whom, and what is only read."""
    requests = []
    for at in range(ROUND // 10):
        device = f"any-{number}-{at}"
        requests += [
            request_bytes(gateway, "/o/api/v3.1/devices/action", unexempt(device)),
            request_bytes(gateway, "/v1/actions", exempt(1 + at % 4, device, f"any-shared-{at % 50}")),
            request_bytes(gateway, "/v1/actions", unexempt(device),
                          headers={"Idempotency-Key": f"key-{number}-{at // 2}"}),
            request_bytes(gateway, "/v1/preflight", unexempt(device)),
            request_bytes(gateway, "/v1/actions", {"types": "none", "ids": [device]}),
            request_bytes(gateway, "/v1/actions", exempt(9999, device)),
            get("/v1/actions?limit=5", gateway.key()),
            get("/v1/budget", gateway.key()),
            get("/v1/actions/act_none", gateway.key()),
            get("/nothing/here", gateway.key())]
    return requests


@pytest.mark.slow
@pytest.mark.skipif(SANITIZED, reason="sanitizers keep freed memory; they look for leaks themselves")
def test_memory_and_descriptors_are_flat(site):
    simulator = site.simulator()
    config = site.config(simulator, requests=2000, batch_linger_ms=0)
    config.json["teams"]["ops"]["rules"][0]["max_exempt_hours"] = 24
    config.json["teams"]["ops"]["queue_limit"] = 100000
    gateway = site.gateway(config)
    gateway.post(unexempt("any-1"))
    before = descriptors(gateway)
    refused = request_bytes(gateway, "/v1/actions", {"types": "none", "ids": ["any-1"]})
    assert {answer.status_code for answer in blast(gateway, [refused] * WARM_REFUSALS, 16)} == {422}
    sizes = []
    for number in range(ROUNDS):
        codes = {}
        for answer in blast(gateway, round_of_requests(gateway, number), connections=16):
            codes[answer.status_code] = codes.get(answer.status_code, 0) + 1
        assert set(codes) <= {200, 202, 403, 404, 409, 422}, codes
        assert codes[200] >= ROUND * 3 // 10 and codes[403] == ROUND // 10, codes
        wait_for("the queue to be empty",
                 lambda: gateway.metric("tollgate_queue_depth", team="ops") == 0, 60)
        simulator.forget_calls()
        sizes.append(resident_kb(gateway))
    assert max(sizes[2:]) <= max(sizes[:2]) + GROWTH_KB, sizes
    wait_for("connections to end", lambda: len(descriptors(gateway)) <= len(before), 30)
    # Fewer are none: an idle connection to the upstream may have ended.
    assert Counter(descriptors(gateway)) <= Counter(before)
