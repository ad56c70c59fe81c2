"""HTTP by hand, for what no decent client sends."""
import json
import socket
import time
from dataclasses import dataclass

from requests.structures import CaseInsensitiveDict


@dataclass
class Response:
    status_code: int
    headers: CaseInsensitiveDict
    body: bytes

    @property
    def text(self):
        return self.body.decode("utf-8", "replace")

    def json(self):
        return json.loads(self.body)


class Connection:
    def __init__(self, address, timeout_s=30, source=None):
        """source: the address to send from."""
        self.socket = socket.create_connection(address, timeout_s, source and (source, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._input = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        """Sends, or as much as the other side takes before it closes."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def end_sending(self):
        self.socket.shutdown(socket.SHUT_WR)

    def _more(self):
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            data = b""
        self._input += data
        return bool(data)

    def read_response(self):
        """The next response, or None if the connection was closed before one."""
        while b"\r\n\r\n" not in self._input:
            if not self._more():
                assert not self._input, f"half a response: {self._input!r}"
                return None
        head, _, self._input = self._input.partition(b"\r\n\r\n")
        status_line, *lines = head.decode("latin-1").split("\r\n")
        headers = CaseInsensitiveDict()
        for line in lines:
            name, _, value = line.partition(":")
            headers[name] = value.strip()
        length = int(headers.get("Content-Length", 0))
        if status_line.startswith("HTTP/1.0 ") and "Content-Length" not in headers:
            while self._more():
                pass
            length = len(self._input)
        while len(self._input) < length:
            assert self._more(), "the connection was closed within a body"
        body, self._input = self._input[:length], self._input[length:]
        return Response(int(status_line.split(" ")[1]), headers, body)

    def wait_closed(self, timeout_s=30):
        """Waits until the other side closes, without another byte from it."""
        self.socket.settimeout(timeout_s)
        assert not self._input, f"more than was expected: {self._input!r}"
        assert not self._more(), f"more than was expected: {self._input!r}"

    def closed_after(self, started):
        """Seconds from started (time.monotonic()) until it is closed, whatever comes before."""
        while self._more():
            pass
        return time.monotonic() - started


def exchange(address, data, source=None):
    """Sends, and gives the answer; the connection must be closed behind it."""
    with Connection(address, source=source) as connection:
        connection.send(data)
        response = connection.read_response()
        connection.wait_closed()
        return response
