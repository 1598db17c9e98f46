"""The audit: every conversation from its start to the CRMs, once, in order, and safe to open in a spreadsheet."""

import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import Result
from sqlalchemy import Connection, insert

from crm_sync.resolution import Status
from crm_sync.store import audit
from crm_sync.store.repairs import Window
from crm_sync.store.tables import AgentSessionRow, DriftRow, ReconciliationRow
from tests.integration.readers import add_attempt, add_closure, add_delivery, add_event, add_target, caller, service

Command = Callable[..., Result]

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def add_session(connection: Connection, conversation_id: str) -> None:
    connection.execute(
        insert(AgentSessionRow).values(
            id="s1", state="started", reason="confidence 0.3 is below 0.6", bot_id="bot-1", customer_id="user-456",
            media_type="chat", intent_name="CancelOrder", intent_confidence=0.3, sentiment_score=-0.2, turns=2,
            escalated=True, queue_id="people", conversation_id=conversation_id, requested_at=NOON - 300 * SECOND,
            started_at=NOON - 299 * SECOND,
        )
    )  # fmt: skip


def add_drift(connection: Connection, conversation_id: str) -> None:
    counts = dict.fromkeys(("part", "pages", "conversations", "missed", "different", "unreadable"), 0)
    times = {"since": NOON, "until": NOON, "started_at": NOON, "updated_at": NOON}
    run = connection.scalar(
        insert(ReconciliationRow).values(state="done", parts=[], **counts, **times).returning(ReconciliationRow.id)
    )
    connection.execute(
        insert(DriftRow).values(
            reconciliation_id=run, conversation_id=conversation_id, what="different", ended_at=NOON, event_id="e9",
            fields={"resolution": ["unknown", "resolved"]}, noticed_at=NOON + 3600 * SECOND,
        )
    )  # fmt: skip


@pytest.fixture
def told_url(migrated_url: str) -> str:
    """A database with one conversation that has been through everything, and one that has been through little."""
    with service(migrated_url) as services, services.database.write() as connection:
        crm, table = add_target(connection, "crm"), add_target(connection, "table")
        add_closure(
            connection, "c1", version=7, closed=True, started_at=NOON - 298 * SECOND, ended_at=NOON,
            customer_left_at=NOON - 20 * SECOND, resolution=Status.RESOLVED, resolution_source="wrapup_code",
            resolution_reason='=HYPERLINK("http://evil.example")', resolution_final=True, media_type="chat",
            agent_took_part=True, wrapup_notes="the customer's words", updated_at=NOON + SECOND,
        )  # fmt: skip
        add_session(connection, "c1")
        add_event(connection, "e2", "c1", received_at=NOON + SECOND, occurred_at=NOON, kind="wrapup")
        add_event(connection, "e1", "c1", received_at=NOON, occurred_at=NOON - 20 * SECOND, kind="customer.end")
        add_event(connection, "e3", "c1", received_at=NOON + 2 * SECOND, status="ignored")
        done = add_delivery(
            connection, crm, "c1", state="delivered", desired_version=7, delivered_version=7,
            delivered_at=NOON + 9 * SECOND, crm_record_id="r1", crm_url="https://crm.example/r1",
        )  # fmt: skip
        add_attempt(connection, done, finished_at=NOON + 4 * SECOND, outcome="failed", code="http_503")
        add_attempt(connection, done, finished_at=NOON + 9 * SECOND, outcome="created")
        add_delivery(connection, table, "c1", desired_version=7, last_error="@refused")
        add_drift(connection, "c1")
        add_closure(connection, "c0", closed=True, ended_at=NOON - SECOND)
    return migrated_url


def test_a_conversation_is_told_from_its_start_to_the_crms(told_url: str) -> None:
    with service(told_url) as services, services.database.read() as connection:
        entry = audit.find(connection, "c1")

    assert entry is not None
    told: Any = entry.as_record()
    assert told["session"] == {
        "id": "s1", "state": "started", "bot_id": "bot-1", "media_type": "chat", "turns": 2,
        "requested_at": "2024-01-15T11:55:00.000Z", "started_at": "2024-01-15T11:55:01.000Z",
        "evaluation": {"intent_name": "CancelOrder", "intent_confidence": 0.3, "sentiment_score": -0.2},
        "routing": {"escalated": True, "queue_id": "people", "reason": "confidence 0.3 is below 0.6"},
    }  # fmt: skip
    assert told["events"] == {
        "count": 2,
        "first": {"id": "e1", "kind": "customer.end", "source": "webhook", "occurred_at": "2024-01-15T11:59:40.000Z",
                  "received_at": "2024-01-15T12:00:00.000Z"},
        "last": {"id": "e2", "kind": "wrapup", "source": "webhook", "occurred_at": "2024-01-15T12:00:00.000Z",
                 "received_at": "2024-01-15T12:00:01.000Z"},
    }  # fmt: skip
    assert (
        told["closure"] | {"resolution": "resolved", "resolution_source": "wrapup_code", "version": 7}
        == told["closure"]
    )
    assert told["closure"]["customer_left_at"] == "2024-01-15T11:59:40.000Z"
    assert told["deliveries"][0] == {
        "target": "crm", "state": "delivered", "desired_version": 7, "delivered_version": 7,
        "delivered_at": "2024-01-15T12:00:09.000Z", "attempts": 2, "first_attempt_at": "2024-01-15T12:00:03.000Z",
        "last_attempt_at": "2024-01-15T12:00:09.000Z", "last_outcome": "created", "last_code": None, "last_error": None,
        "crm_record_id": "r1", "crm_url": "https://crm.example/r1",
    }  # fmt: skip
    assert [(d["target"], d["attempts"], d["last_attempt_at"]) for d in told["deliveries"]] == [
        ("crm", 2, "2024-01-15T12:00:09.000Z"), ("table", 0, None),
    ]  # fmt: skip
    (found,) = told["drift"]
    assert (found["what"], found["fields"], found["event_id"]) == (
        "different", {"resolution": ["unknown", "resolved"]}, "e9",
    )  # fmt: skip
    assert "the customer's words" not in entry.as_line() and "\n" not in entry.as_line()


