"""Receivers of syslog: strict about framing and form, and as slow or dead as a test wants."""
import os
import re
import socket
import ssl
import threading

HEADER = re.compile(
    rb"<(\d{1,3})>1 (\S+) (\S+) (\S+) (\S+) (\S+) "
    rb"\[tollgate@32473((?: [a-z_]+=\"(?:[^\"\\\]]|\\[\"\\\]])*\")+)\] (.*)\Z", re.DOTALL)
PARAMETER = re.compile(rb" ([a-z_]+)=\"((?:[^\"\\\]]|\\[\"\\\]])*)\"")


class Message:
    """An RFC 5424 message, taken apart; fails if it is none."""

    def __init__(self, data):
        match = HEADER.match(data)
        assert match, data
        self.facility, self.severity = divmod(int(match[1]), 8)
        self.time, self.host, self.app_name, self.pid, self.event = (
            match[number].decode("ascii") for number in range(2, 7))
        self.data = {name.decode(): re.sub(rb"\\(.)", rb"\1", value).decode()
                     for name, value in PARAMETER.findall(match[7])}
        self.record = match[8]


class Receiver:
    """Keeps every message. Listens on a thread from start() to stop(), and again."""

    def __init__(self):
        self.messages = []
        self.problem = None
        self.reading = threading.Event()
        self.reading.set()
        self.connections = 0
        self._stopping = False
        self._threads = []
        self._sockets = []
        self._lock = threading.Lock()

    def start(self):
        self._stopping = False
        self.listener = self.listen()
        self._sockets.append(self.listener)
        self._run(self.accept, self.listener)
        return self

    def _run(self, work, *arguments):
        def guarded():
            try:
                work(*arguments)
            except (OSError, ValueError) as problem:
                if not self._stopping and not isinstance(problem, OSError):
                    self.problem = problem
            except AssertionError as problem:
                self.problem = problem
        thread = threading.Thread(target=guarded, daemon=True)
        self._threads.append(thread)
        thread.start()

    def take(self, data):
        message = Message(data)
        with self._lock:
            self.messages.append(message)

    @property
    def records(self):
        """The distinct records, in the order of their first coming."""
        assert self.problem is None, self.problem
        with self._lock:
            return list(dict.fromkeys(message.record for message in self.messages))

    def drop_connections(self):
        """Closes what is connected, unread data and all."""
        with self._lock:
            sockets = [one for one in self._sockets if one is not self.listener]
        for one in sockets:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            one.close()

    def stop(self):
        """As if killed: unread data is lost."""
        self._stopping = True
        self.listener.close()
        self.drop_connections()
        self.reading.set()
        for thread in self._threads:
            thread.join(5)
        self._sockets.clear()


class StreamReceiver(Receiver):
    """Octet counting, RFC 6587 §3.4.1, over what listen() makes."""

    def accept(self, listener):
        listener.settimeout(0.1)
        while not self._stopping:
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            with self._lock:
                self._sockets.append(connection)
            self.connections += 1
            self._run(self.read, connection)

    def wrap(self, connection):
        return connection

    def read(self, connection):
        connection.settimeout(None)
        connection = self.wrap(connection)
        data = b""
        while True:
            self.reading.wait()
            more = connection.recv(65536)
            if not more:
                connection.close()
                return
            data = self.split(data + more)

    def split(self, data):
        while True:
            head, space, rest = data.partition(b" ")
            assert head.isdigit() and len(head) < 9 or not space and not head, data[:80]
            assert not head.startswith(b"0"), data[:80]
            if not space or len(rest) < int(head):
                return data
            self.take(rest[:int(head)])
            data = rest[int(head):]


class TcpReceiver(StreamReceiver):
    def __init__(self, buffer_bytes=None):
        super().__init__()
        self.port = 0
        self.buffer_bytes = buffer_bytes

    def listen(self):
        listener = socket.socket()
        if self.buffer_bytes:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.buffer_bytes)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(8)
        self.port = listener.getsockname()[1]
        return listener

    @property
    def address(self):
        return f"tcp://127.0.0.1:{self.port}"


class TlsReceiver(TcpReceiver):
    """client_ca: the Certificate that a client must have."""

    def __init__(self, certificate, client_ca=None):
        super().__init__()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate.certificate, certificate.key)
        if client_ca:
            self.context.verify_mode = ssl.CERT_REQUIRED
            self.context.load_verify_locations(client_ca.certificate)

    def wrap(self, connection):
        wrapped = self.context.wrap_socket(connection, server_side=True)
        with self._lock:
            self._sockets.append(wrapped)
        return wrapped

    @property
    def address(self):
        return f"tls://127.0.0.1:{self.port}"


class UnixReceiver(StreamReceiver):
    def __init__(self, path):
        super().__init__()
        self.path = str(path)

    def listen(self):
        if os.path.exists(self.path):
            os.unlink(self.path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(self.path)
        listener.listen(8)
        return listener

    @property
    def address(self):
        return "unix:" + self.path


class DatagramReceiver(Receiver):
    def __init__(self, path):
        super().__init__()
        self.path = str(path)

    def listen(self):
        if os.path.exists(self.path):
            os.unlink(self.path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        listener.bind(self.path)
        listener.settimeout(0.1)
        return listener

    def accept(self, listener):
        while not self._stopping:
            self.reading.wait()
            try:
                self.take(listener.recv(1 << 20))
            except TimeoutError:
                continue

    @property
    def address(self):
        return "unix:" + self.path
