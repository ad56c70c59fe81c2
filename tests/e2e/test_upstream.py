"""Everything the upstream can do wrong (cases 18 to 24): what the caller hears, what the action
and the audit log say, and that nothing is ever executed twice."""
import socket
from datetime import datetime

import pytest
from kit.checks import assert_problem
from kit.config import write_secret
from kit.process import SANITIZED
from kit.simulator import CLIENT_SECRET
from kit.waiting import Together, wait_for

BODY = {"types": "unexempt", "ids": ["any-1", "any-2"]}
TOKEN = "CANARYTOKEN0UPSTREAM0NEVER0TO0BE0SEEN0ANYWHERE01"


@pytest.fixture(scope="module")
def pair(module_site):
    simulator = module_site.simulator()
    return simulator, module_site.gateway(module_site.config(simulator, timeout_s=1))


@pytest.fixture
def simulator(pair):
    pair[0].forget_calls()
    yield pair[0]
    assert pair[0].orders_left() == [], "a fault was ordered and never met"


@pytest.fixture
def gateway(pair):
    return pair[1]


def records_of(gateway, answer):
    """What the audit log holds of the action that the answer names, by event."""
    id = answer.headers["Location"].rsplit("/", 1)[1]
    records = {}
    for record in gateway.audit():
        if record.get("action_id") == id:
            records.setdefault(record["event"], []).append(record)
    return records


def check(gateway, answer, state, outcome, upstream_status=None):
    """The action, its record and its call tell the same story; returns the records."""
    action = gateway.action(answer.headers["Location"])
    assert action["state"] == state
    assert action["finished_at"]
    if answer.status_code == 200:
        assert action["problem"] is None
        assert action["results"] == answer.json()
    else:
        assert action["results"] is None
        assert action["problem"]["type"] == answer.json()["type"]
    records = records_of(gateway, answer)
    assert [record["outcome"] for record in records["call.outcome"]] == [outcome]
    assert len(records["call.intent"]) == 1
    assert records["call.outcome"][0].get("upstream_status") == upstream_status
    finished, = records["action.finished"]
    assert finished["detail"]["state"] == state
    return records


# ---- It refuses: nothing was applied ----

@pytest.mark.parametrize("status, name", [
    (400, "upstream-rejected"), (403, "upstream-rejected"), (404, "upstream-rejected"),
    (405, "upstream-rejected"), (415, "upstream-rejected"), (500, "upstream-error"),
    (503, "upstream-error"), (599, "upstream-error"),
])
def test_error_statuses(simulator, gateway, status, name):
    simulator.order({"do": "status", "status": status, "body": "not to be passed on"})
    answer = gateway.post(BODY)
    problem = assert_problem(answer, 502, name)
    assert problem["upstream_status"] == status
    assert "not to be passed on" not in answer.text
    check(gateway, answer, "failed", "failed", status)
    assert simulator.calls() == []
    assert gateway.post(BODY).status_code == 200


def test_a_device_the_upstream_rejects(simulator, gateway):
    simulator.order({"do": "reject-device", "id": "any-2"})
    problem = assert_problem(gateway.post(BODY), 502, "upstream-rejected")
    assert problem["upstream_status"] == 400
    assert simulator.calls() == []


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_not_followed(simulator, gateway, status):
    """Case 18, with a trap in place of the link-local address."""
    with socket.create_server(("127.0.0.1", 0)) as trap:
        location = f"http://127.0.0.1:{trap.getsockname()[1]}/latest/meta-data/"
        order = {"do": "status", "status": status, "headers": {"Location": location}}
        simulator.order({"do": "redirect", "location": location} if status == 302 else order)
        answer = gateway.post(BODY)
        assert answer.status_code == 502
        assert answer.json()["upstream_status"] == status
        check(gateway, answer, "failed", "failed", status)
        assert location not in answer.text
        trap.settimeout(0)
        with pytest.raises(BlockingIOError):
            trap.accept()
    assert simulator.calls() == []


# ---- It answers, in its own way ----

def test_a_wrapped_answer(simulator, gateway):
    simulator.order({"do": "wrap"})
    answer = gateway.post(BODY)
    assert answer.status_code == 200
    assert answer.json() == [{"id": "any-1", "status": 1, "command_id": ""},
                             {"id": "any-2", "status": 1, "command_id": ""}]


