"""The checker believes a good history, and refuses the same one with one thing wrong by the rule that it breaks."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.checker import check
from tests.faults.history import History, about, digest, read

Lines = list[dict[str, Any]]

OLD, NEW = "2024-01-15T10:34:00.000Z", "2024-01-15T10:35:00.000Z"


def push(number: int, conversation_id: str, version: int, at: float, **changes: Any) -> dict[str, Any]:
    """A push that is answered at once, and takes effect."""
    return {
        "line": "push",
        "target": "crm",
        "number": number,
        "push_key": f"{conversation_id}.{version}.abc",
        "conversation_id": conversation_id,
        "version": version,
        "arrived_at": at,
        "answered_at": at + 0.1,
        "status": 200,
        "outcome": "created",
        "effective": True,
    } | changes


def sent(event: str, conversation_id: str, at: float, ended_at: str = OLD) -> Lines:
    """An event and what is said of it, by the sender and by the store."""
    return [
        {"line": "sent", "at": at, "event": event, "conversation_id": conversation_id, "ended_at": ended_at},
        {"line": "acked", "at": at + 0.1, "event": event, "status": "accepted"},
        {"line": "event", "event": event, "status": "accepted"},
    ]


def stored(conversation_id: str, version: int, ended_at: str = OLD, **changes: Any) -> Lines:
    """A closure that is delivered, and what the CRM holds of it."""
    closure = {"conversation_id": conversation_id, "version": version, "ended_at": ended_at}
    paid = {"state": "delivered", "desired_version": version, "delivered_version": version, "last_error": None}
    return [
        {"line": "closure"} | closure,
        {"line": "delivery", "target": "crm", "claim_token": None, "lease_until": None} | closure | paid | changes,
        {"line": "record", "target": "crm"} | closure,
    ]


def leased(at: float, until: float) -> dict[str, Any]:
    """A moment at which `killed` was leased by a worker that has died."""
    held = {"delivery": 1, "target": "crm", "conversation_id": "killed", "token": "aaaa", "until": until}
    return {"line": "leases", "at": at, "held": [held]}


def good() -> Lines:
    """A run in which much went wrong that may go wrong.

    `killed` was pushed by a worker that died, and again by another. `updated` was pushed twice in order. `refused` got
    an error and was pushed again. `slow` was given up, pushed again, and both were stored. `dead` was refused for good.
    """
    held = {"delivery": 1, "target": "crm", "conversation_id": "killed", "token": "aaaa", "until": 12.0}
    return [
        {"line": "run", "seed": 7, "engine": "sqlite", "lease_seconds": 2, "push_deadline_seconds": 1}
        | {"patience_seconds": 0},
        *sent("e-killed", "killed", 9.5),
        *sent("e-late", "updated", 9.6, OLD)[:1],  # Never acknowledged, and stored nevertheless: its answer was lost.
        {"line": "event", "event": "e-late", "status": "accepted"},
        *sent("e-lost", "updated", 9.6, NEW)[:1],  # Never acknowledged, and not stored.
        *sent("e-new", "updated", 9.7, NEW),
        *sent("e-refused", "refused", 9.8),
        *sent("e-slow", "slow", 9.9),
        *sent("e-dead", "dead", 9.9),
        {"line": "killed", "at": 10.05, "process": "worker", "worker": "aaaa", "held": [held]},
        {"line": "killed", "at": 10.5, "process": "gunicorn: all", "worker": None, "held": []},
        leased(10.1, 12.0),
        leased(13.0, 12.0),
        push(1, "killed", 1, 10.0),
        push(2, "updated", 1, 10.0),
        push(3, "updated", 2, 10.2, outcome="updated"),
        push(4, "refused", 1, 10.2, status=500, outcome=None, effective=False),
        push(5, "slow", 1, 10.2, answered_at=12.0),
        push(6, "slow", 1, 11.5, outcome="unchanged", effective=False),
        push(7, "dead", 1, 11.5, status=422, outcome=None, effective=False),
        push(8, "killed", 1, 12.5, outcome="unchanged", effective=False),
        push(9, "refused", 1, 13.0),
        {"line": "target", "name": "crm", "state": "live"},
        *stored("killed", 1),
        *stored("updated", 2, NEW),
        *stored("refused", 1),
        *stored("slow", 1),
        *stored("dead", 1, state="dead", delivered_version=None, last_error="The field resolution is refused.")[:2],
        {"line": "store", "problems": []},
    ]


def names(tmp_path: Path, lines: Lines) -> list[str]:
    with History(tmp_path / "history.jsonl") as written:
        for line in lines:
            written.note(**line)
    return [violation.name for violation in check(tmp_path / "history.jsonl")]


def only(lines: Lines, **fields: Any) -> dict[str, Any]:
    (found,) = [line for line in lines if fields.items() <= line.items()]
    return found


def change(found: dict[str, Any], **changes: Any) -> Callable[[Lines], None]:
    return lambda lines: only(lines, **found).update(changes)


def remove(**found: Any) -> Callable[[Lines], None]:
    return lambda lines: lines.remove(only(lines, **found))


def add(*added: dict[str, Any]) -> Callable[[Lines], None]:
    return lambda lines: lines.extend(added)


def test_a_good_history_is_believed(tmp_path: Path) -> None:
    assert names(tmp_path, good()) == []


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("lost", add({"line": "acked", "at": 9.9, "event": "e-lost", "status": "accepted"})),
        ("invented", add({"line": "event", "event": "e-nobody", "status": "accepted"})),
        ("invented", add({"line": "record", "target": "crm", "conversation_id": "nobody", "version": 1})),
        ("stored twice", add({"line": "event", "event": "e-killed", "status": "accepted"})),
        ("merged wrongly", change({"line": "sent", "event": "e-refused"}, ended_at=NEW)),
        ("merged wrongly", add(*sent("e-forgotten", "forgotten", 9.0))),
        ("unpaid", change({"line": "delivery", "conversation_id": "killed"}, state="pending")),
        ("unpaid", change({"line": "delivery", "conversation_id": "killed"}, delivered_version=0)),
        ("unpaid", change({"line": "delivery", "conversation_id": "dead"}, last_error=None)),
        ("unpaid", remove(line="delivery", conversation_id="killed")),
        ("unpaid", add({"line": "target", "name": "other", "state": "live"})),
        ("doubled", change({"line": "push", "number": 8}, effective=True)),
        ("stale", change({"line": "record", "conversation_id": "updated"}, version=1)),
        ("stale", change({"line": "record", "conversation_id": "updated"}, ended_at=OLD)),
        ("stale", remove(line="record", conversation_id="killed")),
        ("version fell", change({"line": "push", "number": 2}, version=3)),
        ("leased for ever", add(leased(14.1, 12.0))),
        ("leased for ever", change({"line": "delivery", "conversation_id": "killed"}, claim_token="aaaa")),
        ("unsound", change({"line": "store"}, problems=["row 7 missing from index ix_deliveries_due"])),
        ("unsound", remove(line="store")),
        ("repeated", change({"line": "killed", "process": "worker"}, held=[])),
        ("repeated", change({"line": "killed", "process": "worker"}, at=12.6)),
        ("repeated", change({"line": "push", "number": 4}, status=200)),
        ("repeated", change({"line": "push", "number": 5}, answered_at=10.3)),
        ("repeated", add(push(10, "updated", 2, 13.0, push_key="updated.2.abc.r1", effective=False))),
        ("overlapped", change({"line": "push", "number": 2}, answered_at=10.3)),
        ("overlapped", change({"line": "push", "number": 2}, answered_at=None)),
    ],
)
def test_one_thing_wrong_is_refused_by_its_name(tmp_path: Path, name: str, wrong: Callable[[Lines], None]) -> None:
    lines = good()
    wrong(lines)

    assert set(names(tmp_path, lines)) == {name}


def test_a_kill_explains_no_repeat_that_was_sent_long_after_it(tmp_path: Path) -> None:
    lines = [*good(), push(10, "killed", 1, 12.8, effective=False)]

    assert names(tmp_path, lines) == ["repeated"]


def test_a_push_that_is_hidden_behind_a_longer_one_overlaps_too(tmp_path: Path) -> None:
    lines = good()
    only(lines, line="push", number=1).update(answered_at=10.2)
    lines += [push(10, "killed", 2, 12.7, answered_at=13.5), push(11, "killed", 3, 12.75), push(12, "killed", 4, 13.2)]

    assert names(tmp_path, lines).count("overlapped") == 2


def test_a_violation_says_of_whom_and_the_history_what_is_known_about_it(tmp_path: Path) -> None:
    names(tmp_path, [*good(), {"line": "acked", "at": 9.9, "event": "e-lost", "status": "accepted"}])
    (violation,) = check(tmp_path / "history.jsonl")
    known = [json.loads(line)["line"] for line in about(tmp_path / "history.jsonl", violation.subject)]

    assert (violation.subject, violation.told) == ("e-lost", "was acknowledged and is not stored")
    assert known == ["sent", "acked"]


def test_a_history_is_read_as_it_was_written_with_its_seed_first(tmp_path: Path) -> None:
    with History(tmp_path / "history.jsonl") as written:
        written.note("run", seed=7)
        written.note("sent", event=digest(b"{}"), at=1.5)

    assert list(read(tmp_path / "history.jsonl")) == [
        {"line": "run", "seed": 7},
        {"line": "sent", "event": "44136fa355b3678a", "at": 1.5},
    ]
