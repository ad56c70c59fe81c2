"""HTTP itself: paths, methods, types, sizes, ids of requests, and requests that are not HTTP as it
should be, which never get as far as the upstream."""
import re
import threading
import time

import pytest
from kit.checks import assert_problem
from kit.gateway import DROP_IN, SUBMIT
from kit.http import new_source
from kit.raw import Connection, exchange
from kit.waiting import Together

MAX_HEADER_BYTES = 4096
MAX_BODY_BYTES = 20000
GOOD = b'{"types":"unexempt","ids":["any-1"]}'


@pytest.fixture(scope="module")
def pair(module_site):
    simulator = module_site.simulator()
    config = module_site.config(simulator)
    config.json["limits"] = {"max_header_bytes": MAX_HEADER_BYTES,
                             "max_body_bytes": MAX_BODY_BYTES}
    return simulator, module_site.gateway(config)


@pytest.fixture
def gateway(pair):
    return pair[1]


@pytest.fixture
def untouched(pair):
    """The upstream must have seen nothing when the test is over."""
    pair[0].forget_calls()
    yield
    assert pair[0].calls() == []


def head(gateway, *lines, method="POST", target=DROP_IN, version="HTTP/1.1", host="Host: gw"):
    """The bytes of a head that is fine but for what is given."""
    request_line = f"{method} {target} {version}"
    fixed = [request_line] + ([host] if host else []) + \
        ["Authorization: Bearer " + gateway.key(), "Content-Type: application/json"]
    return "\r\n".join([*fixed, *lines, "", ""]).encode("latin-1")


# ---- Paths and methods ----

@pytest.mark.parametrize("path", [
    "/", "/o/api/v3.1/devices/action/", "/o/api/v3.1/devices", "/o/api/v3/devices/action",
    "/v1/actions/", "/v1", "/V1/actions", "/v1/actions/act_x/y", "/v1//actions", "/livez",
    "/readyz", "/metrics", "/_sim/calls", "/o/oauth/token", "/v1/actions/../actions/act_1",
    "/%76%31/actions", "/v1/actions%2f", "/v1/actions/" + "x" * 300,
])
def test_unknown_paths(gateway, untouched, path):
    for method in ("GET", "POST"):
        with Connection(gateway.address) as connection:
            connection.send(head(gateway, "Content-Length: 0", method=method, target=path))
            assert_problem(connection.read_response(), 404, "not-found")


@pytest.mark.parametrize("path, allowed", [(DROP_IN, {"POST"}), ("/v1/actions/act_x", {"GET"})])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "POST", "OPTIONS"])
def test_methods(gateway, untouched, path, allowed, method):
    if method in allowed or (method == "DELETE" and path != DROP_IN):
        return  # is allowed; or belongs to what cancels, when that is built
    answer = gateway.request(method, path)
    assert_problem(answer, 405, "method-not-allowed")
    assert set(re.split(r",\s*", answer.headers["Allow"])) >= allowed


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "BREW"])
def test_other_methods_are_none(gateway, untouched, method):
    assert_problem(gateway.request(method, DROP_IN), 400, "malformed-request")


def test_head_is_not_allowed_and_has_no_body(gateway, untouched):
    with Connection(gateway.address) as connection:
        connection.send(head(gateway, method="HEAD"))
        connection.end_sending()
        response = connection.socket.makefile("rb").read()
    assert response.startswith(b"HTTP/1.1 405 ")
    assert response.endswith(b"\r\n\r\n")


# ---- The body's type and size ----

@pytest.mark.parametrize("content_type", [
    None, "", "text/plain", "text/json", "application/x-www-form-urlencoded",
    "application/jsonp", "application/json2", "application/json, text/plain",
    "application/json; charset=latin-1", "application/problem+json", "multipart/form-data",
])
def test_other_types(gateway, untouched, content_type):
    headers = {"Content-Type": content_type} if content_type is not None else {}
    answer = gateway.request("POST", DROP_IN, headers=headers, data=GOOD)
    assert_problem(answer, 415, "unsupported-media-type")


def test_declared_body_over_the_cap(gateway, untouched):
    """Refused by what the head says: the body need not come."""
    response = exchange(gateway.address, head(gateway, f"Content-Length: {MAX_BODY_BYTES + 1}"))
    assert_problem(response, 413, "body-too-large")


