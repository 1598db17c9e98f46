"""The read API on a real database: filters, pages, one closure's story, and refusals in words."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest

from crm_sync.resolution import Status
from crm_sync.services import Services
from tests.integration.readers import (
    LONG_AGO,
    Caller,
    add_closure,
    add_delivery,
    add_event,
    add_target,
    caller,
    service,
)

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)

HOSTILE = [
    "' OR '1'='1",
    "'; DROP TABLE closures; --",
    '" OR ""="',
    "%",
    "_",
    "\\",
    "1) UNION SELECT digest FROM tokens --",
    "$[0]",
    '["q1"]',
    ":q",
    "%(q)s",
    "\u0000",
    "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
    "x" * 10_000,
]


@pytest.fixture
def services(migrated_url: str) -> Iterator[Services]:
    """The services on an empty, migrated database."""
    with service(migrated_url) as opened:
        yield opened


@pytest.fixture
def reader(services: Services) -> Caller:
    """A reader of three ended conversations and of one that never ended."""
    with services.database.write() as connection:
        add_closure(connection, "old", ended_at=NOON, closed=True, resolution=Status.RESOLVED, media_type="voice",
                    queue_ids=("q1", "q2"))  # fmt: skip
        add_closure(connection, "new", ended_at=NOON + timedelta(hours=2), closed=True, media_type="message",
                    queue_ids=("q2",))  # fmt: skip
        add_closure(connection, "reopened", ended_at=NOON + timedelta(hours=1), resolution=Status.ESCALATED)
        add_closure(connection, "running")
    return caller(services)


def test_the_newest_end_comes_first_and_what_never_ended_last(reader: Caller) -> None:
    assert reader.ids() == ["new", "reopened", "old", "running"]


FILTERS: list[tuple[dict[str, str], list[str]]] = [
    ({"resolution": "resolved"}, ["old"]),
    ({"resolution": "abandoned"}, []),
    ({"closed": "true"}, ["new", "old"]),
    ({"closed": "false"}, ["reopened", "running"]),
    ({"media_type": "voice"}, ["old"]),
    ({"queue_id": "q2"}, ["new", "old"]),
    ({"queue_id": "q1"}, ["old"]),
    ({"queue_id": "q"}, []),
    ({"ended_from": "2024-01-15T13:00:00Z"}, ["new", "reopened"]),
    ({"ended_to": "2024-01-15T14:00:00+01:00"}, ["old"]),
    ({"ended_to": "2024-01-15T14:00:00Z"}, ["reopened", "old"]),
    ({"ended_from": "2024-01-15T12:00:00Z", "ended_to": "2024-01-15T13:00:00Z"}, ["old"]),
    ({"closed": "true", "queue_id": "q2", "media_type": "message"}, ["new"]),
]


def test_each_filter_keeps_what_it_says(reader: Caller) -> None:
    for query, expected in FILTERS:
        assert reader.ids(**query) == expected, query


def test_pages_of_any_size_hold_each_closure_once(reader: Caller) -> None:
    for limit in range(1, 6):
        met: list[str] = []
        page = reader.closures(limit=str(limit))
        while page["has_more"]:
            met += [closure["conversation_id"] for closure in page["closures"]]
            page = reader.closures(limit=str(limit), cursor=page["next"])

        met += [closure["conversation_id"] for closure in page["closures"]]
        assert met == ["new", "reopened", "old", "running"], limit
        assert page["next"] is None


def test_closures_that_ended_at_one_instant_are_all_met(services: Services) -> None:
    names = [f"c{number}" for number in range(7)]
    with services.database.write() as connection:
        for name in names:
            add_closure(connection, name, ended_at=NOON)
    reader = caller(services)

    first = reader.closures(limit="4")
    rest = reader.ids(limit="4", cursor=first["next"])

    assert sorted([closure["conversation_id"] for closure in first["closures"]] + rest) == names


def test_a_cursor_does_not_fit_another_query(reader: Caller) -> None:
    cursor = reader.closures(limit="1")["next"]

    for other in ({"closed": "true"}, {"updated_since": "2020-01-01T00:00:00Z"}):
        assert reader.get("/api/v1/closures", cursor=cursor, **other).status_code == 400


MISUNDERSTOOD: list[dict[str, str]] = [
    {"colour": "red"},
    {"resolution": "Resolved"},
    {"resolution": ""},
    {"closed": "1"},
    {"media_type": ""},
    {"queue_id": "q" * 201},
    {"limit": "0"},
    {"limit": "-1"},
    {"limit": "201"},
    {"limit": "1000000000"},
    {"limit": "1e1"},
    {"limit": "٣"},
    {"ended_from": "2024-01-15T12:00:00"},
    {"ended_from": "2024-01-15"},
    {"ended_to": "0001-01-01T00:00:00+14:00"},
    {"updated_since": "yesterday"},
    {"updated_since": "10000-01-01T00:00:00Z"},
    {"cursor": ""},
    {"cursor": "AAAA"},
    {"cursor": "é"},
    {"cursor": "A" * 10_000},
]


def test_what_is_not_understood_is_refused_in_one_sentence(reader: Caller) -> None:
    for query in MISUNDERSTOOD:
        answer = reader.get("/api/v1/closures", **query)

        assert answer.status_code == 400, query
        sentence = answer.get_json()["error"]
        assert sentence.endswith(".") and "\n" not in sentence and len(sentence) < 250, query


def test_a_parameter_that_is_given_twice_is_refused(reader: Caller) -> None:
    assert reader.get("/api/v1/closures?closed=true&closed=false").status_code == 400


@pytest.mark.parametrize("name", ["resolution", "closed", "media_type", "queue_id", "ended_from", "limit", "cursor"])
def test_hostile_text_is_refused_or_matches_nothing(reader: Caller, name: str) -> None:
    for text in HOSTILE:
        answer = reader.get("/api/v1/closures", **{name: text})

        assert answer.status_code == 400 or answer.get_json()["closures"] == [], text

    assert len(reader.ids()) == 4


def test_hostile_text_names_no_conversation(reader: Caller) -> None:
    for text in HOSTILE:
        assert reader.get(f"/api/v1/closures/{quote(text, safe='')}").status_code == 404, text

    assert len(reader.ids()) == 4


def test_a_closure_is_shown_with_all_its_fields(services: Services) -> None:
    with services.database.write() as connection:
        add_closure(connection, "c1", version=7, ended_at=NOON, agent_ids=("a", "b"), attributes={"k": [1, None, "ü"]},
                    updated_at=NOON, talk_ms=0)  # fmt: skip
    reader = caller(services)

    shown = reader.get("/api/v1/closures/c1").get_json()

    assert shown["closure"] == reader.closures()["closures"][0]
    assert shown["closure"]["version"] == 7
    assert shown["closure"]["ended_at"] == shown["closure"]["updated_at"] == "2024-01-15T12:00:00.000Z"
    assert shown["closure"]["agent_ids"] == ["a", "b"]
    assert shown["closure"]["attributes"] == {"k": [1, None, "ü"]}
    assert shown["closure"]["talk_ms"] == 0
    assert "facts" not in shown["closure"]
    assert shown["events"] == shown["deliveries"] == []


def test_a_closure_is_shown_with_its_events_in_order_and_without_their_bodies(services: Services) -> None:
    with services.database.write() as connection:
        add_closure(connection, "c1")
        add_event(connection, "late", "c1", received_at=NOON + timedelta(seconds=5))
        add_event(connection, "early", "c1", received_at=NOON)
        add_event(connection, "other", "c2", received_at=NOON)

    answer = caller(services).get("/api/v1/closures/c1")

    assert [event["id"] for event in answer.get_json()["events"]] == ["early", "late"]
    assert answer.get_json()["events"][0] == {
        "id": "early", "kind": "v2.detail.events", "status": "accepted", "occurred_at": None,
        "received_at": "2024-01-15T12:00:00.000Z",
    }  # fmt: skip
    assert "the customer's words" not in answer.get_data(as_text=True)


def test_a_delivery_is_shown_per_target_and_waits_as_paused(services: Services) -> None:
    with services.database.write() as connection:
        add_closure(connection, "c1", version=5)
        paused, live = add_target(connection, "b-paused", "paused"), add_target(connection, "a-live")
        done = add_target(connection, "c-paused", "paused")
        add_delivery(connection, paused, "c1", desired_version=5, attempts=2, last_error="Refused for now.")
        add_delivery(connection, live, "c1", desired_version=5)
        add_delivery(connection, done, "c1", desired_version=5, delivered_version=5, state="delivered",
                     crm_record_id="r1", crm_url="https://crm.example/r1", delivered_at=LONG_AGO)  # fmt: skip

    shown = caller(services).get("/api/v1/closures/c1").get_json()["deliveries"]

    assert [(d["target"], d["state"]) for d in shown] == [
        ("a-live", "pending"), ("b-paused", "paused"), ("c-paused", "delivered"),
    ]  # fmt: skip
    assert shown[1]["last_error"] == "Refused for now." and shown[1]["attempts"] == 2
    assert shown[2]["crm_record_id"] == "r1" and shown[2]["crm_url"] == "https://crm.example/r1"
    assert shown[2]["delivered_version"] == shown[2]["desired_version"] == 5


def test_an_unknown_conversation_is_told_in_a_sentence(reader: Caller) -> None:
    answer = reader.get("/api/v1/closures/nobody")

    assert answer.status_code == 404
    assert answer.get_json()["error"].endswith(".")


def test_nothing_of_the_api_is_kept_in_a_cache(reader: Caller) -> None:
    assert reader.get("/api/v1/closures").headers["Cache-Control"] == "no-store"
    assert reader.get("/api/v1/closures/nobody").headers["Cache-Control"] == "no-store"