def test_one_of_which_little_is_known_says_so(told_url: str) -> None:
    with service(told_url) as services, services.database.read() as connection:
        entry = audit.find(connection, "c0")
        assert audit.find(connection, "nobody") is None

    assert entry is not None and entry.session is None and not entry.deliveries and not entry.drift
    assert entry.events == {"count": 0, "first": None, "last": None}


@pytest.mark.parametrize("page", [1, 2, 3, 200])
def test_each_conversation_comes_once_by_its_end_then_its_id(
    migrated_url: str, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr(audit, "PAGE", page)
    with service(migrated_url) as services:
        with services.database.write() as connection:
            for name in ("b", "C", "a"):
                add_closure(connection, name, ended_at=NOON)
            add_closure(connection, "late", ended_at=NOON + timedelta(microseconds=1))
            for name in ("running 2", "running 1"):
                add_closure(connection, name)

        def walked(**window: datetime) -> list[str]:
            return [entry.conversation_id for entry in audit.walk(services.database, Window(**window))]

        assert walked() == ["C", "a", "b", "late", "running 1", "running 2"]
        assert walked(since=NOON) == ["C", "a", "b", "late"]
        assert walked(until=NOON + timedelta(microseconds=1)) == ["C", "a", "b"]
        assert walked(since=NOON + SECOND) == []


def test_lines_of_json_are_printed_for_all_for_a_window_and_for_one(told_url: str, crm_sync: Command) -> None:
    def ids(*given: str) -> list[str]:
        done = crm_sync("audit", *given)
        assert done.exit_code == 0, done.stderr
        return [json.loads(line)["conversation_id"] for line in done.stdout.splitlines()]

    assert ids() == ["c0", "c1"]
    assert ids("--since", "2024-01-15T12:00:00Z") == ids("c1") == ["c1"]
    assert ids("--until", "2020-01-01") == []


def test_a_table_has_a_row_for_each_target_and_no_formula(told_url: str, crm_sync: Command) -> None:
    printed = crm_sync("audit", "--format", "csv").stdout

    rows = list(csv.DictReader(io.StringIO(printed)))
    assert [(row["conversation_id"], row["delivery_target"]) for row in rows] == [
        ("c0", ""), ("c1", "crm"), ("c1", "table"),
    ]  # fmt: skip
    assert rows[1]["resolution_reason"] == """'=HYPERLINK("http://evil.example")"""
    assert rows[2]["delivery_last_error"] == "'@refused"
    assert rows[1]["session_sentiment_score"] == "-0.2" and rows[1]["session_escalated"] == "true"
    assert rows[1]["delivery_attempts"] == "2" and rows[1]["drift_what"] == "different"
    assert rows[1]["first_event_id"] == "e1" and rows[1]["closed"] == "true"
    assert rows[0].keys() == rows[2].keys() and None not in rows[0]


def test_an_empty_table_still_has_its_headings(told_url: str, crm_sync: Command) -> None:
    (line,) = crm_sync("audit", "--format", "csv", "--until", "2020-01-01").stdout.splitlines()

    assert line.startswith("conversation_id,") and "delivery_crm_url" in line


def test_what_cannot_be_told_is_refused_in_a_sentence(told_url: str, crm_sync: Command) -> None:
    unknown = crm_sync("audit", "nobody")
    both = crm_sync("audit", "c1", "--since", "2024-01-01")

    assert (unknown.exit_code, unknown.stderr) == (1, "Error: No closure of conversation nobody is known here.\n")
    assert both.exit_code == 2 and "not both" in both.stderr


def test_the_api_answers_the_same_line(told_url: str, crm_sync: Command) -> None:
    with service(told_url) as services:
        answer = caller(services).get("/api/v1/closures/c1/audit")
        unknown = caller(services).get("/api/v1/closures/nobody/audit")

    assert answer.status_code == 200 and answer.mimetype == "application/x-ndjson"
    assert answer.get_data(as_text=True) == crm_sync("audit", "c1").stdout
    assert unknown.status_code == 404 and unknown.get_json()["error"].endswith(".")