def test_a_device_left_out_has_failed(simulator, gateway):
    simulator.order({"do": "drop-device"})
    answer = gateway.post(BODY)
    assert answer.json() == [{"id": "any-1", "status": 1, "command_id": ""},
                             {"id": "any-2", "status": 0, "command_id": ""}]
    check(gateway, answer, "completed", "ok", 200)


@pytest.mark.parametrize("body", [BODY, {"types": "unexempt", "macs": ["00:0C:29:FF:00:01"]}])
def test_a_foreign_device_is_dropped(simulator, gateway, body):
    simulator.order({"do": "foreign-device"})
    answer = gateway.post(body)
    assert [item["id"] for item in answer.json()] == body.get("ids", body.get("macs"))
    assert "foreign" not in answer.text and "00:0c:29:fe" not in answer.text
    check(gateway, answer, "completed", "ok", 200)


def test_a_late_answer(simulator, gateway):
    simulator.order({"do": "delay", "ms": 400})
    assert gateway.post(BODY).status_code == 200


# ---- A proxy on the way answers for it: it may have been applied ----

@pytest.mark.parametrize("status", [502, 504])
def test_a_proxy_that_speaks_for_the_upstream(simulator, gateway, status):
    """docs/decisions/0004: what is behind it may have done it, so it never goes again."""
    simulator.order({"do": "status", "status": status, "body": "not to be passed on"})
    answer = gateway.post(BODY)
    assert assert_problem(answer, 502, "upstream-error")["upstream_status"] == status
    assert "not to be passed on" not in answer.text
    check(gateway, answer, "unknown", "unknown", status)
    assert simulator.calls() == []


# ---- It answers 200 and nonsense: it may have been applied ----

@pytest.mark.parametrize("order", ["garbage", "truncate", "truncate-json", "wrong-shape",
                                   "endless", "bomb"])
def test_nonsense(simulator, gateway, order):
    """Case 19."""
    before = gateway.metric("tollgate_upstream_calls_total", account="main", outcome="unknown")
    simulator.order({"do": order})
    answer = gateway.post(BODY)
    assert_problem(answer, 502, "upstream-error")
    check(gateway, answer, "unknown", "unknown", 200)
    assert len(simulator.calls()) == 1
    assert gateway.metric("tollgate_upstream_calls_total", account="main",
                          outcome="unknown") == before + 1
    assert gateway.post(BODY).status_code == 200


@pytest.mark.parametrize("item", [
    {"id": "any-1", "status": 2}, {"id": "any-1", "status": "1"}, {"id": "any-1", "status": 1.0},
    {"id": "any-1", "status": None}, {"id": 1, "status": 1}, {"status": 1}, {"id": "any-1"},
    {"id": "any-1", "status": 1, "command_id": 7}, [], "any-1", None,
    {"id": "any-1", "status": 1, "command_id": "x" * 100000},
])
def test_wrong_items(simulator, gateway, item):
    simulator.order({"do": "status", "status": 200, "body": [item]})
    answer = gateway.post({"types": "unexempt", "ids": ["any-1"]})
    assert_problem(answer, 502, "upstream-error")
    check(gateway, answer, "unknown", "unknown", 200)


@pytest.mark.parametrize("status", [201, 202, 204, 206])
def test_another_success_is_not_believed(simulator, gateway, status):
    simulator.order({"do": "status", "status": status,
                     "body": [{"id": "any-1", "status": 1, "command_id": ""}]})
    answer = gateway.post({"types": "unexempt", "ids": ["any-1"]})
    assert_problem(answer, 502, "upstream-error")
    check(gateway, answer, "unknown", "unknown", status)


def test_a_device_twice_in_the_answer(simulator, gateway):
    items = [{"id": "any-1", "status": 1, "command_id": ""},
             {"id": "any-1", "status": 0, "command_id": ""},
             {"id": "ANY-2", "status": 1, "command_id": ""}]
    simulator.order({"do": "status", "status": 200, "body": items})
    answer = gateway.post(BODY)
    assert [(item["id"], item["status"]) for item in answer.json()] == [("any-1", 1), ("any-2", 0)]


@pytest.mark.skipif(SANITIZED, reason="a sanitizer keeps freed memory")
def test_huge_answers_take_bounded_memory(site):
    simulator = site.simulator()
    gateway = site.gateway(site.config(simulator, timeout_s=5))
    gateway.post(BODY)
    for order in ("endless", "bomb", "endless"):
        simulator.order({"do": order})
        assert_problem(gateway.post(BODY), 502, "upstream-error")
    with open(f"/proc/{gateway.process.pid}/status", encoding="ascii") as file:
        peak_kb = next(int(line.split()[1]) for line in file if line.startswith("VmHWM:"))
    assert peak_kb < 100 * 1024


