"""What is read for a history: who holds what, sampled while the run goes on, and what is stored in the end."""

import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Self

from crm_sync.sandbox.client import CRMControl
from tests.acceptance.harness import World
from tests.faults.history import History, digest

SAMPLE_SECONDS = 0.25
LINGERING_SECONDS = 2.0

_HELD = """
    SELECT d.id AS delivery, t.name AS target, d.conversation_id, d.claim_token AS token, d.lease_until,
        d.lost_leases
    FROM deliveries AS d JOIN targets AS t ON t.id = d.target_id WHERE d.claim_token IS NOT NULL
"""


def held(world: World, worker: str = "") -> list[dict[str, Any]]:
    """Return the leases of this moment, of one worker or of all. A claim's token begins with its worker's id."""
    rows = world.rows(_HELD)
    return [row | {"until": row.pop("lease_until").timestamp()} for row in rows if str(row["token"]).startswith(worker)]


class Sampler:
    """Writes the leases down several times a second, until it is left."""

    def __init__(self, world: World, history: History) -> None:
        self._world = world
        self._history = history
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            self._history.note("leases", at=time.time(), held=held(self._world))


def note_the_end(world: World, history: History, crms: dict[str, CRMControl]) -> None:
    """Write down what is stored, what the CRMs have met and hold, and whether the store is sound."""
    for row in world.rows("SELECT body, status FROM events"):
        history.note("event", event=digest(bytes(row["body"])), status=row["status"])
    for row in world.rows("SELECT conversation_id, version, ended_at FROM closures"):
        history.note("closure", **row | {"ended_at": _to_text(row["ended_at"])})
    for row in world.rows(
        "SELECT t.name AS target, d.conversation_id, d.state, d.desired_version, d.delivered_version, d.claim_token,"
        " d.lease_until, d.lost_leases, d.last_error FROM deliveries AS d JOIN targets AS t ON t.id = d.target_id"
    ):
        history.note("delivery", **row | {"lease_until": _to_text(row["lease_until"])})
    for row in world.rows("SELECT name, state FROM targets"):
        history.note("target", **row)
    for target, crm in crms.items():
        for push in crm.pushes():
            instants = {name: _to_seconds(push[name]) for name in ("arrived_at", "answered_at")}
            history.note("push", target=target, **push | instants)
        for record in crm.records():
            names = {name: record["data"].get(name) for name in ("conversation_id", "version", "ended_at")}
            history.note("record", target=target, **names)
    history.note("store", problems=_problems(world))


def _problems(world: World) -> Sequence[str]:
    if world.engine.dialect.name == "sqlite":
        checks = ("PRAGMA integrity_check", "PRAGMA foreign_key_check")
        found = [str(value) for check in checks for row in world.rows(check) for value in row.values()]
        return [told for told in found if told != "ok"]
    lingering = world.rows(
        "SELECT state FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        f" AND xact_start < now() - interval '{LINGERING_SECONDS} seconds'"
    )
    return [f"a connection has lingered in a transaction: {row['state']}" for row in lingering] + _broken_indexes(world)


def _broken_indexes(world: World) -> list[str]:
    """Return what amcheck says, where PostgreSQL has it."""
    if not world.rows("SELECT name FROM pg_available_extensions WHERE name = 'amcheck'"):
        return []
    world.execute("CREATE EXTENSION IF NOT EXISTS amcheck")
    indexes = world.rows(
        "SELECT c.oid, c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
        " JOIN pg_am AS a ON a.oid = c.relam WHERE a.amname = 'btree' AND c.relkind = 'i' AND n.nspname = 'public'"
    )
    broken = []
    for index in indexes:
        try:
            world.rows("SELECT bt_index_check(CAST(:oid AS oid), true)", oid=index["oid"])
        except Exception as error:
            broken.append(f"{index['relname']}: {type(error).__name__}")
    return broken


def _to_seconds(instant: str | None) -> float | None:
    return datetime.fromisoformat(instant).timestamp() if instant else None


def _to_text(instant: datetime | None) -> str | None:
    if instant is None:
        return None
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
