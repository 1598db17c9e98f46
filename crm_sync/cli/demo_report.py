"""What the demo found: the content of both CRMs, held against what the pretend Genesys Cloud itself knows."""

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from statistics import quantiles
from typing import Any

from sqlalchemy import func, select

from crm_sync.cli.demo_story import WORDS, Started
from crm_sync.cli.demo_world import CRM, TABLE, World
from crm_sync.sandbox.client import CRMControl, GenesysControl
from crm_sync.store.engine import Database
from crm_sync.store.tables import ClosureRow, DeliveryRow, TargetRow

MOST_NAMED = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What must stand in every CRM about one conversation."""

    resolution: str
    ended_at: datetime
    customer_id: str | None


@dataclass(slots=True)
class Comparison:
    """What is missing from a CRM, or wrong in it, as sentences."""

    missing: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether everything is there and right."""
        return not self.missing and not self.wrong


def expectations(world: World, conversations: Sequence[str]) -> dict[str, Expected]:
    """Return what each of these conversations came to, by the pretend Genesys Cloud's own state."""
    with GenesysControl(world.genesys_url) as genesys:
        known = {conversation["id"]: conversation for conversation in genesys.conversations()}
    return {
        conversation_id: Expected(
            resolution=WORDS.get(known[conversation_id]["resolutionStatus"], "unknown"),
            ended_at=instant(known[conversation_id]["endTime"]),
            customer_id=known[conversation_id]["from"]["id"],
        )
        for conversation_id in conversations
    }


def records(world: World) -> dict[str, dict[str, dict[str, Any]]]:
    """Return what each CRM holds, by CRM and conversation, read from the CRMs themselves."""
    with CRMControl(world.crm_url) as crm:
        posted = {record["conversation_id"]: record["data"] for record in crm.records()}
    return {CRM: posted, TABLE: _table_rows(world)}


def is_everything_settled(world: World) -> bool:
    """Tell whether every event was posted and every delivery that came of it is settled, well or not."""
    with GenesysControl(world.genesys_url) as genesys:
        if genesys.posts()["pending"]:
            return False
    database = Database(world.database_url)
    try:
        with database.read() as connection:
            return connection.scalar(select(func.count()).where(DeliveryRow.state == "pending")) == 0
    finally:
        database.close()


def compare(expected: Mapping[str, Expected], held: Mapping[str, Mapping[str, Any]]) -> Comparison:
    """Hold one CRM's content against what must stand there."""
    found = Comparison()
    for conversation_id, truth in expected.items():
        record = held.get(conversation_id)
        if record is None:
            found.missing.append(conversation_id)
            continue
        said = {
            "closed": bool(record["closed"]),
            "resolution": record["resolution"],
            "ended_at": record["ended_at"] and instant(record["ended_at"]),
            "customer_id": record["customer_id"],
        }
        true = {
            "closed": True,
            "resolution": truth.resolution,
            "ended_at": truth.ended_at,
            "customer_id": truth.customer_id,
        }
        found.wrong.extend(
            f"{conversation_id}: {name} is {said[name]}, must be {true[name]}"
            for name in said
            if said[name] != true[name]
        )
    found.wrong.extend(f"{stranger}: nobody ended it" for stranger in held.keys() - expected.keys())
    return found


def summary(world: World, started: Started, expected: Mapping[str, Expected], seconds: float) -> dict[str, Any]:
    """Return the whole outcome as JSON values."""
    comparisons = {name: compare(expected, held) for name, held in records(world).items()}
    resolutions = Counter(truth.resolution for truth in expected.values())
    decided = len(expected) - resolutions["unknown"]
    return {
        "closures": len(expected),
        "resolutions": dict(sorted(resolutions.items())),
        "resolution_rate": round(resolutions["resolved"] / decided, 3) if decided else None,
        "escalated_at_start": started.escalated,
        "refused_at_start": dict(started.refused),
        "latency_ms": latencies(world, started.conversations),
        "crms": {
            name: {
                "missing": len(comparison.missing),
                "wrong": len(comparison.wrong),
                "examples": (comparison.missing + comparison.wrong)[:MOST_NAMED],
            }
            for name, comparison in comparisons.items()
        },
        "missing": sum(len(comparison.missing) for comparison in comparisons.values()),
        "wrong": sum(len(comparison.wrong) for comparison in comparisons.values()),
        "seconds": round(seconds, 1),
    }


def latencies(world: World, conversations: Sequence[str]) -> dict[str, dict[str, int]]:
    """Return milliseconds, p50 and p99, from an event's first post to our commit of it and to each CRM's answer."""
    posted = _first_posts(world)
    database = Database(world.database_url)
    try:
        with database.read() as connection:
            stored = connection.execute(
                select(ClosureRow.conversation_id, ClosureRow.created_at).where(
                    ClosureRow.conversation_id.in_(conversations)
                )
            ).all()
            delivered = connection.execute(
                select(TargetRow.name, DeliveryRow.conversation_id, DeliveryRow.delivered_at)
                .join_from(DeliveryRow, TargetRow)
                .where(DeliveryRow.conversation_id.in_(conversations), DeliveryRow.delivered_at.is_not(None))
            ).all()
    finally:
        database.close()
    waits = {"event_to_stored": [_ms(at, posted[key]) for key, at in stored]}
    for name in (CRM, TABLE):
        waits[f"event_to_{name}"] = [_ms(at, posted[key]) for target, key, at in delivered if at and target == name]
    return {name: _percentiles(values) for name, values in waits.items()}


def _first_posts(world: World) -> dict[str, datetime]:
    """Return when the pretend Genesys Cloud first posted the end of each conversation."""
    with GenesysControl(world.genesys_url) as genesys:
        told = genesys.conversations()
    attempts = {c["id"]: [attempt["at"] for post in c["posts"] for attempt in post["attempts"]] for c in told}
    return {key: datetime.fromisoformat(min(made)) for key, made in attempts.items() if made}


def _table_rows(world: World) -> dict[str, dict[str, Any]]:
    if not world.table_file.exists():
        return {}
    with closing(sqlite3.connect(world.table_file)) as connection:
        connection.row_factory = sqlite3.Row
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'conversations'").fetchone():
            return {}
        return {row["conversation_id"]: dict(row) for row in connection.execute("SELECT * FROM conversations")}


def _percentiles(values: Sequence[int]) -> dict[str, int]:
    if len(values) < 2:
        return {name: value for name in ("p50", "p99") for value in values}
    cuts = quantiles(values, n=100, method="inclusive")
    return {"p50": round(cuts[49]), "p99": round(cuts[98])}


def _ms(later: datetime, earlier: datetime) -> int:
    return round((later - earlier).total_seconds() * 1000)


def instant(text: str) -> datetime:
    """Return an instant; one without a zone is in UTC."""
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)
