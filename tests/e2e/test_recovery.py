"""A restart knows what its predecessor knew: what the parts of a split request came to, that the
upstream asked for a pause, that others use the account; and it ends what nobody goes on with."""
import signal
import sqlite3
import time

import pytest
from kit.bodies import move, unexempt, use_slots
from kit.checks import assert_calls, assert_problem, check_audit
from kit.waiting import Together, wait_for

HOW = pytest.mark.parametrize("how", ["kill", "stop"])


def end(gateway, how):
    getattr(gateway, how)()


def store(gateway):
    return sqlite3.connect(gateway.config.folder / "tollgate.db", isolation_level=None)


def outcomes(gateway, **fields):
    return gateway.audit_of(event="call.outcome", **fields)


def sent(simulator):
    return [id for call in simulator.calls() for id in call["ids"]]


def statuses(action):
    return [(item["id"], item["status"]) for item in action["results"]]


def answer_of(*items):
    """An order for a call: the answer to exactly these devices."""
    return {"do": "status", "status": 200,
            "body": [{"id": id, "status": status, "command_id": command_id}
                     for id, status, command_id in items]}


def check(gateway):
    records = gateway.audit()
    assert check_audit(records) == {}
    assert_calls(records)


# ---- Split requests ----

@HOW
def test_what_is_known_of_a_part_stays_known(site, how):
    """Its results as they were; and the rest is sent, once."""
    simulator = site.simulator()
    gateway = site.gateway(site.config(simulator, requests=2, window_s=3, max_devices_per_call=2))
    simulator.order(answer_of(("any-0", 1, "cmd-7"), ("any-1", -1, "")),
                    {"do": "status", "status": 500})
    id = gateway.submit(unexempt(*[f"any-{number}" for number in range(7)]))["id"]
    wait_for("both calls' outcomes", lambda: len(outcomes(gateway)) == 2)
    assert gateway.action(id)["state"] == "dispatched"
    end(gateway, how)
    gateway.start()
    assert gateway.action(id)["state"] == "dispatched"
    action = gateway.wait_final(id)
    assert action["state"] == "completed"
    assert statuses(action) == [("any-0", 1), ("any-1", -1), ("any-2", 0), ("any-3", 0),
                                ("any-4", 1), ("any-5", 1), ("any-6", 1)]
    assert [item["command_id"] for item in action["results"]] == ["cmd-7"] + [""] * 6
    assert sent(simulator) == ["any-4", "any-5", "any-6"]
    check(gateway)


def test_each_restart_adds_to_what_is_known(site):
    simulator = site.simulator()
    gateway = site.gateway(site.config(simulator, requests=1, window_s=1, max_devices_per_call=1))
    ids = [f"any-{number}" for number in range(4)]
    id = gateway.submit(unexempt(*ids))["id"]
    for count in (1, 2, 3):
        wait_for("one more outcome", lambda count=count: len(outcomes(gateway)) >= count)
        gateway.kill()
        gateway.start(ready=False)
    action = gateway.wait_final(id)
    assert sent(simulator) == ids
    assert action["state"] in ("completed", "unknown")
    check(gateway)


def test_a_signal_in_the_middle_of_a_split_request(site):
    """The part under way ends and is recorded; the next start goes on."""
    simulator = site.simulator()
    gateway = site.gateway(site.config(simulator, requests=1, window_s=1, max_devices_per_call=2))
    simulator.order({"do": "delay", "ms": 1500})
    ids = [f"any-{number}" for number in range(5)]
    waiting = Together()
    waiting.start(gateway.post, unexempt(*ids))
    wait_for("the call to arrive", simulator.calls)
    gateway.send_signal(signal.SIGTERM)
    answer, = waiting.results()
    assert_problem(answer, 504, "still-running")
    assert gateway.wait_exit() == 0
    assert [record["outcome"] for record in outcomes(gateway)] == ["ok"]
    gateway.start()
    action = gateway.wait_final(answer.headers["Location"])
    assert action["state"] == "completed"
    assert statuses(action) == [(id, 1) for id in ids]
    assert sent(simulator) == ids
    check(gateway)


