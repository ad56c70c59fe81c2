"""Streams of bytes that are HTTP requests, or nearly: from a grammar that is right most of the time,
then cut, doubled and changed. The same seed gives the same streams."""
import random

METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]
TARGETS = ["/", "/o/api/v3.1/devices/action", "/v1/actions?limit=1&state=", "/a/../b", "/%2e%00",
           "/{}|\"<>\\^`", "/?a=b?c//d", "/;x=y", "/:80", "/a@b"]
HEADERS = ["Accept: */*", "Empty:", "Tab: \ta\tb ", "!#$%&'*+-.^_`|~9: x", "X-High: \xe9\xff",
           "Upgrade: h2c", "Connection: keep-alive", "Keep-Alive: timeout=5", "TE: trailers",
           "Trailer: X", "X-Content-Length: 9", "Content-Length-X: 9", "Cookie: a=b; c=d",
           "Authorization: Bearer x", "Expect: 100-continue", "Expect: 100-Continue",
           "Content-Type: application/json", "Proxy-Connection: keep-alive", "X: a,b;c=\"d\""]
SELDOM = ["Connection: close", "Connection: Upgrade", "Connection: close, TE",
          "Proxy-Connection: close", "Connection: Keep-Alive, Upgrade"]
WRONG_HEADERS = ["Content-Length: 5", "Content-Length : 5", "Content-Length: +5",
                 "Content-Length: 5, 5", "Content-Length: 0x5", "Content-Length: 5 ",
                 "Content-Length:\t5", "Content-Length: ", "Transfer-Encoding: chunked",
                 "Transfer-Encoding: xchunked", "Transfer-Encoding: chunked, identity",
                 "Transfer-Encoding: gzip, chunked", "Transfer-Encoding:\x0bchunked",
                 "Transfer-Encoding : chunked", "Transfer_Encoding: chunked", "Host: b", "Host:",
                 " folded", "\tfolded", "No colon", ": no name", "A(b): c", "Nul: a\0b",
                 "Bare: a\rb", "Line: a\nContent-Length: 5", "Esc: \x1b[2J"]
WRONG_TARGETS = ["*", "//evil", "http://evil/", "", "/a b", "/a#b", "/\xe9", "/\t", "a:443"]
WRONG_VERSIONS = ["HTTP/0.9", "HTTP/1.2", "HTTP/2.0", "http/1.1", "HTTP/1.10", "HTTP/1.1 ", ""]
ENDS = ["\n", "\r", "\r\r\n", "\n\r\n", "\r\n "]
INNER = b"GET /inner HTTP/1.1\r\nHost: inner\r\n\r\n"
BYTES = b"\r\n\r\n :\t\0;,0159aAfF+-/?#\x7f\x80\xff"


class Streams:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def _chance(self, of):
        return self.random.random() < of

    def _body(self):
        size = self.random.choice([0, 1, 2, 5, 17, 37, 255, 4096])
        kind = self.random.randrange(3)
        if kind == 0:
            return INNER[:size] if size < 37 else INNER
        if kind == 1:
            return b"\r\n0\r\n\r\n" * (size // 8)
        return self.random.randbytes(size)

    def _size(self, number):
        text = f"{number:x}"
        text = text.upper() if self._chance(0.3) else text
        return text.zfill(self.random.choice([0, 0, 2, 8])).encode()

    def _chunked(self, body):
        made = b""
        while body:
            size = self.random.randint(1, len(body))
            made += self._size(size) + b"\r\n" + body[:size] + b"\r\n"
            body = body[size:]
        return made + self._size(0) + b"\r\n\r\n"

    def _wrong_chunk(self, made):
        return self.random.choice([
            made.replace(b"\r\n", b"\n", 1), made.replace(b"\r\n", b";a=b\r\n", 1), b"+" + made,
            b"0x" + made, made.replace(b"\r\n", b" \r\n", 1), b"00000000" + made, b" " + made,
            made[:-2] + b"Trailer: x\r\n\r\n", made[:-2], b"fffffffff\r\n" + made,
            made[:-2] + b"Content-Length: 5\r\n\r\n", b"-1\r\n" + made])

    def message(self, wrong=0.0):
        """One request; each part of it is wrong with that chance."""
        method = self.random.choice(METHODS)
        target = self.random.choice(TARGETS)
        version = "HTTP/1.1" if self._chance(0.9) else "HTTP/1.0"
        headers = self.random.sample(HEADERS, self.random.randint(0, 4))
        if self._chance(0.04):
            headers.append(self.random.choice(SELDOM))
        if version == "HTTP/1.1" or self._chance(0.5):
            headers.append("Host: " + self.random.choice(["a.example", "[::1]:8443", "127.0.0.1"]))
        body = b"" if method in ("GET", "HEAD") else self._body()
        if version == "HTTP/1.1" and method not in ("GET", "HEAD") and self._chance(0.4):
            headers.append("Transfer-Encoding: " + self.random.choice(["chunked", "Chunked"]))
            body = self._chunked(body)
            body = self._wrong_chunk(body) if self._chance(wrong) else body
        elif body or self._chance(0.3):
            headers.append(f"Content-Length: {len(body):0{self.random.choice([1, 1, 6])}}")
        headers += [self.random.choice(WRONG_HEADERS)] if self._chance(wrong) else []
        target = self.random.choice(WRONG_TARGETS) if self._chance(wrong / 4) else target
        version = self.random.choice(WRONG_VERSIONS) if self._chance(wrong / 4) else version
        self.random.shuffle(headers)
        lines = [f"{method} {target} {version}", *headers, "", ""]
        head = "\r\n".join(lines).encode("latin-1")
        if self._chance(wrong / 4):
            at = self.random.choice([i for i in range(len(head)) if head[i:i + 2] == b"\r\n"])
            head = head[:at] + self.random.choice(ENDS).encode() + head[at + 2:]
        return head + body

    def _damage(self, data):
        at = self.random.randrange(len(data))
        kind = self.random.randrange(4)
        if kind == 0:
            return data[:at] + bytes([self.random.choice(BYTES)]) + data[at + 1:]
        if kind == 1:
            return data[:at] + bytes([self.random.choice(BYTES)]) + data[at:]
        if kind == 2:
            return data[:at] + data[at + self.random.randint(1, 4):]
        end = min(len(data), at + self.random.randint(1, 40))
        return data[:end] + data[at:end] + data[end:]

    def stream(self):
        """One to five requests; half of the streams have nothing wrong in them."""
        wrong = self.random.choice([0.0, 0.0, 0.2, 0.5])
        data = b"".join(self.message(wrong) for _ in range(self.random.randint(1, 5)))
        if wrong:
            for _ in range(self.random.choice([0, 0, 1, 1, 2, 5])):
                data = self._damage(data) or b"x"
        return data
