"""Load: many requests over connections that are kept, as fast as one Python process can."""
import asyncio
import json
import time
from dataclasses import dataclass

from requests.structures import CaseInsensitiveDict


@dataclass
class Answer:
    status_code: int
    headers: CaseInsensitiveDict
    body: bytes
    sent: float  # time.monotonic()
    received: float

    @property
    def seconds(self):
        return self.received - self.sent

    def json(self):
        return json.loads(self.body)


def request_bytes(gateway, path, body, client="script", headers=None):
    data = json.dumps(body).encode()
    lines = [f"POST {path} HTTP/1.1", f"Host: {gateway.addresses[0]}",
             f"Authorization: Bearer {gateway.key(client)}", "Content-Type: application/json",
             f"Content-Length: {len(data)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


async def _read(reader):
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = CaseInsensitiveDict()
    for line in head[1:]:
        name, _, value = line.partition(":")
        if name:
            headers[name] = value.strip()
    return int(head[0].split(" ")[1]), headers, \
        await reader.readexactly(int(headers.get("Content-Length", 0)))


async def _connection(address, source, queue, answers, pace):
    """Connects when there is something to send: the gateway closes connections that say nothing."""
    reader = writer = None
    try:
        while queue:
            place, data, at = queue.pop()
            if at is not None:
                await asyncio.sleep(max(0.0, pace + at - time.monotonic()))
            if writer is None:
                reader, writer = await asyncio.open_connection(
                    *address, local_addr=source and (source, 0))
            sent = time.monotonic()
            writer.write(data)
            answers[place] = Answer(*await _read(reader), sent, time.monotonic())
            if answers[place].headers.get("Connection") == "close":
                writer.close()
                writer = None
    finally:
        if writer is not None:
            writer.close()


async def _blast(address, source, requests, connections, times):
    answers = [None] * len(requests)
    queue = [(place, data, times[place] if times else None)
             for place, data in enumerate(requests)]
    queue.reverse()
    start = time.monotonic()
    await asyncio.gather(*[_connection(address, source, queue, answers, start)
                           for _ in range(min(connections, len(requests)))])
    return answers


def blast(gateway, requests, connections=32, times=None, source=None):
    """Sends all (bytes, of request_bytes()) and returns their answers in the same order. times:
    when each is sent, in seconds from now, ascending; each then needs a free connection. source:
    the address to send from."""
    return asyncio.run(_blast(gateway.address, source, requests, connections, times))


def submit_all(gateway, bodies, client="script", connections=32, headers=None):
    """Submits all to be run later, at once; the accepted actions in the same order."""
    answers = blast(gateway, [request_bytes(gateway, "/v1/actions", body, client, headers)
                              for body in bodies], connections)
    assert {answer.status_code for answer in answers} == {202}, answers
    return [answer.json() for answer in answers]