@pytest.mark.slow
def test_a_lost_part_makes_it_unknown_and_the_rest_is_sent(site):
    """Just as it is without a restart: what is known is kept, what was lost is not sent again."""
    simulator = site.simulator()
    gateway = site.gateway(site.config(simulator, requests=2, window_s=1, timeout_s=1,
                                       max_devices_per_call=2))
    simulator.order({"do": "delay", "ms": 0}, {"do": "hang"})
    ids = [f"any-{number}" for number in range(7)]
    id = gateway.submit(unexempt(*ids))["id"]
    wait_for("an outcome", lambda: outcomes(gateway))
    wait_for("two calls to arrive", lambda: len(simulator.calls()) >= 2)
    gateway.kill()
    lost = simulator.calls()[1]["ids"]
    gateway.start()
    action = gateway.wait_final(id)
    assert action["state"] == "unknown"
    assert action["problem"]["type"] == "urn:tollgate:problem:outcome-unknown"
    assert sorted(sent(simulator)) == ids
    assert statuses(action) == [(id, 1) for id in ids if id not in lost]
    check(gateway)


@pytest.mark.parametrize("restarts", [False, True], ids=["running", "restarted"])
def test_a_later_request_for_its_device_still_waits(site, restarts):
    """Also for a device that is over: the split request has not ended."""
    simulator = site.simulator()
    gateway = site.gateway(site.config(simulator, requests=1, window_s=2, max_devices_per_call=2))
    first = gateway.submit(unexempt("any-0", "any-1", "any-2"))["id"]
    second = gateway.submit(move("quarantine", "any-0"))["id"]
    wait_for("an outcome", lambda: outcomes(gateway))
    if restarts:
        gateway.kill()
        gateway.start()
    assert gateway.wait_final(first)["state"] == "completed"
    assert gateway.wait_final(second)["state"] == "completed"
    assert [call["ids"] for call in simulator.calls()] == [["any-0", "any-1"], ["any-2"], ["any-0"]]


# ---- What was not sent in time ----

def half_sent(site, simulator, **account):
    """A gateway and an action of which two of six devices are known, and no slot is free."""
    gateway = site.gateway(site.config(simulator, requests=1, max_devices_per_call=2, **account))
    id = gateway.submit(unexempt(*[f"any-{number}" for number in range(6)]))["id"]
    wait_for("an outcome", lambda: outcomes(gateway))
    return gateway, id


HALF = [("any-0", 1), ("any-1", 1)] + [(f"any-{number}", 0) for number in range(2, 6)]


def set_deadline(gateway, ms_from_now):
    with store(gateway) as db:
        db.execute("UPDATE actions SET deadline_ms = ? WHERE finished_ms = 0",
                   (int(time.time() * 1000) + ms_from_now,))


@pytest.mark.parametrize("ms_from_now", [-1000, 3000], ids=["while it was down", "after that"])
def test_the_rest_of_a_split_request_is_not_sent_after_its_deadline(site, ms_from_now):
    simulator = site.simulator()
    gateway, id = half_sent(site, simulator, window_s=60)
    other = gateway.submit(move("late", "any-9"))["id"]
    gateway.stop()
    set_deadline(gateway, ms_from_now)
    gateway.start()
    action = gateway.wait_final(id)
    assert action["state"] == "completed"
    assert statuses(action) == HALF
    assert gateway.wait_final(other)["state"] == "expired"
    finished, = gateway.audit_of(event="action.finished", action_id=id)
    assert finished["detail"] == {"state": "completed", "text": "Not all of it was sent."}
    assert sent(simulator) == ["any-0", "any-1"]
    records = gateway.audit()
    assert_calls(records)


@pytest.mark.slow
def test_a_deadline_passes_while_a_part_is_under_way(site):
    """That part's results are known; nothing is sent after it."""
    simulator = site.simulator()
    gateway, id = half_sent(site, simulator, window_s=1)
    gateway.stop()
    set_deadline(gateway, 5000)
    simulator.forget_calls()
    simulator.order({"do": "delay", "ms": 8000})
    gateway.start(ready=False)
    wait_for("the next part to arrive", simulator.calls)
    action = gateway.wait_final(id)
    assert action["state"] == "completed"
    assert statuses(action) == [(f"any-{number}", 1 if number < 4 else 0) for number in range(6)]
    assert len(simulator.calls()) == 1
    check(gateway)


def test_a_deadline_with_a_lost_part(site):
    simulator = site.simulator()
    gateway = site.gateway(site.config(simulator, requests=1, window_s=60, max_devices_per_call=2))
    simulator.order({"do": "hang"})
    id = gateway.submit(unexempt("any-0", "any-1", "any-2"))["id"]
    wait_for("the call to arrive", simulator.calls)
    gateway.kill()
    set_deadline(gateway, -1000)
    gateway.start()
    assert gateway.wait_final(id)["state"] == "unknown"
    assert sent(simulator) == ["any-0", "any-1"]
    check(gateway)


