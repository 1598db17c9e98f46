"""A CRM is away for two hours, while all that it is owed changes twice; then it is back.

The hours are simulated, the refusals are real: whatever reaches the CRM is answered 500. With CRM_SYNC_FAULTS_LONG=1
there are 20,000 closures instead of 1,000, and the rate must be reached as well as kept.
"""

from collections import Counter

import pytest

from tests.acceptance.clockwork import LATE_SECONDS, instants, largest_burst, pass_time
from tests.acceptance.harness import IS_LONG, Running, World, webhook_target
from tests.acceptance.sender import Sender, conversation

CLOSURES = 20_000 if IS_LONG else 1_000
RATE = BURST = 100
LANES = 4
AWAY_SECONDS = 2 * 3600
ENDS = [f"2024-01-15T10:{minute}:00.000Z" for minute in (34, 44, 54)]
"""When a conversation ended, as each of its three events tells it."""

FAILURES_TO_OPEN = 5
RESTS = [30, 60, 120, 240, 480]
LONGEST_REST = 600


@pytest.mark.timeout(1_800 if IS_LONG else 180)
def test_a_crm_that_was_away_for_hours_gets_each_closure_once_and_no_faster_than_allowed(world: World) -> None:
    crm = world.crm()
    crm.add_fault(kind="fail", times=None)
    world.settings = webhook_target(crm.url, concurrency=LANES, rate=float(RATE), burst=BURST)
    world.environment["LOG_FORMAT"] = "json"
    web, worker = world.web(), world.worker()
    conversations = [f"c-{number}" for number in range(CLOSURES)]
    with Sender(web.url) as sender:
        for ended_at in ENDS:
            sender.post_all(conversation(conversation_id, endTime=ended_at) for conversation_id in conversations)
            stay_away(world, worker, AWAY_SECONDS / len(ENDS))
    world.until(
        lambda: not world.rows("SELECT id FROM deliveries WHERE claim_token IS NOT NULL"), "no push is under way"
    )
    refused = crm.pushes()
    (counted,) = world.rows("SELECT sum(attempts) AS attempts FROM deliveries")
    crm.clear_faults()
    pass_time(world, LONGEST_REST)
    world.until(lambda: not is_owed(world), "all is delivered", seconds=60 + 2 * CLOSURES / RATE, pause=0.5)
    pushes = crm.pushes()[len(refused) :]
    arrivals = instants(push["arrived_at"] for push in pushes)
    burst, pace = largest_burst(arrivals, RATE), (CLOSURES - BURST) / (arrivals[-1] - arrivals[0])
    print(f"{len(refused)} pushes while it was away; {len(pushes)} at {pace:.1f}/s, at most {burst:.1f} at once")

    trips = rests(worker)
    assert trips == RESTS + [LONGEST_REST] * (len(trips) - len(RESTS))
    assert sum(trips) >= AWAY_SECONDS
    story = [line["event"] for line in worker.logged("breaker_opened", "breaker_probes", "breaker_closed")]
    assert story == ["breaker_opened", "breaker_probes"] * len(trips) + ["breaker_closed"]
    # While one lane opened the breaker the others may have been pushing. After that only probes came.
    assert FAILURES_TO_OPEN <= len(refused) - (len(trips) - 1) < FAILURES_TO_OPEN + LANES
    assert counted["attempts"] == len(refused)
    assert Counter(push["conversation_id"] for push in pushes) == Counter(conversations)
    assert {(push["status"], push["outcome"]) for push in pushes} == {(200, "created")}
    records = crm.records()
    assert {record["conversation_id"]: record["version"] for record in records} == versions(world)
    assert {record["data"]["ended_at"] for record in records} == {ENDS[-1]}
    assert not world.rows("SELECT id FROM deliveries WHERE state <> 'delivered'")
    assert burst <= BURST + RATE * LATE_SECONDS
    assert pace >= 0.9 * RATE or not IS_LONG


def stay_away(world: World, worker: Running, seconds: float) -> None:
    """Let so much time pass, and at the end of each of the breaker's rests wait until a probe has failed."""
    while seconds > 0:
        until_opened(world, worker, 1)
        trips = rests(worker)
        pass_time(world, trips[-1])
        until_opened(world, worker, len(trips) + 1)
        seconds -= trips[-1]


def until_opened(world: World, worker: Running, times: int) -> None:
    """Wait until the breaker has opened so many times."""
    world.until(lambda: len(rests(worker)) >= times, f"the breaker has opened {times} times")


def rests(worker: Running) -> list[float]:
    """Return for how many seconds the breaker has opened, each time."""
    return [line["seconds"] for line in worker.logged("breaker_opened")]


def is_owed(world: World) -> bool:
    """Tell whether any delivery is not settled for good."""
    return bool(world.rows("SELECT id FROM deliveries WHERE state = 'pending' LIMIT 1"))


def versions(world: World) -> dict[str, int]:
    """Return the newest version of each closure."""
    rows = world.rows("SELECT conversation_id, version FROM closures")
    return {row["conversation_id"]: row["version"] for row in rows}
