"""The programs that people would pick instead, configured to do the same work as far as they can.
Each has its configuration in conf/, runs in the foreground on a free loopback port, and is ended by
its process id."""
import hashlib
import pathlib
import signal
import socket

from kit.process import Process
from kit.waiting import wait_for

CONF = pathlib.Path(__file__).resolve().parent / "conf"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(address):
    try:
        socket.create_connection(address, 1).close()
        return True
    except OSError:
        return False


class Peer(Process):
    name = ""
    template = ""
    left_out = ""

    def __init__(self, folder, upstream, token, key, limit=None):
        """limit: (requests, seconds) that it is to hold its clients to; None: no limit."""
        super().__init__()
        self.folder = folder
        folder.mkdir(parents=True)
        self.address = ("127.0.0.1", free_port())
        names = {"FOLDER": folder, "SOURCES": CONF, "PORT": self.address[1], "UPSTREAM": upstream,
                 "TOKEN": token, "KEY": key, "LIMIT": "", "PER_MINUTE": 1, "WINDOW_MS": 1}
        if limit:
            names |= {"LIMIT": self.limiter(limit[0]), "WINDOW_MS": int(limit[1] * 1000),
                      "PER_MINUTE": round(60 * limit[0] / limit[1])}
        text = (CONF / self.template).read_text(encoding="utf-8")
        for name, value in names.items():
            text = text.replace(f"%{name}%", str(value))
        self.path = folder / self.template
        self.path.write_text(text, encoding="utf-8")
        self.prepare(key)
        self.launch(self.arguments())
        wait_for(f"{self.name} to listen", lambda: self.running() and answers(self.address))

    def limiter(self, _requests):
        return ""

    def prepare(self, key):
        pass

    def arguments(self):
        return ["/usr/sbin/nginx", "-p", "/usr/share/nginx", "-c", self.path]

    def stop(self):
        if self.running():
            self.send_signal(signal.SIGTERM)
            self.wait_exit(20)


class NginxLua(Peer):
    name = "nginx+Lua"
    template = "nginx_lua.conf"
    left_out = ("no record of anything, nothing durable, no budget, no queue, no merging; duplicate "
                "JSON keys and bad UTF-8 pass")


class Nginx(Peer):
    name = "nginx"
    template = "nginx_plain.conf"
    left_out = ("no keys of its own, no look into bodies, no record; its limiter spaces requests "
                "evenly, in memory, and knows no answers")

    def limiter(self, _requests):
        return "limit_req zone=account burst=100000;"


class HAProxy(Peer):
    name = "HAProxy"
    template = "haproxy.cfg"
    left_out = ("looks at two members of the JSON and not at the rest, one fixed answer for all "
                "errors, no record; its limiter refuses instead of queueing, in memory")

    def limiter(self, requests):
        return ("http-request track-sc0 str(account) table account\n"
                f"    http-request deny deny_status 429 if {{ sc0_gpc0_rate(account) ge {requests} }}\n"
                "    http-request sc-inc-gpc0(0)")

    def prepare(self, key):
        digest = hashlib.sha256(key.encode()).hexdigest()
        (self.folder / "keys.map").write_text(f"{digest} script\n", encoding="utf-8")

    def arguments(self):
        return ["/usr/sbin/haproxy", "-db", "-f", self.path]
