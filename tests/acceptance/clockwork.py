"""Time for the tests: lets hours pass for what is stored, and judges instants that a CRM has noted."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import pairwise

from tests.acceptance.harness import World

LATE_SECONDS = 1.0
"""How much later than another push one may come after its claim, on a busy machine: a rate is kept by the claims."""


def pass_time(world: World, seconds: float, *, target: str | None = None) -> None:
    """Let so much time pass for what waits in the database, for all targets or for one.

    What is in a worker's hands is left alone: that worker counts by a clock of its own. So is `named_until`, which a
    worker moves on every minute, however many we let pass at once.
    """
    those = f"(SELECT id FROM targets WHERE name = '{target}')" if target else "(SELECT id FROM targets)"
    moved = ", ".join(f"{column} = {_before(world, column, seconds)}" for column in ("open_until", "not_before", "tat"))
    world.execute(
        # As a claim does, lock the targets first; then nothing of theirs can be claimed before we have ended.
        f"UPDATE targets SET state = state WHERE id IN {those}",
        f"UPDATE targets SET {moved} WHERE id IN {those}"
        " AND id NOT IN (SELECT target_id FROM deliveries WHERE claim_token IS NOT NULL)",
        f"UPDATE deliveries SET due_at = {_before(world, 'due_at', seconds)}"
        f" WHERE state = 'pending' AND claim_token IS NULL AND target_id IN {those}",
    )


def instants(texts: Iterable[str]) -> list[float]:
    """Return instants that a CRM has noted, in order, as seconds since 1970."""
    return sorted(datetime.fromisoformat(text).timestamp() for text in texts)


def largest_burst(arrivals: Sequence[float], rate: float) -> float:
    """Return the least number such that in no span of time more than `rate * seconds + number` have arrived."""
    ahead = largest = 1.0
    for earlier, later in pairwise(arrivals):
        ahead = max(0.0, ahead - (later - earlier) * rate) + 1
        largest = max(largest, ahead)
    return largest


def _before(world: World, column: str, seconds: float) -> str:
    """Return SQL for the instant so many seconds before the one in this column, as instant columns hold it."""
    if world.engine.dialect.name == "postgresql":
        return f"({column} - make_interval(secs => {seconds}))"
    return f"strftime('%Y-%m-%d %H:%M:%f000', {column}, '-{seconds:f} seconds')"
