"""A third CRM joins two others: it is owed what ends from then on, and by a backfill what ended before."""

from collections import Counter
from collections.abc import Iterable

import pytest

from crm_sync.sandbox.client import CRMControl
from tests.acceptance.harness import World, webhook_target
from tests.acceptance.sender import Sender, conversation

pytestmark = pytest.mark.timeout(300)

NAMES = ("first", "second", "third")
PAST, NEW, CHANGED = 1000, 20, 20
TRIES = 30
UNPAID = "SELECT id FROM deliveries WHERE state <> 'delivered' LIMIT 1"


def test_a_backfill_that_was_killed_half_way_is_begun_again_and_owes_the_rest_once(world: World) -> None:
    crms = dict(zip(NAMES, (world.crm() for _ in NAMES), strict=True))
    past = [f"past-{number:04}" for number in range(PAST)]
    new = [f"new-{number:04}" for number in range(NEW)]
    world.settings = settings(crms, NAMES[:2])
    web, worker = world.web(), world.worker()
    post(world, past)
    web.stop()
    worker.stop()
    world.settings = settings(crms, NAMES)
    world.web()
    world.worker()
    post(world, new)
    owed_at_first = owed(world)
    world.crm_sync("target", "pause", "third")
    half_way = kill_half_way(world)
    post(world, past[:CHANGED], endTime="2024-01-15T11:00:00.000Z")
    again = world.crm_sync("target", "backfill", "third", "--yes")
    owed_in_the_end = owed(world)
    world.crm_sync("target", "resume", "third")
    world.until(lambda: not world.rows(UNPAID), "all is delivered", seconds=120, pause=0.2)
    pushes = Counter(push["conversation_id"] for push in crms["third"].pushes())
    versions = {row["conversation_id"]: row["version"] for row in world.rows("SELECT * FROM closures")}

    assert owed_at_first == {"first": PAST + NEW, "second": PAST + NEW, "third": NEW}
    assert 0 < half_way < PAST
    assert again.returncode == 0, again.stderr
    assert owed_in_the_end == dict.fromkeys(NAMES, PAST + NEW)
    assert versions.keys() == {*past, *new}
    assert pushes == dict.fromkeys(versions, 1)
    for crm in crms.values():
        assert {record["conversation_id"]: record["version"] for record in crm.records()} == versions


def settings(crms: dict[str, CRMControl], names: Iterable[str]) -> str:
    """Return the settings of these targets."""
    return "".join(webhook_target(crms[name].url, name, concurrency=4) for name in names)


def post(world: World, conversations: list[str], **changes: str) -> None:
    """Post the ends of these conversations."""
    with Sender(world.web_url) as sender:
        sender.post_all(conversation(each, **changes) for each in conversations)


def owed(world: World) -> dict[str, int]:
    """Return how many closures each target is owed, or was told."""
    rows = world.rows(
        "SELECT t.name, count(*) AS count FROM deliveries AS d JOIN targets AS t ON t.id = d.target_id GROUP BY t.name"
    )
    return {row["name"]: row["count"] for row in rows}


def kill_half_way(world: World) -> int:
    """Start a backfill of the third target, kill it between two of its pages, and return how many that is owed then."""
    for _ in range(TRIES):
        running = world.spawn("target", "backfill", "third", "--yes")
        while running.process.poll() is None and owed(world)["third"] == NEW:
            pass
        running.kill()
        filled = owed(world)["third"] - NEW
        if 0 < filled < PAST:
            return filled
        # It was over before it was killed. Nothing of it has been pushed, since the target is paused: once more.
        world.execute("DELETE FROM deliveries WHERE in_background")
    raise AssertionError(f"none of {TRIES} backfills was met half-way")
