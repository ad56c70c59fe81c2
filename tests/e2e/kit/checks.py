"""What every test of an answer checks alike."""
PROBLEM = "urn:tollgate:problem:"


def assert_problem(answer, status, name):
    """An RFC 9457 problem of that type in every way; returns it."""
    assert answer.status_code == status, (answer.status_code, answer.text)
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == PROBLEM + name, problem
    assert problem["status"] == status
    assert isinstance(problem["title"], str) and problem["title"]
    assert isinstance(problem["detail"], str) and problem["detail"]
    assert problem["request_id"] == answer.headers["X-Request-ID"]
    return problem


def assert_calls(records):
    """Each call has one intent and then one outcome, about the same actions, all of them accepted
    before; and the actions' devices are those that the call was for. Returns the intents."""
    accepted, intents, outcomes = {}, {}, {}
    for record in records:
        if record["event"] == "action.accepted":
            accepted[record["action_id"]] = record
        elif record["event"] == "call.intent":
            actions = record["detail"]["actions"]
            assert actions and len(set(actions)) == len(actions), record
            assert set(actions) <= set(accepted), record
            assert record["call_id"] not in intents, record
            assert len(set(record["devices"])) == len(record["devices"]), record
            for id in actions:
                assert record["action"] == accepted[id]["action"], record
                assert record.get("params") == accepted[id].get("params"), record
            intents[record["call_id"]] = record
        elif record["event"] == "call.outcome":
            assert record["call_id"] not in outcomes, record
            intent = intents[record["call_id"]]
            assert sorted(record["detail"]["actions"]) == sorted(intent["detail"]["actions"]), \
                (intent, record)
            outcomes[record["call_id"]] = record
    assert set(intents) == set(outcomes), "a call without its outcome"
    return list(intents.values())


def assert_contiguous(records):
    """seq runs from 0 without a gap."""
    assert [record["seq"] for record in records] == list(range(len(records)))


def check_audit(records):
    """Contiguous; each call has one intent and one outcome, in this order; each action's records
    are in order, and it ends once."""
    assert_contiguous(records)
    calls, actions = {}, {}
    for record in records:
        if record["event"].startswith("call."):
            calls.setdefault(record["call_id"], []).append(record["event"])
        if record["event"].startswith("action."):
            actions.setdefault(record["action_id"], []).append(record["event"])
    wrong = {id: events for id, events in calls.items()
             if events != ["call.intent", "call.outcome"]}
    assert wrong == {}
    wrong = {id: events for id, events in actions.items()
             if events != ["action.accepted", "action.finished"]}
    return wrong
