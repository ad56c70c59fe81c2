"""What comes through ten calls a window: how many of the slots are used and what the upstream
refuses, by each of its likely algorithms; and how long a thousand actions take. The gateways and
the peers mostly wait here, so they run side by side."""
import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from client import Client
from kit.load import blast, request_bytes
from kit.waiting import wait_for
from place import DROP_IN, SUBMIT, client_of
from table import Row

REQUESTS = 10
WINDOW_S = 4
CALLS = 6 * REQUESTS
ALGORITHMS = ("sliding", "fixed", "bucket")
LIMITED = ("tollgate", "nginx+limit_req", "HAProxy")
RETRY_S = 0.05
SCALED_WINDOW_S = 2
SCALED_ACTIONS = 10 * REQUESTS


def body(number):
    return {"types": "exempt", "ids": [f"any-{number}"], "params": {"exempt_time": 24}}


def persist(peer, count, refused):
    """Sends so many actions through a peer that has a limiter, at once; who is refused, by it or
    by the upstream, asks again."""
    waiting = queue.SimpleQueue()
    for number in range(count):
        waiting.put(number)

    def work():
        client = Client(peer.address, "tg_bench")
        while True:
            try:
                number = waiting.get_nowait()
            except queue.Empty:
                break
            while client.send("POST", DROP_IN, body(number), 200, 429) == 429:
                refused.append(number)
                time.sleep(RETRY_S)
        client.close()

    threads = [threading.Thread(target=work) for _ in range(REQUESTS * 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def peer_of(name):
    return "nginx" if name.startswith("nginx") else name


class Limits:
    def __init__(self, place):
        self._place = place

    def _slots(self, name, algorithm):
        """(part of the ideal that was used, refusals upstream). Ideal: the windows follow one
        another without a gap, and an answer takes no time."""
        simulator = self._place.simulator(limit=REQUESTS, window_s=WINDOW_S, algorithm=algorithm,
                                          latency_ms=5, port=0)
        if name == "tollgate":
            gateway = self._place.gateway(simulator, REQUESTS, WINDOW_S, max_devices_per_call=1)
            client = client_of(gateway)
            for number in range(CALLS):
                client.send("POST", SUBMIT, body(number), 202)
            client.close()
            wait_for("all calls", lambda: len(simulator.calls()) >= CALLS, 15 * WINDOW_S, 0.1)
        else:
            peer = self._place.peer(peer_of(name), simulator, limit=(REQUESTS, WINDOW_S))
            persist(peer, CALLS, [])
        arrived = [call["mono_ms"] for call in simulator.calls()]
        ideal_s = (CALLS / REQUESTS - 1) * WINDOW_S
        return ideal_s / ((arrived[-1] - arrived[0]) / 1000), simulator.stats()["refused_429"]

    def slots(self):
        pairs = [(name, algorithm) for name in LIMITED for algorithm in ALGORITHMS]
        with ThreadPoolExecutor(len(pairs)) as pool:
            found = dict(zip(pairs, pool.map(lambda pair: self._slots(*pair), pairs)))
        cells = {peer_of(name): ", ".join(
            f"{algorithm} {found[name, algorithm][0]:.1%} ({found[name, algorithm][1]} refused)"
            for algorithm in ALGORITHMS) for name in LIMITED}
        least = min(found["tollgate", algorithm][0] for algorithm in ALGORITHMS)
        refused = sum(found["tollgate", algorithm][1] for algorithm in ALGORITHMS)
        return Row(f"use of slots, {CALLS} calls, {REQUESTS} in {WINDOW_S} s", cells,
                   "≥ 99 % of the ideal, 0 refused upstream",
                   f"{least:.1%} at least, {refused} refused", least >= 0.99 and refused == 0)

    def _through(self, count, window_s):
        """Seconds until tollgate has answered so many single-device actions, and its calls."""
        simulator = self._place.simulator(limit=REQUESTS, window_s=window_s, latency_ms="20-200")
        gateway = self._place.gateway(simulator, REQUESTS, window_s, max_devices_per_call=200)
        began = time.monotonic()
        answers = blast(gateway, [request_bytes(gateway, DROP_IN, body(number))
                                  for number in range(count)], count)
        took = time.monotonic() - began
        wrong = [answer.status_code for answer in answers if answer.status_code != 200]
        if wrong:
            raise RuntimeError(f"{len(wrong)} of {count} actions were not answered with 200")
        return took, len(simulator.calls())

    def _scaled_peer(self, name):
        simulator = self._place.simulator(limit=REQUESTS, window_s=SCALED_WINDOW_S,
                                          latency_ms="20-200")
        peer = self._place.peer(peer_of(name), simulator, limit=(REQUESTS, SCALED_WINDOW_S))
        began = time.monotonic()
        persist(peer, SCALED_ACTIONS, [])
        return time.monotonic() - began

    def thousand(self):
        with ThreadPoolExecutor() as pool:
            peers = {name: pool.submit(self._scaled_peer, name) for name in LIMITED[1:]}
            took, calls = self._through(1000, 60)
            cells = {peer_of(name): f"{job.result():.1f} s" for name, job in peers.items()}
        scaled, _ = self._through(SCALED_ACTIONS, SCALED_WINDOW_S)
        whole = {peer_of(name): f"{1000 / REQUESTS - 1:.0f} minutes, by calculation"
                 for name in LIMITED[1:]}
        return [Row("1,000 single-device actions, ten calls a minute",
                    {"tollgate": f"{took:.1f} s, {calls} calls", **whole}, "within one window",
                    f"{took:.1f} s", took <= 60),
                Row(f"{SCALED_ACTIONS} of them, ten calls in {SCALED_WINDOW_S} s",
                    {"tollgate": f"{scaled:.1f} s", **cells}, "within one window",
                    f"{scaled:.1f} s", scaled <= SCALED_WINDOW_S)]
