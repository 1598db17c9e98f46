"""`GET /api/v1/reports/resolution`: the figures under names that say what they are, and refusals in words."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from crm_sync import clock
from crm_sync.resolution import Status
from crm_sync.services import Services
from tests.integration.readers import Caller, add_closure, caller, service

PATH = "/api/v1/reports/resolution"


@pytest.fixture
def services(migrated_url: str) -> Iterator[Services]:
    with service(migrated_url) as opened:
        yield opened


@pytest.fixture
def reader(services: Services) -> Caller:
    """A reader of two closures of the last days, and of one that is older than a week."""
    with services.database.write() as connection:
        for name, days, word in (("c1", 1, "resolved"), ("c2", 6, "unknown"), ("c3", 8, "resolved")):
            at = clock.now() - timedelta(days=days)
            add_closure(connection, name, closed=True, ended_at=at, resolution=Status(word), media_type="voice")
    return caller(services)


def told(reader: Caller, **query: str) -> Any:
    answer = reader.get(PATH, **query)
    assert answer.status_code == 200, answer.get_data(as_text=True)
    return answer.get_json()


def test_the_last_seven_days_are_told_unless_a_window_is_given(reader: Caller) -> None:
    usual = told(reader)
    ended = clock.now() - timedelta(days=7)
    before = told(reader, until=clock.to_text(ended))

    assert usual["by"] is None and "groups" not in usual
    assert (usual["all"]["closed"], usual["all"]["resolution_unknown"]) == (2, 1)
    assert usual["all"]["resolution_success_rate_resolved_of_known"] == 1.0
    assert before["all"]["closed"] == 1 and before["until"] == clock.to_text(ended)
    assert told(reader, since=clock.to_text(clock.now() - timedelta(days=9)))["all"]["closed"] == 3


def test_groups_are_told_by_their_key(reader: Caller) -> None:
    answer = told(reader, by="media")

    assert answer["groups_overlap"] is False
    (group,) = answer["groups"]
    assert group == {"media": "voice"} | answer["all"]
    assert [group["queue"] for group in told(reader, by="queue")["groups"]] == [None]


MISUNDERSTOOD: list[dict[str, str]] = [
    {"by": "agent"},
    {"by": ""},
    {"by": "queue; DROP TABLE closures"},
    {"since": "yesterday"},
    {"until": "2024-01-15"},
    {"colour": "red"},
    {"since": "2024-01-15T12:00:00Z", "until": "2024-01-15T12:00:00Z"},
    {"since": "2024-01-15T12:00:00Z", "until": "2024-01-14T12:00:00Z"},
    {"since": "9999-12-31T23:00:00Z"},
    {"since": "2024-01-01T00:00:00Z", "until": "2024-04-02T00:00:01Z"},
]


def test_what_is_not_understood_is_refused_in_one_sentence(reader: Caller) -> None:
    for query in MISUNDERSTOOD:
        answer = reader.get(PATH, **query)

        assert answer.status_code == 400, query
        sentence = answer.get_json()["error"]
        assert sentence.endswith(".") and "\n" not in sentence, query
    assert reader.get(f"{PATH}?by=day&by=media").status_code == 400


def test_the_first_days_of_all_make_no_trouble(reader: Caller) -> None:
    assert told(reader, until="0001-01-02T00:00:00Z")["all"]["closed"] == 0


def test_a_token_is_needed(services: Services) -> None:
    assert Caller(services, None).get(PATH).status_code == 401
    assert caller(services, "operator").get(PATH).status_code == 200