# ---- It may have been applied, and nobody knows: never sent again ----

@pytest.mark.parametrize("order, executions", [("close-before", 0), ("close-after", 1), ("hang", 1),
                                               ("late", 1)])
def test_no_answer(simulator, gateway, order, executions):
    """Case 20. The gateway cannot tell close-before from close-after."""
    simulator.order({"do": "delay", "ms": 3000} if order == "late" else {"do": order})
    answer = gateway.post(BODY)
    problem = assert_problem(answer, 504, "outcome-unknown")
    assert "upstream_status" not in problem
    check(gateway, answer, "unknown", "unknown")
    assert gateway.post({"types": "unexempt", "ids": ["any-3"]}).status_code == 200
    mine = [call for call in simulator.calls() if call["ids"] == BODY["ids"]]
    assert len(mine) == executions


def test_no_answer_to_one_that_nobody_waits_for(simulator, gateway):
    simulator.order({"do": "close-after"})
    action = gateway.wait_final(gateway.submit(BODY)["id"])
    assert action["state"] == "unknown"
    assert action["problem"]["type"] == "urn:tollgate:problem:outcome-unknown"
    assert len(simulator.calls()) == 1


def test_no_answer_on_a_connection_that_was_used_before(simulator, gateway):
    """The trap of keep-alive: a client library likes to send such a request once more."""
    for _ in range(3):
        assert gateway.post(BODY).status_code == 200
        simulator.order({"do": "close-after"})
        assert_problem(gateway.post(BODY), 504, "outcome-unknown")
    assert len(simulator.calls()) == 6


# ---- It cannot be reached: nothing was sent ----

@pytest.mark.slow
def test_upstream_down_and_up_again(site):
    """Case 21."""
    simulator = site.simulator(access_token=TOKEN)
    config = site.config(simulator, requests=1, window_s=3600)
    config.use_token_file(TOKEN)
    gateway = site.gateway(config)
    simulator.stop()
    answer = gateway.post(BODY)
    problem = assert_problem(answer, 502, "upstream-error")
    assert "upstream_status" not in problem
    assert "nothing was sent" in problem["detail"].lower()
    assert gateway.action(answer.headers["Location"])["state"] == "failed"
    records = records_of(gateway, answer)
    outcomes = records["call.outcome"]
    assert len(records["call.intent"]) == len(outcomes) > 1, "it was not tried again"
    assert {record["outcome"] for record in outcomes} == {"failed"}
    assert all(record["detail"]["nothing_sent"] for record in outcomes)
    assert len(records["action.finished"]) == 1
    simulator.start()
    assert wait_for("an answer: the slot must have been given back",
                    lambda: gateway.post(BODY).status_code == 200)
    assert len(simulator.calls()) == 1


def test_a_certificate_of_another_ca(site):
    simulator = site.simulator(tls=site.certificate())
    config = site.config(simulator)
    config.account["ca_file"] = str(site.certificate("other").certificate)
    gateway = site.gateway(config, ready=False)
    assert_problem(gateway.post(BODY), 502, "upstream-error")
    assert gateway.admin("/readyz").status_code == 503
    assert simulator.stats()["tokens_issued"] == 0
    assert gateway.wait_audit(event="token.failed", account="main")


def test_the_certificate_of_another_host(site):
    """The name is checked, not only who signed."""
    simulator = site.simulator(tls=site.certificate())
    config = site.config(simulator)
    config.account["base_url"] = simulator.url.replace("127.0.0.1", "localhost")
    gateway = site.gateway(config, ready=False)
    assert_problem(gateway.post(BODY), 502, "upstream-error")
    assert simulator.stats()["tokens_issued"] == 0


def test_no_tls_where_it_is_expected(site):
    simulator = site.simulator()
    config = site.config(simulator)
    config.account["base_url"] = simulator.url.replace("http:", "https:")
    gateway = site.gateway(config, ready=False)
    assert_problem(gateway.post(BODY), 502, "upstream-error")


# ---- Tokens ----

def test_one_refresh_for_all_waiters(site):
    """Case 22."""
    simulator = site.simulator(latency_ms="50")
    gateway = site.gateway(site.config(simulator, max_devices_per_call=1))
    assert gateway.post(BODY).status_code == 200
    assert simulator.stats()["tokens_issued"] == 1
    assert simulator.revoke_tokens() == 1
    simulator.forget_calls()
    together = Together()
    for number in range(20):
        together.start(gateway.post, {"types": "unexempt", "ids": [f"any-{number}"]})
    assert [answer.status_code for answer in together.results()] == [200] * 20
    assert simulator.stats()["tokens_issued"] == 2
    devices = sorted(call["ids"][0] for call in simulator.calls())
    assert devices == sorted(f"any-{number}" for number in range(20))


