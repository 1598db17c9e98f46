"""`crm-sync replay`: kept events through the same door again."""

import json
import os
import shlex
import signal
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result
from sqlalchemy import select

from crm_sync import clock, replay
from crm_sync.closure import Event, EventStatus
from crm_sync.store.engine import Database
from crm_sync.store.tables import ClosureRow
from tests.integration.readers import service

Command = Callable[..., Result]

ENDED = b"""{"id": "c1", "state": "closed", "startTime": "2024-01-15T10:00:00Z", "endTime": "2024-01-15T10:30:00Z",
             "resolutionStatus": "resolved"}"""


@pytest.fixture
def quarantined_url(migrated_url: str) -> str:
    """A database with two quarantined events: one that is understood by now, and one that never will be."""
    with service(migrated_url) as services:
        services.intake.record([kept("understood", ENDED), kept("broken", b"{")])
    return migrated_url


def kept(key: str, body: bytes) -> Event:
    """Return a quarantined event."""
    return Event(
        dedupe_key=key, status=EventStatus.QUARANTINED, kind="unknown", body=body, source="webhook",
        received_at=clock.now(), reason="not understood then",
    )  # fmt: skip


def closures(url: str) -> list[str]:
    """Return the conversations with a closure."""
    database = Database(url)
    try:
        with database.read() as connection:
            return list(connection.scalars(select(ClosureRow.conversation_id)))
    finally:
        database.close()


def test_a_dry_run_tells_what_would_come_of_it_and_changes_nothing(quarantined_url: str, crm_sync: Command) -> None:
    told = crm_sync("replay", "--dry-run")
    as_json = json.loads(crm_sync("replay", "--dry-run", "--json").stdout)

    assert told.stderr == "2 events are to be read.\n"
    assert told.stdout == (
        "2 events were read: 1 would be understood, 1 would not; 1 closures would change. Nothing was stored.\n"
    )
    assert {name: as_json[name] for name in ("read", "accepted", "quarantined", "closures_changed")} == {
        "read": 2, "accepted": 1, "quarantined": 1, "closures_changed": 1,
    }  # fmt: skip
    assert closures(quarantined_url) == []


def test_what_is_understood_by_now_is_merged_once(quarantined_url: str, crm_sync: Command) -> None:
    done = [json.loads(crm_sync("replay", "--json").stdout) for _ in range(2)]

    assert [(each["read"], each["accepted"], each["quarantined"]) for each in done] == [(2, 1, 1), (1, 0, 1)]
    assert closures(quarantined_url) == ["c1"]


def test_one_event_is_replayed_by_its_id_whatever_its_status(quarantined_url: str, crm_sync: Command) -> None:
    event_id = kept("understood", ENDED).event_id
    replayed = [crm_sync("replay", event_id).stdout for _ in range(2)]

    assert replayed == ["1 events were read: 1 are understood, 0 still are not.\n"] * 2
    assert closures(quarantined_url) == ["c1"]


def test_events_are_chosen_by_what_is_given(quarantined_url: str, crm_sync: Command) -> None:
    def read(*given: str) -> int:
        return int(json.loads(crm_sync("replay", "--dry-run", "--json", *given).stdout)["read"])

    assert read("--source", "webhook", "--kind", "unknown", "--since", "2020-01-01") == 2
    assert read("--until", "2020-01-01T00:00:00+02:00") == read("--kind", "wrapup") == read("--source", "replay") == 0
    assert read("--status", "accepted") == 0
    crm_sync("replay")
    assert read("--conversation", "c1") == 1
    assert read("--status", "accepted", "--status", "quarantined") == 2


def test_an_event_that_nobody_knows_is_named(quarantined_url: str, crm_sync: Command) -> None:
    refused = crm_sync("replay", kept("understood", ENDED).event_id, "nobody")

    assert (refused.exit_code, refused.stdout, refused.stderr.count("\n")) == (1, "", 1)
    assert "nobody" in refused.stderr
    assert closures(quarantined_url) == []


def test_ctrl_c_ends_it_after_a_page_and_the_sentence_says_how_to_go_on(
    quarantined_url: str, crm_sync: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "PAGE", 1)
    parse = replay.events.parse

    def interrupted(*arguments: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return parse(*arguments)

    with monkeypatch.context() as first_time:
        first_time.setattr(replay.events, "parse", interrupted)
        stopped = crm_sync("replay", "--status", "quarantined")
    words = shlex.split(stopped.stderr.partition("Go on with: ")[2])
    gone_on = crm_sync(*words[1:])

    assert stopped.exit_code == 1
    assert "Stopped after 1 of 2 events. " in stopped.stderr
    assert [words[:3], words[4:]] == [["crm-sync", "replay", "--after"], ["--status", "quarantined"]]
    assert gone_on.stdout.startswith("1 events were read: ")
    assert closures(quarantined_url) == ["c1"]
