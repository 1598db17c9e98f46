"""What the tests of the worker share: one round of claim, push and settle, and a look at what came of it."""

import threading
from dataclasses import replace
from datetime import timedelta

from crm_sync import clock, deliver
from crm_sync.adapters.contract import Adapter
from crm_sync.adapters.memory import MemoryAdapter
from crm_sync.deliver import Lane
from crm_sync.errors import Fault, Kind
from crm_sync.holds import Holds
from crm_sync.push import Channel
from crm_sync.settings import WorkerSettings
from crm_sync.settings_targets import TargetSettings
from tests.integration.builders import Store


def once(store: Store, adapter: MemoryAdapter, **options: object) -> int:
    """Claim, push and settle one batch."""
    target = TargetSettings.model_validate({"adapter": "memory", **options})
    return deliver.deliver_once(lane(store, adapter, target), store.database)


def lane_to(store: Store, adapter: Adapter, *, worker: WorkerSettings | None = None, **options: object) -> Lane:
    """Return a lane to the target `crm` with these settings."""
    return lane(store, adapter, TargetSettings.model_validate({"adapter": "memory", **options}), worker)


def turn(store: Store, *lanes: Lane) -> list[int]:
    """Let each of these lanes claim, push and settle once; return how many deliveries each has claimed."""
    return [deliver.deliver_once(each, store.database) for each in lanes]


def lane(store: Store, adapter: Adapter, target: TargetSettings, worker: WorkerSettings | None = None) -> Lane:
    """Return a lane to the target `crm`."""
    return Lane(
        target_id=store.target_id,
        channel=Channel(name="crm", adapter=adapter, settings=target),
        holds=Holds(worker or WorkerSettings()),
        stop=threading.Event(),
    )


def fault(kind: Kind, **known: object) -> Fault:
    """Return a fault of this kind."""
    return replace(Fault(kind=kind, code="some_code", message="It failed."), **known)  # type: ignore[arg-type]


def due_now(store: Store) -> None:
    """Let all that waits be due, and be tried."""
    store.change("targets", failures=0, trips=0, open_until=None)
    store.change("deliveries", due_at=clock.now() - timedelta(seconds=1))


def last_attempt(store: Store) -> tuple[str, str | None, str | None, str | None]:
    """Return outcome, kind, code and message of the newest attempt."""
    attempt = store.rows("delivery_attempts")[-1]
    return attempt.outcome, attempt.kind, attempt.code, attempt.message