def test_a_refused_token_costs_its_slot_and_one_retry(site):
    simulator = site.simulator()
    gateway = site.gateway(site.config(simulator, requests=3, window_s=3600))
    simulator.revoke_tokens()
    answer = gateway.post(BODY)
    assert answer.status_code == 200
    outcomes = records_of(gateway, answer)["call.outcome"]
    assert [(record["outcome"], record["upstream_status"]) for record in outcomes] == \
        [("failed", 401), ("ok", 200)]
    assert gateway.post(BODY).status_code == 200
    problem = assert_problem(gateway.post(BODY), 429, "quota-exceeded")
    assert problem["status"] == 429
    assert len(simulator.calls()) == 2


def test_a_token_refused_twice(site):
    simulator = site.simulator()
    gateway = site.gateway(site.config(simulator))
    simulator.order(*[{"do": "status", "status": 401}] * 2)
    answer = gateway.post(BODY)
    problem = assert_problem(answer, 502, "upstream-rejected")
    assert problem["upstream_status"] == 401
    assert gateway.action(answer.headers["Location"])["state"] == "failed"
    assert simulator.calls() == []
    wait_for("a good token", lambda: gateway.post(BODY).status_code == 200)


def test_tokens_are_refreshed_before_they_expire(site):
    simulator = site.simulator(token_ttl_s=3)
    gateway = site.gateway(site.config(simulator))

    def refreshed():
        assert gateway.post(BODY).status_code == 200
        return simulator.stats()["tokens_issued"] >= 3
    wait_for("the third token", refreshed, every_s=0.05)
    assert simulator.stats()["bad_token"] == 0
    assert len(gateway.audit_of(event="token.refreshed", account="main")) >= 3


@pytest.mark.parametrize("order", [
    {"do": "status", "status": 500}, {"do": "garbage"}, {"do": "close-before"},
    {"do": "status", "status": 200, "body": {"token": "x"}}, {"do": "truncate"},
    {"do": "status", "status": 200, "body": {"access_token": "a b\nc"}}, {"do": "bomb"},
    {"do": "endless"}, {"do": "echo-token"},
])
def test_the_token_endpoint_fails_once(site, order):
    simulator = site.simulator()
    simulator.order({"on": "token", **order})
    gateway = site.gateway(site.config(simulator))  # which waits until it is ready
    assert gateway.post(BODY).status_code == 200
    failed, = gateway.audit_of(event="token.failed", account="main")
    assert CLIENT_SECRET not in str(failed) + gateway.text


def test_a_wrong_secret_and_a_good_one_later(site):
    simulator = site.simulator()
    config = site.config(simulator)
    write_secret(config.folder / "client_secret", "wrong-secret-6622")
    gateway = site.gateway(config, ready=False)
    gateway.wait_audit(event="token.failed", account="main")
    problem = assert_problem(gateway.post(BODY), 502, "upstream-error")
    assert "token" in problem["detail"]
    ready = gateway.admin("/readyz")
    assert ready.status_code == 503
    assert ready.json()["ready"] is False and ready.json()["problems"]
    assert gateway.admin("/livez").status_code == 200
    assert "wrong-secret-6622" not in gateway.text + str(gateway.audit()) + ready.text
    write_secret(config.folder / "client_secret", CLIENT_SECRET)
    wait_for("/readyz", lambda: gateway.admin("/readyz").status_code == 200)
    assert gateway.post(BODY).status_code == 200


def test_a_waiting_caller_is_told_soon_that_there_is_no_token(site):
    """Those that wait get 502; those that do not wait stay queued, and run when there is one."""
    simulator = site.simulator()
    config = site.config(simulator)
    write_secret(config.folder / "client_secret", "wrong")
    gateway = site.gateway(config, ready=False)
    accepted = gateway.submit(BODY)
    assert_problem(gateway.post(BODY), 502, "upstream-error")
    assert gateway.action(accepted["id"])["state"] == "queued"
    write_secret(config.folder / "client_secret", CLIENT_SECRET)
    assert gateway.wait_final(accepted["id"])["state"] == "completed"
    assert len(simulator.calls()) == 1


