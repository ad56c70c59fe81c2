"""How many requests a second, and how much later an answer comes: tollgate and its peers by turns,
round after round, each from a position that changes."""
import json
import statistics

import load
from load import Call
from place import DROP_IN, SUBMIT, TOKEN, client_of
from table import Row, rate

GOOD = json.dumps({"types": "exempt", "ids": ["any-%d"], "params": {"exempt_time": 24}})
INVALID = json.dumps({"types": "exempt", "ids": ["any-1"], "params": {"exempt_time": 70000}})
FRONT = ("tollgate", "nginx+Lua", "HAProxy")
FORWARD = ("direct", "tollgate", "nginx+Lua", "HAProxy", "nginx")


class Samples(dict):
    """{measure: {server: [Result of each round]}}."""

    def add(self, measure, server, result):
        self.setdefault(measure, {}).setdefault(server, []).append(result)

    def median(self, measure, server, what):
        return statistics.median(getattr(result, what) for result in self[measure][server])

    def spread(self, measure, server):
        """The widest of the rounds, as a part of their median."""
        values = [result.per_second for result in self[measure][server]]
        return (max(values) - min(values)) / statistics.median(values)


def rotated(names, by):
    by %= len(names)
    return names[by:] + names[:by]


class Rates:
    def __init__(self, place, simulator, options):
        self._place = place
        self._simulator = simulator
        self._options = options
        self.samples = Samples()
        peers = {name: place.peer(name, simulator) for name in ("nginx+Lua", "HAProxy", "nginx")}
        self._front = {"tollgate": place.gateway(simulator), **peers}
        self._forward = {"tollgate": place.gateway(simulator, max_devices_per_call=1,
                                                   batch_linger_ms=0),
                         "direct": simulator, **peers}

    def _key(self, server):
        return server.key() if hasattr(server, "key") else "tg_bench"

    def _run(self, measure, name, server, call, connections=128):
        result = load.run(server, call, self._options.seconds, connections)
        self.samples.add(measure, name, result)

    def round(self, number):
        for name in rotated(FRONT, number):
            server = self._front[name]
            path = SUBMIT if name == "tollgate" else DROP_IN
            self._run("422", name, server,
                      Call("POST", path, self._key(server), INVALID, 422))
            self._run("401", name, server, Call("POST", path, "tg_unknown", INVALID, 401))
        for name in rotated(FORWARD, number):
            self._run_forward(name)
        self._run_status()
        self._run_durable()

    def _run_forward(self, name):
        server = self._forward[name]
        path = DROP_IN + ("?access_token=" + TOKEN if name == "direct" else "")
        key = TOKEN if name == "direct" else self._key(server)
        if name == "direct":
            server = Direct(server)
        self._run("forward", name, server, Call("POST", path, key, GOOD, 200), 1)
        self._simulator.forget_calls()

    def _run_status(self):
        gateway = self._front["tollgate"]
        client = client_of(gateway)
        client.send("POST", DROP_IN, json.loads(GOOD % 0), 200)
        location = client.header("Location")
        client.close()
        self._run("status", "tollgate", gateway, Call("GET", location, gateway.key(), "", 200))

    def _run_durable(self):
        """A gateway of its own, so that each round begins with an empty queue; what is accepted
        waits, as under ten calls a minute it does."""
        gateway = self._place.gateway(self._simulator, requests=10, window_s=3600)
        self._run("202", "tollgate", gateway, Call("POST", SUBMIT, gateway.key(), GOOD, 202))
        self._place.end(gateway)

    # ---- what came of it ----

    def rows(self, fsync_s):
        return [self._against("422", "valid key, invalid body: 422, by tollgate recorded"),
                self._against("401", "401 for a bad key"),
                *self._forward_rows(fsync_s),
                self._durable_row(fsync_s),
                self._status_row()]

    def _cells(self, measure, names):
        return {name: rate(self.samples.median(measure, name, "per_second"),
                           self.samples.median(measure, name, "per_cpu_second"),
                           self.samples.spread(measure, name)) for name in names}

    def _ratio(self, measure, what):
        return self.samples.median(measure, "tollgate", what) / \
            self.samples.median(measure, "nginx+Lua", what)

    def _against(self, measure, title):
        wall = self._ratio(measure, "per_second")
        cpu = self._ratio(measure, "per_cpu_second")
        return Row(title, self._cells(measure, FRONT), "≥ 1.0 × nginx+Lua, wall and CPU",
                   f"{wall:.2f} × wall, {cpu:.2f} × CPU", min(wall, cpu) >= 1)

    def _forward_rows(self, fsync_s):
        p50 = {name: self.samples.median("forward", name, "p50_us") for name in FORWARD}
        p99 = {name: self.samples.median("forward", name, "p99_us") for name in FORWARD}
        added = {name: p50[name] - p50["direct"] for name in FORWARD}
        allowed = added["nginx+Lua"] + fsync_s * 1e6
        ratio = p99["tollgate"] / p99["nginx+Lua"]
        return [Row("forwarding, one at a time: median added to a direct call",
                    {name: f"{added[name]:.0f} µs" for name in FORWARD if name != "direct"},
                    "≤ nginx+Lua's + one fsync",
                    f"{added['tollgate']:.0f} µs of {allowed:.0f} µs allowed",
                    added["tollgate"] <= allowed),
                Row("the same: p99 (direct: " + f"{p99['direct']:.0f} µs)",
                    {name: f"{p99[name]:.0f} µs" for name in FORWARD if name != "direct"},
                    "≤ 2 × nginx+Lua's", f"{ratio:.2f} ×", ratio <= 2)]

    def _durable_row(self, fsync_s):
        wall = self.samples.median("202", "tollgate", "per_second")
        ratio = wall * fsync_s
        return Row("durable 202 (`POST /v1/actions`)", self._cells("202", ["tollgate"]),
                   "≥ 8,000 a second, and ≥ 10 × one fsync each",
                   f"{wall:,.0f} a second, {ratio:.1f} ×", wall >= 8000 and ratio >= 10)

    def _status_row(self):
        wall = self.samples.median("status", "tollgate", "per_second")
        return Row("status reads (`GET /v1/actions/{id}`)", self._cells("status", ["tollgate"]),
                   "≥ 15,000 a second", f"{wall:,.0f} a second", wall >= 15000)


class Direct:
    """The simulator, as a server to load."""

    def __init__(self, simulator):
        host, port = simulator.address.rsplit(":", 1)
        self.address = (host, int(port))
        self.process = simulator.process
