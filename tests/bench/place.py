"""Where the bench runs: one folder, one simulator without a limit, and the servers that are
measured. Everything started through it is ended by it."""
from client import Client
from kit import Config, Gateway, Simulator
from peers import HAProxy, Nginx, NginxLua

TOKEN = "BENCHTOKENBENCHTOKENBENCHTOKENBENCHTOKENBENCHTOK"
DROP_IN = "/o/api/v3.1/devices/action"
SUBMIT = "/v1/actions"
PEERS = {peer.name: peer for peer in (NginxLua, HAProxy, Nginx)}


class Place:
    def __init__(self, folder):
        self.folder = folder
        self._count = 0
        self._running = []

    def keep(self, process):
        self._running.append(process)
        return process

    def new_folder(self, name):
        self._count += 1
        return self.folder / f"{name}-{self._count}"

    def simulator(self, **options):
        return self.keep(Simulator(access_token=TOKEN, max_devices=1000, **options))

    def gateway(self, simulator, requests=1000000, window_s=1, change=None, **account):
        """Two workers, as many as the peers have; the limits against floods out of the way."""
        config = Config(self.new_folder("tollgate"), simulator, requests=requests,
                        window_s=window_s, timeout_s=30, sync_wait_s=65, **account)
        config.json["limits"] = {"bad_keys_per_minute": 1000000}
        config.json["teams"]["ops"]["queue_limit"] = 1000000
        if change:
            change(config.json)
        return self.keep(Gateway(config))

    def peer(self, name, simulator, key="tg_bench", limit=None):
        return self.keep(PEERS[name](self.new_folder(name), simulator.address, TOKEN, key, limit))

    def end(self, process):
        self._running.remove(process)
        process.stop()

    def close(self):
        for process in reversed(self._running):
            try:
                process.stop()
            except Exception:  # the others must end too
                process.kill()
        self._running = []


def client_of(gateway):
    return Client(gateway.address, gateway.key())
