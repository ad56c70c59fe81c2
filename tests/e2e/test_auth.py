"""Who may do what: keys, where they are sent, roles, and teams that do not see each other."""
import re

import pytest
from kit.checks import assert_problem
from kit.config import mint_key
from kit.gateway import DROP_IN, SUBMIT
from kit.http import new_source

BODY = {"types": "unexempt", "ids": ["any-1"]}


@pytest.fixture(scope="module")
def site(module_site):
    class Both:
        simulator = module_site.simulator()
        config = module_site.config(simulator)
    config = Both.config
    config.add_team("other")
    config.add_client("stranger", "other")
    config.add_client("siem", roles=["auditor"])
    config.add_client("pager", roles=["operator"])
    config.add_client("lead", "other", roles=["auditor"])
    config.add_client("leaver", "ops", not_after="2020-01-01T00:00:00Z")
    config.add_client("stayer", "ops", not_after="2999-01-01T00:00:00Z")
    Both.second_key = config.add_key("script")
    Both.renamed_key = config.add_key("script", id="renamed.key-1")
    Both.gateway = module_site.gateway(config)
    return Both


@pytest.fixture
def gateway(site):
    return site.gateway


@pytest.fixture
def untouched(site):
    site.simulator.forget_calls()
    yield
    assert site.simulator.calls() == []


def other_character(text, place):
    other = "b" if text[place] != "b" else "c"
    return text[:place] + other + text[place + 1:] if place >= 0 else text[:place] + other


def authorizations(site):
    key = site.gateway.key()
    unknown = mint_key()["key"]
    return {
        "none": None,
        "empty": "",
        "scheme only": "Bearer",
        "scheme and space": "Bearer ",
        "no scheme": key,
        "basic": "Basic " + key,
        "unknown": "Bearer " + unknown,
        "wrong secret": "Bearer " + other_character(key, 20),
        "wrong checksum": "Bearer " + other_character(key, len(key) - 1),
        "unknown secret under a known id": "Bearer " + "_".join(
            key.split("_")[:2] + unknown.split("_")[2:]),
        "cut": "Bearer " + key[:-1],
        "longer": "Bearer " + key + "x",
        "twice": f"Bearer {key}{key}",
        "two keys": f"Bearer {key}, {key}",
        "upper case": "Bearer " + key.upper(),
        "its hash": "Bearer " + site.config.json["clients"]["script"]["keys"][0]["hash"],
        "its id": "Bearer " + site.config.json["clients"]["script"]["keys"][0]["id"],
        "expired": "Bearer " + site.gateway.key("leaver"),
        "long": "Bearer " + "x" * 8000,
    }