@pytest.mark.slow
def test_who_waits_for_a_split_request_hears_that_the_rest_cannot_be_sent(site):
    """When the breaker opens: what is known, and status 0 for what was not sent."""
    simulator = site.simulator()
    gateway = site.gateway(site.config(simulator, requests=1, window_s=3, max_devices_per_call=2,
                                       sync_wait_s=60))
    waiting = Together()
    waiting.start(gateway.post, unexempt(*[f"any-{number}" for number in range(6)]))
    wait_for("an outcome", lambda: outcomes(gateway))
    done = len(sent(simulator))
    simulator.stop()
    answer, = waiting.results()
    assert answer.status_code == 200, answer.text
    assert [item["status"] for item in answer.json()] == [1] * done + [0] * (6 - done)
    action = gateway.action(answer.headers["Location"])
    assert (action["state"], action["results"]) == ("completed", answer.json())
    check(gateway)


# ---- The upstream's own count ----

@pytest.mark.slow
@HOW
def test_a_pause_lasts_over_a_restart(site, how):
    simulator = site.simulator()
    gateway = site.gateway(site.config(simulator, requests=10, window_s=1))
    simulator.order({"do": "status", "status": 429, "headers": {"Retry-After": "8"}})
    id = gateway.submit(unexempt("any-1"))["id"]
    refused = wait_for("the refusal", lambda: outcomes(gateway, upstream_status=429))
    began = time.time()
    end(gateway, how)
    gateway.start()
    assert gateway.action(id)["state"] == "queued"
    late = gateway.post(unexempt("any-2"), headers={"Prefer": "wait=1"})
    assert_problem(late, 429, "quota-exceeded")
    assert gateway.wait_final(id)["state"] == "completed"
    call, = simulator.calls()
    assert call["arrived_ms"] >= began * 1000 + 7000, refused
    assert len(outcomes(gateway)) == 2
    assert gateway.post(unexempt("any-3")).status_code == 200
    check(gateway)


@pytest.mark.slow
@HOW
def test_slots_taken_out_for_others_stay_out(site, how):
    """For a window, and no longer; and they are no calls of ours."""
    simulator = site.simulator()
    gateway = site.gateway(site.config(simulator, requests=10, window_s=10))
    simulator.order({"do": "status", "status": 200,
                     "body": [{"id": "any-1", "status": 1, "command_id": ""}],
                     "headers": {"X-RateLimit-Remaining": "6"}})
    assert gateway.post(unexempt("any-1")).status_code == 200
    assert gateway.get("/v1/budget").json()["free"] == 6
    end(gateway, how)
    gateway.start()
    assert gateway.get("/v1/budget").json()["free"] == 6
    assert len(outcomes(gateway)) == 1
    check(gateway)
    wait_for("all slots again", lambda: gateway.get("/v1/budget").json()["free"] == 10, 20)
    assert gateway.post(unexempt("any-2")).status_code == 200
    with store(gateway) as db:
        assert db.execute("SELECT count(*) FROM grants").fetchone() == (1,), "spent ones are dropped"


# ---- What nobody goes on with ----

def add_account(site, simulator, **account):
    """A configuration with a second account, "other", its team "away" and client "remote"."""
    config = site.config(simulator, requests=10, window_s=60)
    config.json["accounts"]["other"] = {
        **config.account, "budget": {"requests": 2, "window_s": 60}, **account}
    config.add_client("siem", roles=["auditor"])
    config.add_team("away", account="other")
    config.add_client("remote", "away")
    return config


def take_out(config):
    """Takes the second account out; what to put back."""
    taken = {part: config.json[part].pop(name) for part, name in
             (("accounts", "other"), ("teams", "away"), ("clients", "remote"))}
    return {"accounts": {"other": taken["accounts"]}, "teams": {"away": taken["teams"]},
            "clients": {"remote": taken["clients"]}}