def test_a_token_file_that_changes(site):
    simulator = site.simulator(access_token=TOKEN)
    config = site.config(simulator, sync_wait_s=3)
    config.use_token_file(TOKEN)
    gateway = site.gateway(config)
    assert gateway.post(BODY).status_code == 200
    config.use_token_file("STALE0TOKEN")
    # Whoever waits hears of it; waiting longer would not help.
    wait_for("a refused token", lambda: gateway.post(BODY).status_code == 502, 10, every_s=0.1)
    config.use_token_file(TOKEN)
    wait_for("the good token", lambda: gateway.post(BODY).status_code == 200, 10, every_s=0.1)
    assert simulator.stats()["tokens_issued"] == 0
    for word in (TOKEN, "STALE0TOKEN"):
        assert word not in gateway.text + str(gateway.audit())


def test_an_echoed_token_is_redacted(site):
    """Case 24."""
    simulator = site.simulator(access_token=TOKEN)
    config = site.config(simulator)
    config.use_token_file(TOKEN)
    gateway = site.gateway(config)
    simulator.order({"do": "echo-token"})
    answer = gateway.post(BODY)
    assert_problem(answer, 502, "upstream-rejected")
    simulator.order({"do": "status", "status": 200, "body": [
        {"id": "any-1", "status": 1, "command_id": TOKEN},
        {"id": "any-2", "status": 1, "command_id": "x" + TOKEN + "y"}]})
    echoed = gateway.post(BODY)
    shown = gateway.get(answer.headers["Location"]).text + gateway.admin("/metrics").text
    for text in (answer.text, str(answer.headers), echoed.text, shown, gateway.text,
                 str(gateway.audit())):
        assert TOKEN not in text


def test_a_lost_token_is_seen_by_readyz(site):
    """It expires while the upstream is away: what is sent now would not be taken."""
    simulator = site.simulator(token_ttl_s=3)
    gateway = site.gateway(site.config(simulator))
    simulator.stop()
    wait_for("/readyz to tell", lambda: gateway.admin("/readyz").status_code == 503, 10)
    assert_problem(gateway.post(BODY), 502, "upstream-error")
    simulator.start()
    wait_for("/readyz to be 200", lambda: gateway.admin("/readyz").status_code == 200)


# ---- Its rate limit: case 23 ----

def test_429_from_the_upstream_pauses_the_account(site):
    """As long as the upstream said, and for all callers: no storm."""
    simulator = site.simulator()
    gateway = site.gateway(site.config(simulator))
    simulator.order({"do": "status", "status": 429, "headers": {"Retry-After": "2"}})
    first = gateway.post(BODY)
    refused, = [record for record in gateway.audit_of(event="call.outcome")
                if record.get("upstream_status") == 429]
    assert first.status_code in (200, 502)
    together = Together()
    for number in range(5):
        together.start(gateway.post, {"types": "unexempt", "ids": [f"any-{number}"]})
    assert {answer.status_code for answer in together.results()} <= {200, 429}
    first_sent = min(call["arrived_ms"] for call in simulator.calls())
    assert first_sent - milliseconds(refused["time"]) >= 1900
    assert gateway.metric("tollgate_foreign_calls_suspected_total", account="main") >= 1


def milliseconds(time):
    return datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp() * 1000


def test_foreign_use_is_flagged_by_the_remaining_count(site):
    """The upstream says that fewer calls are left than the gateway has made."""
    simulator = site.simulator()
    gateway = site.gateway(site.config(simulator, requests=10, window_s=60))
    assert gateway.post(BODY).status_code == 200
    simulator.order({"do": "status", "status": 200,
                     "body": [{"id": id, "status": 1, "command_id": ""} for id in BODY["ids"]],
                     "headers": {"X-RateLimit-Limit": "10", "X-RateLimit-Remaining": "0",
                                 "X-RateLimit-Reset-Time": "30"}})
    assert gateway.post(BODY).status_code == 200
    assert gateway.metric("tollgate_foreign_calls_suspected_total", account="main") >= 1


# ---- Slow peers ----

def test_an_upstream_that_accepts_and_says_nothing(site):
    """Its socket is open, its program does not run: nobody else waits longer than the timeout."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        simulator = site.simulator()
        config = site.config(simulator, timeout_s=1)
        config.account["base_url"] = f"http://127.0.0.1:{server.getsockname()[1]}"
        gateway = site.gateway(config, ready=False)
        assert_problem(gateway.post(BODY), 502, "upstream-error")  # no token
