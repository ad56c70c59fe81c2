"""A client with one kept connection that sends one request after the other, each in one piece, and
checks each answer's status: for what is counted or timed, where wrk's many are not wanted."""
import http.client
import json
import socket


class Client:
    def __init__(self, address, key, timeout_s=120):
        self._socket = socket.create_connection(address, timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._key = key
        self._headers = {}
        self._body = b""

    def send(self, method, path, body, *statuses, key=None):
        """Sends, reads the answer, which must have one of the statuses, and returns which."""
        data = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer " \
               f"{key or self._key}\r\n"
        if body is not None:
            head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n"
        self._socket.sendall(head.encode() + b"\r\n" + data)
        response = http.client.HTTPResponse(self._socket, method=method)
        response.begin()
        self._body = response.read()
        self._headers = response.headers
        if response.status not in statuses:
            raise RuntimeError(f"{method} {path}: {response.status}, not {statuses}: {self._body}")
        return response.status

    def answer(self):
        """The last answer's JSON."""
        return json.loads(self._body)

    def header(self, name):
        """One of its headers."""
        return self._headers[name]

    def close(self):
        self._socket.close()
