"""What the records tell of calls: intents, outcomes, actions and budgets."""
import forge
import pytest
import stories
import verify


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    return forge.SigningKey(tmp_path_factory.mktemp("key"))


def found(path, key):
    report = verify.verify(str(path), [key.verifier()])
    return [problem[:3] for problem in report.problems]


@pytest.mark.parametrize("story", stories.STORIES, ids=lambda story: story.__name__)
def test_stories(tmp_path, key, story):
    sqlite = forge.write_database(tmp_path / "log.db")
    expected = story(sqlite, key)
    sqlite.close()
    assert found(tmp_path / "log.db", key) == expected


def test_what_is_not_as_it_should_be(tmp_path, key):
    """A log that somebody made up may hold anything."""
    sqlite = forge.write_database(tmp_path / "log.db")
    log = forge.Forge(sqlite, key)
    for value in (None, 5, "x", [], [[]], {}, {"accounts": 7}, {"accounts": {"main": 3}},
                  {"accounts": {"main": {"requests": "x"}}}, {"actions": 5}, {"clock": 4},
                  {"clock": {"boot_id": [], "ms": "x"}}):
        for event in ("config.loaded", "action.accepted", "call.intent", "call.outcome"):
            log.add(event, detail=value, call_id=value, action_id=value, account=value)
    sqlite.close()
    assert "intent-without-action" in {reason for _, _, reason in found(tmp_path / "log.db", key)}