def test_chunked_body_over_the_cap(gateway, untouched):
    chunk = b"%x\r\n" % 8000 + b" " * 8000 + b"\r\n"
    response = exchange(gateway.address,
                        head(gateway, "Transfer-Encoding: chunked") + chunk * 3)
    assert_problem(response, 413, "body-too-large")


def test_body_of_exactly_the_cap(gateway):
    body = GOOD + b" " * (MAX_BODY_BYTES - len(GOOD))
    assert gateway.post(body).status_code == 200


def test_chunked_body(gateway):
    chunks = b"".join(b"%X\r\n%c\r\n" % (1, byte) for byte in GOOD) + b"0\r\n\r\n"
    with Connection(gateway.address) as connection:
        for byte in head(gateway, "Transfer-Encoding: chunked") + chunks:
            connection.send(bytes([byte]))
        assert connection.read_response().status_code == 200


def test_expect_continue(gateway):
    with Connection(gateway.address) as connection:
        connection.send(head(gateway, "Expect: 100-continue", f"Content-Length: {len(GOOD)}"))
        assert connection.read_response().status_code == 100
        connection.send(GOOD)
        assert connection.read_response().status_code == 200


# ---- Request ids ----

@pytest.mark.parametrize("given", ["abc", "A-1_b.c:2", "x" * 100])
def test_sane_request_ids_are_kept(gateway, untouched, given):
    answer = gateway.get("/v1/actions/act_none", headers={"X-Request-ID": given})
    assert assert_problem(answer, 404, "not-found")["request_id"] == given


@pytest.mark.parametrize("given", ["", "a b", "a;b", "a\tb", "x" * 1000, "é", '"x"', "<script>"])
def test_other_request_ids_are_replaced(gateway, untouched, given):
    with Connection(gateway.address) as connection:
        connection.send(head(gateway, "X-Request-ID: " + given, method="GET",
                             target="/v1/actions/act_none"))
        problem = assert_problem(connection.read_response(), 404, "not-found")
    assert re.fullmatch(r"[A-Za-z0-9._:-]{8,128}", problem["request_id"])
    assert problem["request_id"] != given


def test_made_request_ids_differ_and_every_answer_has_one(gateway):
    answers = [gateway.post(GOOD), gateway.post(GOOD, SUBMIT), gateway.get("/"),
               gateway.get(gateway.post(GOOD).headers["Location"])]
    assert [answer.status_code for answer in answers] == [200, 202, 404, 200]
    assert len({answer.headers["X-Request-ID"] for answer in answers}) == len(answers)


# ---- Connections ----

def test_keep_alive(gateway):
    with Connection(gateway.address) as connection:
        for _ in range(5):
            connection.send(head(gateway, f"Content-Length: {len(GOOD)}") + GOOD)
            assert connection.read_response().status_code == 200
            connection.send(head(gateway, method="GET", target="/nowhere"))
            assert connection.read_response().status_code == 404


def test_connection_close_and_http_1_0(gateway):
    for lines, version in ((["Connection: close"], "HTTP/1.1"), ([], "HTTP/1.0")):
        response = exchange(gateway.address, head(gateway, *lines, f"Content-Length: {len(GOOD)}",
                                                  version=version) + GOOD)
        assert response.status_code == 200


def test_a_thousand_pipelined_requests_are_answered_in_order(gateway):
    """Case 8."""
    requests = b"".join(
        head(gateway, f"X-Request-ID: r-{number}", method="GET", target=f"/v1/actions/a{number}")
        for number in range(1000))
    with Connection(gateway.address) as connection:
        sender = threading.Thread(target=connection.send, args=(requests,))
        sender.start()
        for number in range(1000):
            response = connection.read_response()
            assert response.status_code == 404
            assert response.headers["X-Request-ID"] == f"r-{number}"
        sender.join()


def test_pipelined_actions_are_answered_in_order(pair, gateway):
    pair[0].order({"do": "delay", "ms": 200})
    bodies = [b'{"types":"unexempt","ids":["any-pipe-%d"]}' % number for number in range(50)]
    requests = b"".join(head(gateway, f"Content-Length: {len(body)}") + body for body in bodies)
    with Connection(gateway.address) as connection:
        connection.send(requests)
        for number in range(50):
            response = connection.read_response()
            assert [item["id"] for item in response.json()] == [f"any-pipe-{number}"]


# ---- Not HTTP as it should be: cases 1 to 4. Refused, closed, audited, 0 calls ----

