"""The demo's second act: a bad day of the real platform, and what one reconciliation makes of it.

Of three in ten conversations no event ever comes, three in ten events come twice, all come out of order, and the API
expires tokens, refuses for rate and fails. Then `crm-sync reconcile` is run, twice.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select

from crm_sync import clock
from crm_sync.cli import demo_report
from crm_sync.cli.demo_report import Expected
from crm_sync.cli.demo_world import World
from crm_sync.sandbox.client import GenesysControl
from crm_sync.store.engine import Database
from crm_sync.store.tables import ClosureRow

LOST = DOUBLED = 0.3
BAD_DAY: dict[str, Any] = {
    "lose": LOST,
    "double": DOUBLED,
    "shuffle_seconds": 1.0,
    "expire_tokens_every": 3,
    "rate_limited_share": 0.25,
    "failing_share": 0.05,
    "seed": 4,
}
POST_SECONDS = 120.0
SETTLE_SECONDS = 60.0


@dataclass(slots=True, kw_only=True)
class Act:
    """What happened on the bad day, and what two reconciliations made of it."""

    played: list[dict[str, Any]]
    missing_before: int
    first: dict[str, Any] = field(default_factory=dict)
    drifted: set[str] = field(default_factory=set)
    second: dict[str, Any] = field(default_factory=dict)
    changed_again: int = 0


def told(act: Act) -> dict[str, Any]:
    """Return the act as JSON values. `mended`: the first run found exactly what was lost, the next nothing."""
    lost = {one["id"] for one in act.played if one["lost"]}
    is_exact = act.drifted == lost
    again = act.second["missed"] + act.second["different"] + act.changed_again
    return {
        "conversations": len(act.played),
        "lost": len(lost),
        "missing_before": act.missing_before,
        "missed": act.first["missed"],
        "different": act.first["different"],
        "drift_is_exact": is_exact,
        "missed_again": act.second["missed"],
        "different_again": act.second["different"],
        "changed_again": act.changed_again,
        "mended": is_exact and not again,
    }


def play(world: World, count: int, progress: Callable[[int], None]) -> list[dict[str, Any]]:
    """Let so many conversations of the platform happen on a bad day, and return the truth about them."""
    with GenesysControl(world.genesys_url) as genesys:
        genesys.listen(f"{world.web_url}/webhooks/genesys", secret=world.webhook_secret, shape="eventbridge")
        genesys.be(**BAD_DAY)
        played = genesys.play(count=count, seed=11)
        genesys.wait_until_posted(POST_SECONDS)
    progress(count)
    return played


def expectations(played: Sequence[dict[str, Any]]) -> dict[str, Expected]:
    """Return what must stand in every CRM about these conversations."""
    return {
        one["id"]: Expected(
            resolution=one["resolution"], ended_at=demo_report.instant(one["ended_at"]), customer_id=None
        )
        for one in played
    }


def reconcile(world: World, progress: Callable[[int], None]) -> dict[str, Any]:
    """Reconcile as an admin would, by the contract of the platform, and return what the command said."""
    said: dict[str, Any] = json.loads(world.run("reconcile", "--json", GENESYS_REGISTRATION="none"))
    progress(1)
    return said


def settle(world: World) -> None:
    """Wait until nothing is on its way to a CRM."""
    until = clock.monotonic() + SETTLE_SECONDS
    while not demo_report.is_everything_settled(world) and clock.monotonic() < until:
        time.sleep(0.2)


def missing(world: World, played: Sequence[dict[str, Any]]) -> int:
    """Return how many of these conversations are in no CRM, or not in each."""
    held = demo_report.records(world).values()
    return sum(any(one["id"] not in crm for crm in held) for one in played)


def drifted(world: World, run_id: int) -> set[str]:
    """Return the conversations that the drift report of a run names."""
    said = json.loads(world.run("drift", "--run", str(run_id), "--json", "--limit", "100000"))
    return {one["conversation_id"] for one in said}


def versions(world: World) -> dict[str, int]:
    """Return the version of each closure."""
    database = Database(world.database_url)
    try:
        with database.read() as connection:
            found = connection.execute(select(ClosureRow.conversation_id, ClosureRow.version))
            return {conversation_id: version for conversation_id, version in found}
    finally:
        database.close()
