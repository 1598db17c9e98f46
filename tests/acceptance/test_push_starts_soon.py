"""A commit wakes the worker: how long a push waits for its start is printed, and must be less than polling explains."""

import time
from datetime import datetime
from statistics import median
from typing import Any

from crm_sync.sandbox.client import CRMControl
from tests.acceptance.harness import World, webhook_target
from tests.acceptance.sender import Sender, conversation

EVENTS = 20
POLL_SECONDS = 1.0
"""How often an idle worker looks by itself: with that alone, each event would wait for the next look."""


def milliseconds(later: datetime, earlier: datetime) -> float:
    return (later - earlier).total_seconds() * 1000


def test_a_push_waits_for_no_poll(world: World) -> None:
    crm = world.crm()
    world.settings = webhook_target(crm.url, concurrency=1)
    world.worker()
    acknowledged: dict[str, float] = {}
    with Sender(world.web().url) as sender:
        sender.status(conversation("to warm up"))
        until_held(world, crm, "to warm up")
        began = time.monotonic()
        for number in range(EVENTS):
            sender.status(conversation(f"c-{number}"))
            acknowledged[f"c-{number}"] = time.time()
            until_held(world, crm, f"c-{number}")
        took = time.monotonic() - began
    # The CRM holds a record a moment before the worker has written what came of the push.
    world.until(lambda: not world.rows("SELECT id FROM deliveries WHERE state = 'pending'"), "all is settled")
    pushes = world.rows(
        "SELECT d.conversation_id, d.created_at, a.started_at FROM delivery_attempts AS a"
        " JOIN deliveries AS d ON d.id = a.delivery_id WHERE d.conversation_id <> 'to warm up'"
    )
    report(world, took, pushes, acknowledged)

    assert len(pushes) == EVENTS
    assert took < EVENTS * POLL_SECONDS / 2


def until_held(world: World, crm: CRMControl, conversation_id: str) -> None:
    world.until(lambda: crm.record(conversation_id), "it is in the CRM")


def report(world: World, took: float, pushes: list[dict[str, Any]], acknowledged: dict[str, float]) -> None:
    """Print how long pushes waited, from the transaction's last statement but the commit, and from the answer."""
    from_row = sorted(milliseconds(row["started_at"], row["created_at"]) for row in pushes)
    from_answer = sorted(
        (row["started_at"].timestamp() - acknowledged[row["conversation_id"]]) * 1000 for row in pushes
    )
    engine = world.engine.dialect.name
    for name, waits in (("owed", from_row), ("202 received", from_answer)):
        print(f"{engine}: {name} to push start: median {median(waits):.0f} ms, most {waits[-1]:.0f} ms")
    print(f"{engine}: {EVENTS} events, each waited for at the CRM, took {took:.1f} s")
