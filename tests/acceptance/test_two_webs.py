"""Two web processes on one PostgreSQL receive events of one conversation at the same moment, the first ones too."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from uuid import uuid4

import pytest

from tests.acceptance.harness import World, webhook_target
from tests.acceptance.sender import Sender, event

CONVERSATIONS = 200
KINDS = (("customer.end", "flow.outcome"), ("user.end", "wrapup"))
"""What each process receives, one after the other; the first of both at the same moment, then the second of both."""


@pytest.mark.parametrize("migrated_url", ["postgresql"], indirect=True)
def test_events_at_the_same_moment_are_all_merged_and_owed_once(world: World) -> None:
    crms = [world.crm() for _ in range(2)]
    world.settings = "".join(webhook_target(crm.url, f"crm-{number}") for number, crm in enumerate(crms))
    webs = [world.web(wait=False, WEB_CONCURRENCY="1") for _ in KINDS]
    for web in webs:
        world.until_answers(web)
    conversations = [str(uuid4()) for _ in range(CONVERSATIONS)]
    at_once = threading.Barrier(len(KINDS), timeout=60)

    def send(url: str, kinds: Sequence[str]) -> list[str]:
        with Sender(url) as sender:
            statuses = []
            for conversation_id, kind in product(conversations, kinds):
                body = event(kind, conversationId=conversation_id)
                at_once.wait()
                statuses.append(sender.status(body))
            return statuses

    with ThreadPoolExecutor(len(KINDS)) as pool:
        statuses = list(pool.map(send, [web.url for web in webs], KINDS))
    closures = world.rows("SELECT closed, talk_ms, acw_ms, flow_ids FROM closures")
    owed = world.rows("SELECT conversation_id, target_id FROM deliveries")
    world.worker()
    world.until(lambda: not world.rows("SELECT 1 AS x FROM deliveries WHERE state <> 'delivered'"), "all is delivered")

    assert statuses == [["accepted"] * 2 * CONVERSATIONS] * 2
    merged = {"closed": 1, "talk_ms": 48_000, "acw_ms": 20_000, "flow_ids": ["12aeeeff-c0af-4f8b-b647-7a350630419f"]}
    assert closures == [merged] * CONVERSATIONS
    assert len(owed) == len({(row["conversation_id"], row["target_id"]) for row in owed}) == 2 * CONVERSATIONS
    for crm in crms:
        assert {r["conversation_id"]: r["data"]["acw_ms"] for r in crm.records()} == dict.fromkeys(
            conversations, 20_000
        )
        assert [effect["effective"] for effect in crm.effects()] == [True] * CONVERSATIONS
