"""The gateway: tollgate serve with a configuration, and a client of its front door."""
import json
import signal

from kit.http import session
from kit.process import TOLLGATE, Process, run_tollgate
from kit.waiting import wait_for

DROP_IN = "/o/api/v3.1/devices/action"
SUBMIT = "/v1/actions"
FINAL_STATES = {"completed", "failed", "unknown", "cancelled", "expired", "rejected"}


class Gateway(Process):
    def __init__(self, config, start=True, ready=True):
        super().__init__()
        self.config = config
        if start:
            self.start(ready)

    def start(self, ready=True):
        """Returns when it listens and, if so asked, has its token."""
        self.launch([TOLLGATE, "serve", "-c", self.config.write()])
        listening = self.wait_listening()
        front = listening["addresses"][:len(self.config.json["listen"])]
        admin = listening["addresses"][-1] if "admin" in self.config.json else None
        self.addresses = front
        host, port = front[0].rsplit(":", 1)
        self.address = (host, int(port))
        self.url = f"{'https' if self.config.front_tls else 'http'}://{front[0]}"
        self.admin_url = f"http://{admin}"
        self.config.keep_good()
        if ready and admin:
            wait_for("/readyz to be 200", lambda: self.admin("/readyz").status_code == 200)
        return self

    def stop(self):
        """SIGTERM; it must end by itself, with 0 and without a word from a sanitizer."""
        if self.running():
            self.send_signal(signal.SIGTERM)
            code = self.wait_exit(60)
            self.check_sane()
            assert code == 0, (code, self.text[-5000:])
        self.check_sane()

    def restart(self):
        self.stop()
        return self.start()

    # ---- another configuration ----

    def _hang_up(self, message):
        before = len(self.logged(message))
        self.send_signal(signal.SIGHUP)
        wait_for(message, lambda: len(self.logged(message)) > before)

    def reload(self):
        """SIGHUP with what .config is now; returns when it is in force."""
        self.config.write()
        self._hang_up("configuration reloaded")
        self.config.keep_good()

    def reload_badly(self, text=None):
        """The same for what it must reject; text: what the file then holds."""
        if text is None:
            self.config.write()
        else:
            self.config.path.write_text(text, encoding="utf-8")
        self._hang_up("the configuration was not reloaded: the one before stays in force")

    def rejection(self, text=None):
        """The same; returns the detail of the audit record."""
        before = len(self.audit_of(event="config.rejected"))
        self.reload_badly(text)
        records = wait_for("the record", lambda: self.audit_of(event="config.rejected")[before:])
        return records[0]["detail"]

    # ---- its clients ----

    def key(self, client="script"):
        return self.config.keys[client]

    def headers(self, client="script", **more):
        return {"Authorization": "Bearer " + self.key(client), **more}

    def request(self, method, path, client="script", headers=None, timeout=90, source=None,
                certificate=None, **how):
        """One request on a connection of its own; client None: without a key."""
        all_headers = self.headers(client) if client else {}
        all_headers.update(headers or {})
        with session(self.config.front_tls, source, certificate) as one:
            return one.request(method, self.url + path, headers=all_headers, timeout=timeout,
                               allow_redirects=False, **how)

    def post(self, body, path=DROP_IN, client="script", headers=None, **how):
        """Posts a body: bytes as they are, anything else as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **(headers or {})}
        return self.request("POST", path, client, headers, data=data, **how)

    def submit(self, body, **how):
        """Posts to be run later, and returns the accepted action."""
        answer = self.post(body, SUBMIT, **how)
        assert answer.status_code == 202, (answer.status_code, answer.text)
        assert answer.headers["Location"] == f"/v1/actions/{answer.json()['id']}"
        return answer.json()

    def get(self, path, client="script", **how):
        return self.request("GET", path, client, **how)

    def action(self, location, client="script"):
        """The action at a Location, or with an id."""
        path = location if location.startswith("/") else f"{SUBMIT}/{location}"
        answer = self.get(path, client)
        assert answer.status_code == 200, (answer.status_code, answer.text)
        return answer.json()

    def wait_final(self, location, timeout_s=60, client="script"):
        def final():
            action = self.action(location, client)
            return action if action["state"] in FINAL_STATES else None
        return wait_for(f"{location} to end", final, timeout_s, every_s=0.03)

    # ---- what operators see ----

    def admin(self, path):
        with session() as one:
            return one.get(self.admin_url + path, timeout=30)

    def metric(self, name, **labels):
        """The value of one sample; 0 if it is not there."""
        return dict_of_samples(self.admin("/metrics").text).get(
            (name, frozenset(labels.items())), 0.0)

    def audit(self):
        """Every record, in order, as tollgate audit export gives them."""
        run = run_tollgate("audit", "export", "-c", self.config.readable_path())
        assert run.returncode == 0, run.stderr
        return [json.loads(line) for line in run.stdout.split("\n") if line]

    def audit_of(self, **fields):
        """The records in which all those fields have those values."""
        return [record for record in self.audit()
                if all(record.get(name) == value for name, value in fields.items())]

    def wait_audit(self, **fields):
        """The same, waited for: some records do not hold up the answer."""
        return wait_for(f"an audit record with {fields}", lambda: self.audit_of(**fields),
                        10, every_s=0.05)


def dict_of_samples(text):
    """{(name, frozenset of (label, value)): number} of a Prometheus text."""
    samples = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            left, value = line.rsplit(" ", 1)
            name, _, labels = left.partition("{")
            pairs = [pair.partition("=") for pair in labels.rstrip("}").split(",") if pair]
            samples[name, frozenset((key, quoted.strip('"')) for key, _, quoted in pairs)] = \
                float(value)
    return samples
