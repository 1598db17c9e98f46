"""Durable ingest: distinct signed events that owe two targets, beside an empty Flask route under the same gunicorn."""

import secrets
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from sqlalchemy import text

from benchmarks import wrk
from benchmarks.engines import Engine
from benchmarks.processes import Processes
from benchmarks.results import Measured, Wrong
from benchmarks.wrk import Load
from crm_sync.store.engine import Database

REPEATS = 12
SECONDS = 3
WARM_UP_SECONDS = 2
TARGETS = ("first", "second")
GUNICORN = ("gunicorn", "--config", "python:benchmarks.empty_server", "benchmarks.empty_route:app")


@dataclass(slots=True, kw_only=True)
class Pair:
    """Our web process on one engine, and the empty route with as many processes."""

    engine: str
    database_url: str
    processes: Processes
    ours: str
    empty: str
    warm_ups: list[Load] = field(default_factory=list)
    loads: list[Load] = field(default_factory=list)
    yardsticks: list[Load] = field(default_factory=list)


def measure(engines: Sequence[Engine]) -> list[Measured]:
    """Return the rate on each engine; raises `Wrong` when an event that was acknowledged is not stored in full."""
    path, secret, runs = wrk.find(), secrets.token_hex(16), iter(range(65_536))

    def post(base: str, seconds: int) -> Load:
        return wrk.post(path, f"{base}/webhooks/genesys", secret=secret, run=next(runs), seconds=seconds)

    with ExitStack() as stack:
        pairs = [_start(engine, stack, secret) for engine in engines]
        for pair in pairs:
            post(pair.empty, WARM_UP_SECONDS)
            pair.warm_ups.append(post(pair.ours, WARM_UP_SECONDS))
        # In turn, so that whatever else the machine does in a minute meets all alike.
        for _ in range(REPEATS):
            for pair in pairs:
                pair.yardsticks.append(post(pair.empty, SECONDS))
                pair.loads.append(post(pair.ours, SECONDS))
        for pair in pairs:
            pair.processes.check()
            pair.processes.stop()
            loads = pair.warm_ups + pair.loads
            acknowledged, on_their_way = sum(load.answers for load in loads), wrk.CONNECTIONS * len(loads)
            verify(pair.engine, _count(pair.database_url), acknowledged=acknowledged, on_their_way=on_their_way)
        return [_measured(pair) for pair in pairs]


def verify(engine: str, found: Mapping[str, int], *, acknowledged: int, on_their_way: int) -> None:
    """Raise `Wrong` unless what was acknowledged is there in full, and no more than was on its way at the end."""
    if not acknowledged <= found["events"] <= acknowledged + on_their_way:
        raise Wrong(f"{engine}: {acknowledged} events were acknowledged, and {found['events']} are stored.")
    if found["closures"] != found["events"] or found["deliveries"] != len(TARGETS) * found["events"]:
        raise Wrong(
            f"{engine}: {found['events']} events left {found['closures']} closures and {found['deliveries']}"
            " deliveries, where one closure and two deliveries for each were due."
        )


def _start(engine: Engine, stack: ExitStack, secret: str) -> Pair:
    url = stack.enter_context(engine.new_database())
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    settings = "".join(f'[targets.{name}]\nadapter = "memory"\n' for name in TARGETS)
    processes = stack.enter_context(Processes(folder, DATABASE_URL=url, WEBHOOK_SECRETS=secret))
    processes.configure(settings)
    ours, empty = processes.listen("crm_sync", "web"), processes.listen(*GUNICORN)
    return Pair(engine=engine.name, database_url=url, processes=processes, ours=ours, empty=empty)


def _count(database_url: str) -> dict[str, int]:
    database = Database(database_url)
    try:
        with database.read() as connection:
            return {
                "events": connection.scalar(text("SELECT count(*) FROM events WHERE status = 'accepted'")) or 0,
                "closures": connection.scalar(text("SELECT count(*) FROM closures WHERE closed")) or 0,
                "deliveries": connection.scalar(text("SELECT count(*) FROM deliveries WHERE state = 'pending'")) or 0,
            }
    finally:
        database.close()


def _measured(pair: Pair) -> Measured:
    return Measured(
        what="durable ingest / empty Flask route",
        engine=pair.engine,
        ours=[load.per_second for load in pair.loads],
        yardsticks=[load.per_second for load in pair.yardsticks],
        beside={
            "p50 ms": median(load.p50_ms for load in pair.loads),
            "p99 ms": median(load.p99_ms for load in pair.loads),
        },
    )
