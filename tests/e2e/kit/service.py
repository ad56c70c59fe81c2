"""A service manager as the gateway sees one: its notification socket."""
import os
import socket
import time


class Manager:
    def __init__(self, folder=None, watchdog_ms=None):
        """folder: where its socket is; None: in the abstract namespace."""
        self.messages = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._name = str(folder / "notify") if folder else f"@tollgate-test-{os.getpid()}-{id(self)}"
        self._socket.bind(self._name.replace("@", "\0", 1))
        self.environment = {**os.environ, "NOTIFY_SOCKET": self._name}
        if watchdog_ms:
            self.environment["WATCHDOG_USEC"] = str(watchdog_ms * 1000)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()

    def read(self, timeout_s):
        """The next message as a dictionary, or None."""
        self._socket.settimeout(max(timeout_s, 0.001))
        try:
            text = self._socket.recv(4096).decode()
        except (TimeoutError, BlockingIOError):
            return None
        message = dict(line.split("=", 1) for line in text.split("\n"))
        self.messages.append(message)
        return message

    def wait(self, name, timeout_s=30):
        """The next message that sets the variable."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            message = self.read(deadline - time.monotonic())
            if message and name in message:
                return message
        raise AssertionError(f"no {name} within {timeout_s} s: {self.messages}")

    def is_silent(self, name, for_s):
        """Whether it is not said for so long."""
        deadline = time.monotonic() + for_s
        while time.monotonic() < deadline:
            message = self.read(deadline - time.monotonic())
            if message and name in message:
                return False
        return True
