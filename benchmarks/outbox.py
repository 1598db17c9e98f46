"""Claim and settle: with a million delivered rows behind what is pending, beside a table with nothing behind it."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from sqlalchemy import select, text

from benchmarks import filling
from benchmarks.engines import Engine
from benchmarks.results import Measured, Wrong
from crm_sync import clock
from crm_sync.store import outbox
from crm_sync.store.engine import Database
from crm_sync.store.outbox import Claim, Settlement
from crm_sync.store.tables import TargetRow

DELIVERED = 1_000_000
BATCH = 20
BATCHES = 50
REPEATS = 5
WARM_UP_BATCHES = 10
PENDING = BATCH * (WARM_UP_BATCHES + BATCHES * REPEATS)
TARGET = "crm"


@dataclass(slots=True, kw_only=True)
class Table:
    """A filled database, and what was claimed and settled on it."""

    database: Database
    target_id: int
    settled: set[int] = field(default_factory=set)


def measure(engines: Sequence[Engine]) -> list[Measured]:
    """Return the rate on each engine; raises `Wrong` unless every claim was full, settled in time and seen once."""
    return [_measure(engine) for engine in engines]


def _measure(engine: Engine) -> Measured:
    full_rates, empty_rates = [], []
    with ExitStack() as stack:
        full = _fill(engine, stack, delivered=DELIVERED)
        empty = _fill(engine, stack, delivered=0)
        _race(full, empty, WARM_UP_BATCHES)
        for _ in range(REPEATS):
            full_seconds, empty_seconds = _race(full, empty, BATCHES)
            full_rates.append(BATCH * BATCHES / full_seconds)
            empty_rates.append(BATCH * BATCHES / empty_seconds)
        for table in (full, empty):
            _verify(engine.name, table)
    return Measured(
        what=f"claim + settle, {DELIVERED:,} delivered / empty table",
        engine=engine.name,
        ours=full_rates,
        yardsticks=empty_rates,
    )


def _fill(engine: Engine, stack: ExitStack, *, delivered: int) -> Table:
    url = stack.enter_context(engine.new_database())
    filling.fill(url, TARGET, delivered=delivered, pending=PENDING)
    database = Database(url)
    stack.callback(database.close)
    with database.read() as connection:
        target_id = connection.scalar(select(TargetRow.id).where(TargetRow.name == TARGET))
    assert target_id is not None
    return Table(database=database, target_id=target_id)


def _race(full: Table, empty: Table, batches: int) -> tuple[float, float]:
    """Return the seconds that each took, batch by batch in turn, so that what disturbs one disturbs the other."""
    seconds = [0.0, 0.0]
    for _ in range(batches):
        for place, table in enumerate((full, empty)):
            started = time.perf_counter()
            claimed = _claim_and_settle(table)
            seconds[place] += time.perf_counter() - started
            if len(claimed - table.settled) != BATCH:
                raise Wrong(f"A claim held {len(claimed - table.settled)} deliveries that were due, not {BATCH}.")
            table.settled |= claimed
    return seconds[0], seconds[1]


def _claim_and_settle(table: Table) -> set[int]:
    """Do in two transactions what a worker does around a push."""
    with table.database.write() as connection:
        claims = outbox.claim(connection, table.target_id, limit=BATCH, lease_seconds=60)
    with table.database.write() as connection:
        late = outbox.settle(connection, [_paid(claim) for claim in claims])
    if late:
        raise Wrong(f"{len(late)} claims were settled too late, with nobody else at work.")
    return {claim.delivery_id for claim in claims}


def _paid(claim: Claim) -> Settlement:
    now = clock.now()
    return Settlement(
        claim=claim,
        state="delivered",
        sent=True,
        push_key=f"{claim.closure.conversation_id}.{claim.version}",
        outcome="created",
        started_at=now,
        finished_at=now,
        payload_hash="a" * 64,
        record_id=claim.closure.conversation_id,
    )


def _verify(engine: str, table: Table) -> None:
    query = text("""
        SELECT count(*) FROM deliveries JOIN delivery_attempts ON delivery_attempts.delivery_id = deliveries.id
        WHERE deliveries.state = 'delivered' AND delivered_version = desired_version AND claim_token IS NULL
    """)
    with table.database.read() as connection:
        found = connection.scalar(query)
    if found != len(table.settled):
        raise Wrong(f"{engine}: {len(table.settled)} deliveries were settled, and {found} are delivered.")
