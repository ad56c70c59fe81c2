"""tollgate-sim: started on a free port, steered and watched through /_sim/."""
import signal

from kit.http import session
from kit.process import TOLLGATE_SIM, Process

CLIENT_ID = "e2e-client"
CLIENT_SECRET = "e2e-secret-never-to-be-seen-7Q2Z"


class Simulator(Process):
    """Limits nothing unless told: a million calls a second."""

    def __init__(self, limit=1000000, window_s=1, tls=None, port=0, **options):
        super().__init__()
        options = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, **options}
        self.limit, self.window_s, self.tls, self.options = limit, window_s, tls, options
        self.address = f"127.0.0.1:{port}"
        self.start()

    def start(self):
        """Also starts it again, on the port it had."""
        arguments = [TOLLGATE_SIM, "--listen", self.address, "--limit", self.limit,
                     "--window-s", self.window_s]
        for name, value in self.options.items():
            arguments += ["--" + name.replace("_", "-"), value]
        if self.tls:
            arguments += ["--tls-certificate", self.tls.certificate, "--tls-key", self.tls.key]
        self.launch(arguments)
        self.address = self.wait_listening()["addresses"][0].split("//")[-1].rstrip("/")
        self.url = f"{'https' if self.tls else 'http'}://{self.address}"
        self._session = session(self.tls)

    def stop(self):
        if self.running():
            self._session.close()
            self.send_signal(signal.SIGTERM)
            assert self.wait_exit() == 0, self.text
        self.check_sane()

    def _ask(self, method, path, **how):
        answer = self._session.request(method, self.url + path, timeout=30, **how)
        assert answer.status_code == 200, (answer.status_code, answer.text)
        return answer.json()

    def calls(self):
        """The executed action calls: n, arrived_ms, mono_ms, types, ids or macs, params, body."""
        return self._ask("GET", "/_sim/calls")

    def bodies(self):
        return [call["body"] for call in self.calls()]

    def stats(self):
        return self._ask("GET", "/_sim/stats")

    def devices(self):
        return {device["id"]: device for device in self._ask("GET", "/_sim/devices")}

    def forget_calls(self):
        self._ask("DELETE", "/_sim/calls")

    def order(self, *faults):
        """Orders faults; each is used once by the first call it fits."""
        self._ask("POST", "/_sim/faults", json=list(faults))

    def orders_left(self):
        return self._ask("GET", "/_sim/faults")

    def revoke_tokens(self):
        return self._ask("POST", "/_sim/revoke")["revoked"]
