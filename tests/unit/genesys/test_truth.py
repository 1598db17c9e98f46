"""What the pretend platform knows of its conversations, and what we make of its events, its records and its objects.

The two share no code: it tells one thing in three forms, and has an opinion of its own on how each was resolved.
"""

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from crm_sync import clock
from crm_sync.closure import Closure, derive
from crm_sync.genesys import events
from crm_sync.resolution import ResolutionMap, Status
from crm_sync.sandbox.analytics_records import record_of
from crm_sync.sandbox.conversation_objects import object_of
from crm_sync.sandbox.detail_events import events_of
from crm_sync.sandbox.expectations import expected_resolution, newest_wrapup
from crm_sync.sandbox.platform_conversations import PlatformConversation
from crm_sync.sandbox.platform_world import WRAPUP_WORDS
from crm_sync.sandbox.stories import STORIES, generate
from crm_sync.sandbox.wire import compact
from tests.unit.genesys.builders import merged

DAY = datetime(2024, 1, 15, tzinfo=clock.UTC)
CONTEXT = events.Context(source="webhook", received_at=DAY + timedelta(days=2))
KNOWN = ResolutionMap(wrapup_codes={code: Status(word) for code, word in WRAPUP_WORDS.items()})
PLAYED = list(generate(7, 300, since=DAY, until=DAY + timedelta(days=1), stories=tuple(STORIES)))


def closed_by(conversation: PlatformConversation, bodies: Sequence[Any]) -> Closure:
    parsed = [events.parse(compact(body), CONTEXT)[0][0] for body in bodies]
    return derive(conversation.id, merged(event for event in parsed if event.facts), KNOWN)


def as_detail(conversation: PlatformConversation) -> list[Any]:
    return [{"topicName": event.topic, "eventBody": event.body} for event in events_of(conversation)]


def test_every_story_is_among_them() -> None:
    assert {conversation.story for conversation in PLAYED} == set(STORIES)


@pytest.mark.parametrize("order", range(3))
def test_the_events_of_each_in_any_order_tell_the_truth(order: int) -> None:
    chance = random.Random(order)
    for conversation in PLAYED:
        bodies = as_detail(conversation)
        chance.shuffle(bodies)

        found = closed_by(conversation, [*bodies, *bodies[:3]])

        assert (conversation.story, found.closed) == (conversation.story, conversation.customer_left_at is not None)
        assert found.customer_left_at == conversation.customer_left_at
        assert (conversation.story, str(found.resolution)) == (conversation.story, expected_resolution(conversation))
        wrapup = newest_wrapup(conversation)
        assert found.wrapup_code == (wrapup.wrapup_code if wrapup else None)


def test_the_record_of_each_tells_the_truth_alone_and_beside_the_events() -> None:
    for conversation in PLAYED:
        record = record_of(conversation, with_attributes=True)
        for bodies in ([record], [record, *as_detail(conversation)]):
            found = closed_by(conversation, bodies)

            assert (conversation.story, found.closed) == (conversation.story, conversation.ended_at is not None)
            assert found.ended_at == (conversation.ended_at or conversation.customer_left_at)
            assert (conversation.story, str(found.resolution)) == (
                conversation.story,
                expected_resolution(conversation),
            )


def test_the_object_of_each_tells_its_end_and_its_wrapup() -> None:
    for conversation in PLAYED:
        found = closed_by(conversation, [object_of(conversation)])

        assert (conversation.story, found.closed) == (conversation.story, conversation.customer_left_at is not None)
        wrapup = newest_wrapup(conversation)
        assert found.wrapup_code == (wrapup.wrapup_code if wrapup else None)