NAMES = ["none", "empty", "scheme only", "scheme and space", "no scheme", "basic", "unknown",
         "wrong secret", "wrong checksum", "unknown secret under a known id", "cut", "longer",
         "twice", "two keys", "upper case", "its hash", "its id", "expired", "long"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("method, path", [("POST", DROP_IN), ("POST", SUBMIT),
                                          ("GET", "/v1/actions/act_x")])
def test_all_wrong_keys_get_the_same_401(site, gateway, untouched, name, method, path):
    value = authorizations(site)[name]
    source = new_source()  # or the many of this test would be throttled and counted
    headers = {"Content-Type": "application/json"}
    if value is not None:
        headers["Authorization"] = value
    answer = gateway.request(method, path, None, headers, source=source,
                             json=BODY if method == "POST" else None)
    problem = assert_problem(answer, 401, "unauthenticated")
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    plain = gateway.request(method, path, None, {"Content-Type": "application/json"},
                            source=source, json=BODY if method == "POST" else None)
    told = lambda problem: {**problem, "request_id": ""}
    shown = lambda answer: {**answer.headers, "X-Request-ID": "", "Date": ""}
    assert told(problem) == told(plain.json())
    assert shown(answer) == shown(plain)
    record, = gateway.wait_audit(event="request.unauthenticated",
                                 request_id=problem["request_id"])
    assert "client" not in record and "team" not in record


def test_the_scheme_in_any_case(site, gateway):
    for scheme in ("Bearer", "bearer", "BEARER"):
        assert gateway.post(BODY, client=None, headers={
            "Authorization": f"{scheme} {gateway.key()}"}).status_code == 200


def test_a_wrong_key_is_not_told_whether_the_path_or_body_is_right(gateway, untouched):
    answer = gateway.post(b"nonsense", client=None)
    assert_problem(answer, 401, "unauthenticated")


def test_two_live_keys_of_one_client(site, gateway):
    first = site.config.json["clients"]["script"]["keys"]
    for entry, key in zip(first, (gateway.key(), site.second_key, site.renamed_key)):
        answer = gateway.post(BODY, client=None, headers={"Authorization": "Bearer " + key})
        assert answer.status_code == 200
        record, = gateway.audit_of(event="action.accepted",
                                   request_id=answer.headers["X-Request-ID"])
        assert (record["client"], record["key_id"]) == ("script", entry["id"])


def test_a_key_that_expires_later(gateway):
    assert gateway.post(BODY, client="stayer").status_code == 200


# ---- Keys in the query ----

@pytest.fixture(scope="module")
def lenient(module_site, site):
    config = module_site.config(site.simulator)
    config.json["accept_query_token"] = True
    return module_site.gateway(config)


def query(gateway, key, headers=None, more=""):
    return gateway.request("POST", f"{DROP_IN}?access_token={key}{more}", None, headers, json=BODY)


def test_query_token_where_it_is_allowed(lenient):
    assert query(lenient, lenient.key()).status_code == 200
    assert query(lenient, lenient.key(), more="&x=1").status_code == 200


def test_wrong_query_token(lenient, gateway):
    for key in ("", "x", gateway.key()):
        assert_problem(query(lenient, key), 401, "unauthenticated")


def test_query_token_where_it_is_not_allowed(gateway, untouched):
    assert_problem(query(gateway, gateway.key()), 401, "unauthenticated")


@pytest.mark.parametrize("more", ["", "right header", "wrong header"])
def test_two_keys_in_one_request(lenient, untouched, more):
    headers = {"right header": lenient.headers(), "wrong header": {"Authorization": "Bearer x"},
               "": {}}[more]
    again = "" if headers else "&access_token=" + lenient.key()
    answer = query(lenient, lenient.key(), headers, again)
    assert_problem(answer, 400, "malformed-request")
    assert lenient.wait_audit(event="request.refused", request_id=answer.headers["X-Request-ID"])


def test_queries_are_never_logged(lenient):
    marker = "query-canary-5512"
    query(lenient, lenient.key(), more="&x=" + marker)
    query(lenient, marker)
    lenient.request("GET", "/nowhere?" + marker)
    everything = lenient.text + lenient.admin("/metrics").text + str(lenient.audit())
    assert marker not in everything
    assert lenient.key() not in everything


# ---- Roles and teams ----

@pytest.mark.parametrize("client", ["siem", "pager"])
@pytest.mark.parametrize("path", [DROP_IN, SUBMIT])
def test_a_client_without_a_team_cannot_submit(gateway, untouched, client, path):
    answer = gateway.post(BODY, path, client=client)
    problem = assert_problem(answer, 403, "forbidden")
    record, = gateway.audit_of(event="request.refused", request_id=problem["request_id"])
    assert (record["client"], record["problem"]) == (client, "forbidden")


def test_another_teams_action_does_not_exist(gateway):
    """Case 12."""
    location = gateway.post(BODY).headers["Location"]
    theirs = gateway.get(location, client="stranger")
    nothing = gateway.get("/v1/actions/act_" + "0" * 24, client="stranger")
    problem = assert_problem(theirs, 404, "not-found")
    assert {**problem, "request_id": ""} == {**nothing.json(), "request_id": ""}
    assert {**theirs.headers, "X-Request-ID": "", "Date": ""} == \
        {**nothing.headers, "X-Request-ID": "", "Date": ""}
    record, = gateway.audit_of(event="request.refused", request_id=problem["request_id"])
    assert record["client"] == "stranger"
    assert record["team"] == "other"


@pytest.mark.parametrize("client", ["siem", "pager", "lead", "stayer"])
def test_who_may_read_an_action(gateway, client):
    """Its team, and the roles that read every team's."""
    location = gateway.post(BODY).headers["Location"]
    assert gateway.get(location, client=client).status_code == 200


@pytest.mark.parametrize("id", ["act_", "act_x", "ACT_1", "..", "act_%00", "act_'--", "%2e%2e",
                                "act_" + "z" * 200, "act_\xe9"])
def test_strange_action_ids(gateway, id):
    answer = gateway.get("/v1/actions/" + id)
    assert answer.status_code in (400, 404)
    assert re.match("application/problem", answer.headers["Content-Type"])