def line(text):
    return lambda gateway: head(gateway, *text.split("\r\n")) + GOOD


def replaced(old, new):
    def make(gateway):
        good = head(gateway, f"Content-Length: {len(GOOD)}") + GOOD
        assert old in good
        return good.replace(old, new, 1)
    return make


def shaped(*lines, **shape):
    return lambda gateway: head(gateway, *lines, **shape) + GOOD


LENGTH = f"Content-Length: {len(GOOD)}"

WRONG = {
    # case 1
    "two equal lengths": line(f"{LENGTH}\r\n{LENGTH}"),
    "two lengths": line(f"{LENGTH}\r\nContent-Length: 3"),
    "a list of lengths": line(f"Content-Length: {len(GOOD)}, {len(GOOD)}"),
    "length and chunked": line(f"{LENGTH}\r\nTransfer-Encoding: chunked"),
    "chunked and length": line(f"Transfer-Encoding: chunked\r\n{LENGTH}"),
    "unknown coding": line("Transfer-Encoding: gzip"),
    "gzip, chunked": line("Transfer-Encoding: gzip, chunked"),
    "chunked, identity": line("Transfer-Encoding: chunked, identity"),
    "xchunked": line("Transfer-Encoding: xchunked"),
    "chunked after a tab": line("Transfer-Encoding:\tchunked"),
    "two codings": line("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
    "space before the colon": line(f"Content-Length : {len(GOOD)}"),
    "length with plus": line(f"Content-Length: +{len(GOOD)}"),
    "length with minus": line("Content-Length: -1"),
    "hexadecimal length": line("Content-Length: 0x3"),
    "empty length": line("Content-Length:"),
    "length with letters": line("Content-Length: 3a"),
    "length of a 20-digit number": line("Content-Length: 99999999999999999999"),
    # case 2
    "bare LF": replaced(b"Host: gw\r\n", b"Host: gw\n"),
    "bare LF everywhere":
        lambda gateway: (head(gateway, LENGTH)).replace(b"\r\n", b"\n") + GOOD,
    "bare CR": replaced(b"Host: gw\r\n", b"Host: gw\rX: y\r\n"),
    "obs-fold": line("X-Long: a\r\n b\r\n" + LENGTH),
    "fold by tab": line("X-Long: a\r\n\tb\r\n" + LENGTH),
    "nul in a value": line("X-A: a\0b\r\n" + LENGTH),
    "nul in a name": line("X\0A: b\r\n" + LENGTH),
    "bell in a value": line("X-A: a\x07b\r\n" + LENGTH),
    "delete in a value": line("X-A: a\x7fb\r\n" + LENGTH),
    "escape in a value": line("X-A: \x1b[31m\r\n" + LENGTH),
    "empty name": line(": x\r\n" + LENGTH),
    "space in a name": line("X A: b\r\n" + LENGTH),
    "slash in a name": line("X/A: b\r\n" + LENGTH),
    "umlaut in a name": line("X-\xe4: b\r\n" + LENGTH),
    "no colon": line("Nonsense\r\n" + LENGTH),
    "space before the first header": replaced(b"Host: gw", b" Host: gw"),
    "empty line first": lambda gateway: b"\r\n" + head(gateway, LENGTH) + GOOD,
    # case 3
    "no Host": shaped(LENGTH, host=None),
    "two Hosts": line("Host: other\r\n" + LENGTH),
    "two equal Hosts": line("Host: gw\r\n" + LENGTH),
    "empty Host": shaped(LENGTH, host="Host:"),
    "Host with a path": shaped(LENGTH, host="Host: gw/x"),
    "Host with a user": shaped(LENGTH, host="Host: a@gw"),
    "two Authorizations": line("Authorization: Bearer tg_x\r\n" + LENGTH),
    "absolute target": shaped(LENGTH, target="http://evil" + DROP_IN),
    "target //evil": shaped(LENGTH, target="//evil" + DROP_IN),
    "target without slash": shaped(LENGTH, target="o/api/v3.1/devices/action"),
    "target *": shaped(LENGTH, target="*", method="OPTIONS"),
    "target with fragment": shaped(LENGTH, target=DROP_IN + "#x"),
    "CONNECT": shaped(method="CONNECT", target="gw:443"),
    "empty target": shaped(LENGTH, target=""),
    "space in the target": shaped(LENGTH, target="/a b"),
    "control byte in the target": shaped(LENGTH, target="/a\x01b"),
    "high byte in the target": shaped(LENGTH, target="/a\xffb"),
    "HTTP/0.9": lambda gateway: b"GET /v1/actions\r\n",
    "HTTP/0.9 with a version": shaped(LENGTH, version="HTTP/0.9"),
    "HTTP/1.9": shaped(LENGTH, version="HTTP/1.9"),
    "HTTP/2.0": shaped(LENGTH, version="HTTP/2.0"),
    "HTTP/1.10": shaped(LENGTH, version="HTTP/1.10"),
    "http/1.1": shaped(LENGTH, version="http/1.1"),
    "HTTP/2 preface": lambda gateway: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "GET with a body": shaped(LENGTH, method="GET", target="/v1/actions/act_x"),
    "GET with a chunked body": shaped("Transfer-Encoding: chunked", method="GET"),
    "HEAD with a body": shaped(LENGTH, method="HEAD"),
    "chunked in 1.0": shaped("Transfer-Encoding: chunked", version="HTTP/1.0"),
    "unknown method": shaped(LENGTH, method="BREW"),
    "method in lower case": shaped(LENGTH, method="post"),
    "TLS to a plain port": lambda gateway: b"\x16\x03\x01\x02\x00\x01" + b"x" * 40,
    "SSH": lambda gateway: b"SSH-2.0-OpenSSH_9.2\r\n",
    # chunks
    "chunk size with 0x": lambda gateway: head(gateway, "Transfer-Encoding: chunked") +
        b"0x3\r\nabc\r\n0\r\n\r\n",
    "chunk extension": lambda gateway: head(gateway, "Transfer-Encoding: chunked") +
        b"3;a=b\r\nabc\r\n0\r\n\r\n",
    "chunk longer than its size": lambda gateway: head(gateway, "Transfer-Encoding: chunked") +
        b"3\r\nabcd\r\n0\r\n\r\n",
    "negative chunk size": lambda gateway: head(gateway, "Transfer-Encoding: chunked") +
        b"-1\r\nabc\r\n0\r\n\r\n",
    "chunk ended by LF": lambda gateway: head(gateway, "Transfer-Encoding: chunked") +
        b"3\nabc\r\n0\r\n\r\n",
    "trailers": lambda gateway: head(gateway, "Transfer-Encoding: chunked") +
        b"%x\r\n%s\r\n0\r\nX: y\r\n\r\n" % (len(GOOD), GOOD),
}
HEAD_ANSWERS = {"HEAD with a body"}  # a client that asked by HEAD reads no body


def check_refused(gateway, data, status, name, body_expected=True):
    source = new_source()  # or the many of them would only be counted
    if not body_expected:
        with Connection(gateway.address, source=source) as connection:
            connection.send(data)
            connection.end_sending()
            answer = connection.socket.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        request_id = re.search(rb"(?i)x-request-id: (\S+)", answer)[1].decode()
    else:
        response = exchange(gateway.address, data, source)
        assert response is not None, "closed without an answer"
        request_id = assert_problem(response, status, name)["request_id"]
    record, = gateway.wait_audit(event="request.refused", request_id=request_id)
    assert record["problem"] == name
    assert record["remote"] == source


@pytest.mark.parametrize("name", WRONG)
def test_not_http_as_it_should_be(gateway, untouched, name):
    check_refused(gateway, WRONG[name](gateway), 400, "malformed-request",
                  name not in HEAD_ANSWERS)


def test_sixty_four_headers_pass_and_one_more_does_not(gateway, untouched):
    """Case 4."""
    for extra, status in ((61, 404), (62, 431)):  # beside Host, Authorization, Content-Type
        data = head(gateway, *[f"X-{number}: y" for number in range(extra)], method="GET",
                    target="/nowhere")
        with Connection(gateway.address) as connection:
            connection.send(data)
            assert connection.read_response().status_code == status
    check_refused(gateway, data, 431, "header-too-large")


@pytest.mark.parametrize("make", [
    lambda gateway: head(gateway, "X-Long: " + "x" * MAX_HEADER_BYTES),
    lambda gateway: head(gateway, "X" * MAX_HEADER_BYTES + ": y"),
    lambda gateway: head(gateway, target="/" + "x" * MAX_HEADER_BYTES),
    lambda gateway: b"GET /" + b"x" * MAX_HEADER_BYTES * 2,
], ids=["value", "name", "target", "no end"])
def test_header_over_the_limit(gateway, untouched, make):
    check_refused(gateway, make(gateway), 431, "header-too-large")


def test_what_follows_a_refused_request_is_not_read(pair, gateway, untouched):
    """Smuggling: a second, good request behind a wrong one has no effect."""
    second = head(gateway, LENGTH) + GOOD
    for wrong in ("two lengths", "length and chunked", "trailers"):
        exchange(gateway.address, WRONG[wrong](gateway) + second)


def test_a_refusal_does_not_wait_for_the_rest(gateway, untouched):
    with Connection(gateway.address) as connection:
        connection.send(b"POST / HTTP/1.1\r\nHost: gw\r\nContent-Length: 3\r\nContent-Length: ")
        assert_problem(connection.read_response(), 400, "malformed-request")
        connection.wait_closed()


# ---- Deadlines: case 6 ----

@pytest.fixture(scope="module")
def hasty(module_site, pair):
    config = module_site.config(pair[0])
    config.json["limits"] = {"header_timeout_s": 1, "body_timeout_s": 1, "idle_timeout_s": 2}
    return module_site.gateway(config)


@pytest.mark.parametrize("start, dribble, seconds", [
    (lambda gateway: b"", b"", 1),                                # says nothing
    (lambda gateway: b"GET / HTTP/1.1\r\nX: ", b"a", 1),          # header byte by byte
    (lambda gateway: head(gateway, LENGTH), b" ", 1),             # body byte by byte
], ids=["silent", "header", "body"])
def test_dribbling_is_cut_at_the_absolute_deadline(hasty, untouched, start, dribble, seconds):
    with Connection(hasty.address) as connection:
        started = time.monotonic()
        connection.send(start(hasty))
        connection.socket.settimeout(0.1)
        taken = None
        while taken is None:
            assert time.monotonic() - started < 20, "it may dribble for ever"
            try:
                taken = connection.closed_after(started)
            except TimeoutError:
                connection.send(dribble)
    assert taken >= seconds - 0.05
    assert taken < seconds + 5


def test_idle_connections_end_and_others_do_not_suffer(hasty):
    with Connection(hasty.address) as idle:
        started = time.monotonic()
        idle.send(head(hasty, method="GET", target="/nowhere"))
        assert idle.read_response().status_code == 404
        assert hasty.post(GOOD).status_code == 200
        idle.wait_closed()
        assert time.monotonic() - started >= 1.9


def test_connections_beyond_the_cap_are_closed(site, pair):
    config = site.config(pair[0])
    config.json["limits"] = {"max_connections": 10}
    gateway = site.gateway(config)
    kept = [Connection(gateway.address) for _ in range(10)]
    for connection in kept:
        connection.send(head(gateway, method="GET", target="/nowhere"))
        assert connection.read_response().status_code == 404
    with Connection(gateway.address) as extra:
        extra.send(head(gateway, method="GET", target="/nowhere"))
        assert extra.read_response() is None
    for connection in kept:
        connection.send(head(gateway, method="GET", target="/nowhere"))
        assert connection.read_response().status_code == 404
        connection.socket.close()


def test_a_client_that_goes_away_while_it_waits(pair, gateway):
    """Its action goes on, and nothing breaks."""
    simulator = pair[0]
    simulator.forget_calls()
    simulator.order({"do": "delay", "ms": 300})
    body = b'{"types":"unexempt","ids":["any-gone"]}'
    with Connection(gateway.address) as connection:
        data = head(gateway, f"Content-Length: {len(body)}", "X-Request-ID: gone-1") + body
        connection.send(data)
        gateway.wait_audit(event="call.intent", devices=["any-gone"])
    gateway.wait_audit(event="action.finished", request_id="gone-1")
    assert simulator.bodies() == [body.decode()]


def test_many_clients_at_once(pair, gateway):
    simulator = pair[0]
    simulator.forget_calls()
    together = Together()
    for number in range(40):
        together.start(gateway.post, {"types": "unexempt", "ids": [f"any-many-{number}"]})
    for number, answer in enumerate(together.results()):
        assert [item["id"] for item in answer.json()] == [f"any-many-{number}"]
    sent = [id for call in simulator.calls() for id in call["ids"]]
    assert sorted(sent) == sorted(f"any-many-{number}" for number in range(40))
