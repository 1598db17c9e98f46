"""What the tests of the worker share: one round of claim, push and settle, and a look at what came of it."""

import threading
from dataclasses import replace
from datetime import timedelta

from crm_sync import clock, deliver
from crm_sync.adapters.memory import MemoryAdapter
from crm_sync.deliver import Lane
from crm_sync.errors import Fault, Kind
from crm_sync.push import Channel
from crm_sync.settings import Settings, TargetSettings
from tests.integration.builders import Store


def once(store: Store, adapter: MemoryAdapter, **options: object) -> int:
    """Claim, push and settle one batch."""
    target = TargetSettings.model_validate({"adapter": "memory", **options})
    settings = Settings(database_url="sqlite:////unused", targets={"crm": target})
    lane = Lane(
        target_id=store.target_id, channel=Channel(name="crm", adapter=adapter, settings=target), wake=threading.Event()
    )
    return deliver.deliver_once(lane, settings, store.database)


def fault(kind: Kind, **known: object) -> Fault:
    """Return a fault of this kind."""
    return replace(Fault(kind=kind, code="some_code", message="It failed."), **known)  # type: ignore[arg-type]


def due_now(store: Store) -> None:
    """Let all that waits be due."""
    store.change("deliveries", due_at=clock.now() - timedelta(seconds=1))


def last_attempt(store: Store) -> tuple[str, str | None, str | None, str | None]:
    """Return outcome, kind, code and message of the newest attempt."""
    attempt = store.rows("delivery_attempts")[-1]
    return attempt.outcome, attempt.kind, attempt.code, attempt.message