def test_actions_of_an_account_that_is_gone_end(site):
    """And stay so, and its slots stay taken, when it comes back."""
    simulator = site.simulator()
    config = add_account(site, simulator)
    gateway = site.gateway(config)

    def submit(body):
        return gateway.submit(body, client="remote")["id"]

    done = submit(unexempt("any-1"))
    gateway.wait_final(done, client="remote")
    simulator.order({"do": "hang"})
    lost = submit(move("there", "any-2"))
    wait_for("the call to arrive", lambda: len(simulator.calls()) == 2)
    queued = submit(move("here", "any-3"))
    kept = gateway.submit(unexempt("any-4"))["id"]
    gateway.wait_final(kept)
    assert gateway.action(queued, "siem")["state"] == "queued"
    gateway.kill()
    taken = take_out(config)
    gateway.start()
    ended = {id: gateway.action(id, "siem") for id in (done, lost, queued, kept)}
    assert [action["state"] for action in ended.values()] == \
        ["completed", "unknown", "failed", "completed"]
    assert ended[lost]["problem"]["type"] == "urn:tollgate:problem:outcome-unknown"
    assert ended[queued]["problem"]["type"] == "urn:tollgate:problem:unavailable"
    assert "no longer configured" in ended[queued]["problem"]["detail"]
    assert sorted(record["outcome"] for record in outcomes(gateway)) == ["ok", "ok", "unknown"]
    check(gateway)

    gateway.stop()
    for part, more in taken.items():
        config.json[part].update(more)
    gateway.start()
    assert {id: gateway.action(id, "siem") for id in ended} == ended
    assert gateway.get("/v1/budget", "remote").json()["free"] == 0
    assert len(simulator.calls()) == 3
    check(gateway)


def test_the_known_half_of_an_account_that_is_gone(site):
    """What is known is kept, and what was not sent has status 0."""
    simulator = site.simulator()
    config = add_account(site, simulator, max_devices_per_call=2)
    gateway = site.gateway(config)
    split = gateway.submit(unexempt(*[f"any-{number}" for number in range(5)]),
                           client="remote")["id"]
    wait_for("two outcomes", lambda: len(outcomes(gateway)) == 2)
    gateway.kill()
    take_out(config)
    gateway.start()
    action = gateway.action(split, "siem")
    assert action["state"] == "completed"
    assert [item["status"] for item in action["results"]] == [1, 1, 1, 1, 0]
    check(gateway)


def test_an_action_under_way_of_an_account_that_is_gone_is_unknown(site):
    simulator = site.simulator()
    config = add_account(site, simulator)
    gateway = site.gateway(config)
    simulator.order({"do": "hang"})
    id = gateway.submit(unexempt("any-1"), client="remote")["id"]
    wait_for("the call to arrive", simulator.calls)
    gateway.kill()
    take_out(config)
    gateway.start()
    assert gateway.action(id, "siem")["state"] == "unknown"
    assert [record["outcome"] for record in outcomes(gateway)] == ["unknown"]
    check(gateway)


def test_actions_of_a_team_that_is_gone_end(site):
    simulator = site.simulator()
    config = site.config(simulator, requests=1, window_s=60, max_devices_per_call=2)
    config.add_client("siem", roles=["auditor"])
    config.add_team("away")
    config.add_client("remote", "away")
    gateway = site.gateway(config)
    split = gateway.submit(unexempt("any-1", "any-2", "any-3"), client="remote")["id"]
    queued = gateway.submit(unexempt("any-4"), client="remote")["id"]
    wait_for("an outcome", lambda: outcomes(gateway))
    gateway.stop()
    del config.json["teams"]["away"], config.json["clients"]["remote"]
    gateway.start()
    assert statuses(gateway.action(split, "siem")) == [("any-1", 1), ("any-2", 1), ("any-3", 0)]
    assert gateway.action(queued, "siem")["state"] == "failed"
    check(gateway)


# ---- A store of an older gateway ----

def test_what_an_older_gateway_did_not_write_is_unknown(site):
    """Its split requests say nothing of what became of their parts: nothing of them goes again."""
    simulator = site.simulator()
    gateway, id = half_sent(site, simulator, window_s=60)
    gateway.stop()
    with store(gateway) as db:
        db.execute("ALTER TABLE actions DROP COLUMN progress")
        db.execute("ALTER TABLE audit DROP COLUMN leaf")
        for table in ("tree", "checkpoints", "segments", "keys", "pruned", "streams"):
            db.execute(f"DROP TABLE audit_{table}")
        db.execute("PRAGMA user_version = 2")
    gateway.start()
    action = gateway.action(id)
    assert action["state"] == "unknown"
    assert action["results"] is None
    assert sent(simulator) == ["any-0", "any-1"]
    check(gateway)


def test_all_slots_used_before_are_used_after(site):
    """Whatever is stored beside them."""
    simulator = site.simulator()
    gateway = site.gateway(site.config(simulator, requests=3, window_s=60))
    use_slots(gateway, simulator, 2)
    gateway.kill()
    gateway.start()
    assert gateway.get("/v1/budget").json()["free"] == 1
