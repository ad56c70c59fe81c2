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


def assert_contiguous(records):
    """seq runs from 0 without a gap."""
    assert [record["seq"] for record in records] == list(range(len(records)))
