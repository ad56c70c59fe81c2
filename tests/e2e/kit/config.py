"""Builds configurations, with keys that tollgate mints and secret files that are private."""
import json
import os
import subprocess

from kit.process import run_tollgate
from kit.simulator import CLIENT_ID, CLIENT_SECRET

ALL_ACTIONS = ["exempt", "unexempt", "ignore", "unignore", "delete", "dhcprenew", "re-identify",
               "assign_to_group", "fetch_agent_log"]


def mint_key():
    """{"id", "key", "hash"} of a new client key."""
    run = run_tollgate("key", "new", "--json")
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def write_secret(path, text):
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, 0o600)
    return path


class Config:
    """One account "main" at the simulator, one team "ops" that may do everything, one client
    "script" of it; what a test wants otherwise it changes in .json before write(). What is given
    beside the named arguments are options of the account, such as max_devices_per_call=1 where no
    two devices shall share a call."""

    def __init__(self, folder, simulator, requests=100000, window_s=1, timeout_s=10,
                 sync_wait_s=30, **account):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "gateway.json"
        self.keys = {}
        self.front_tls = None
        self._good = None
        write_secret(folder / "client_secret", CLIENT_SECRET + "\n")
        self.json = {
            "node": "gw-test",
            "listen": [{"address": "127.0.0.1:0"}],
            "admin": {"address": "127.0.0.1:0"},
            "workers": 2,
            "store": "sqlite:tollgate.db",
            "accounts": {"main": {
                "base_url": simulator.url,
                "credentials": {"client_id": CLIENT_ID, "client_secret_file": "client_secret"},
                "budget": {"requests": requests, "window_s": window_s},
                "connect_timeout_s": min(5, timeout_s), "timeout_s": timeout_s, **account}},
            "teams": {},
            "clients": {},
        }
        if os.environ.get("TOLLGATE_TEST_SECCOMP"):  # the suite with the filter of system calls
            self.json["seccomp"] = True
        if simulator.tls:
            self.account["ca_file"] = str(simulator.tls.certificate)
        self.add_team("ops", sync_wait_s=sync_wait_s)
        self.add_client("script", "ops")

    @property
    def account(self):
        return self.json["accounts"]["main"]

    def add_team(self, name, rules=None, **options):
        rules = [{"actions": ALL_ACTIONS}] if rules is None else rules
        self.json["teams"][name] = {"account": "main", "rules": rules, **options}

    def add_client(self, name, team=None, roles=None, **key_options):
        """Adds a client with one key, and returns the key's text."""
        client = {"keys": []}
        if team:
            client["team"] = team
        if roles:
            client["roles"] = roles
        self.json["clients"][name] = client
        return self.add_key(name, **key_options)

    def add_key(self, client, **options):
        minted = mint_key()
        entry = {"id": minted["id"], "hash": minted["hash"], **options}
        self.json["clients"][client]["keys"].append(entry)
        self.keys.setdefault(client, minted["key"])
        return minted["key"]

    def serve_tls(self, certificate):
        self.front_tls = certificate
        self.json["listen"][0]["tls"] = {"certificate": str(certificate.certificate),
                                         "key": str(certificate.key)}

    def use_token_file(self, token):
        """A token issued elsewhere instead of the client credentials; returns the file."""
        self.account["credentials"] = {"access_token_file": "access_token"}
        return write_secret(self.folder / "access_token", token + "\n")

    def sign_audit(self, **options):
        """Checkpoints of the audit log, signed with a new key; returns the public key's file."""
        private, public = self.folder / "audit.key", self.folder / "audit.pub"
        write_secret(private, "")
        for arguments in (["genpkey", "-algorithm", "ed25519", "-out", private],
                          ["pkey", "-in", private, "-pubout", "-out", public]):
            subprocess.run(["openssl", *arguments], check=True, capture_output=True)
        self.json["audit"] = {"signing_key_file": "audit.key", "checkpoint_file": "checkpoints.txt",
                              **options}
        return public

    def readable_path(self):
        """A configuration of the same store that can be read, whatever .path holds."""
        path = self.folder / "for-export.json"
        good = json.loads(self._good or self.path.read_text(encoding="utf-8"))
        path.write_text(json.dumps({**good, "listen": [{"address": "127.0.0.1:0"}]}),
                        encoding="utf-8")
        return path

    def keep_good(self):
        """What .json is now is good; what it will be may not."""
        self._good = json.dumps(self.json)

    def write(self):
        self.path.write_text(json.dumps(self.json, indent=1), encoding="utf-8")
        return self.path
