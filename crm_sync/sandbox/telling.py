"""Tells the events of a conversation to whoever listens, or loses them, twice or late as the mood is."""

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from crm_sync.sandbox.detail_events import DetailEvent, events_of
from crm_sync.sandbox.listeners import Listener, Listeners, shaped
from crm_sync.sandbox.moods import Moods, Temper
from crm_sync.sandbox.platform_conversations import PlatformConversation
from crm_sync.sandbox.poster import Manner, Poster
from crm_sync.sandbox.wire import JSONObject, compact

Fires: TypeAlias = Callable[[str, JSONObject], Sequence[str]]
"""Which workflows an event starts, given its topic with the literal `{id}` and its body."""

Publish: TypeAlias = Callable[[str, JSONObject], object]
"""Says an event on the channels that are subscribed to its topic with the real id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """What became of a conversation's events: how many posts they were made into, or that they were lost."""

    posts: int = 0
    lost: bool = False


class Teller:
    """Tells, and remembers what it told."""

    def __init__(
        self,
        listeners: Listeners,
        temper: Temper,
        *,
        poster: Poster,
        manner: Manner,
        fires: Fires,
        publish: Publish,
    ) -> None:
        self._listeners = listeners
        self._temper = temper
        self._poster = poster
        self._manner = manner
        self._fires = fires
        self._publish = publish
        self._lock = threading.Lock()
        self._tellings: dict[str, Telling] = {}

    def tell(self, conversation: PlatformConversation) -> None:
        """Owe the events of a conversation to every listener and say them on the channels, unless they are lost."""
        moods, chance = self._temper.moods, self._temper.chance_of(conversation.id)
        is_lost, posts = chance.random() < moods.lose, 0
        if not is_lost:
            events = events_of(conversation)
            for event in events:
                self._publish(event.topic, event.body)
            for listener in self._listeners.all():
                posts += self._post(conversation.id, listener, self._meant_for(listener, events), moods, chance)
        with self._lock:
            before = self._tellings.get(conversation.id, Telling())
            self._tellings[conversation.id] = Telling(posts=before.posts + posts, lost=is_lost and not before.posts)

    def telling_of(self, conversation_id: str) -> Telling:
        with self._lock:
            return self._tellings.get(conversation_id, Telling())

    def _meant_for(self, listener: Listener, events: Sequence[DetailEvent]) -> Iterator[DetailEvent]:
        """Yield an event as often as its listener is told of it: once for every trigger that fires, if it has any."""
        for event in events:
            if listener.workflow_id is None:
                yield event
            else:
                fired = self._fires(event.topic_pattern, event.body)
                yield from [event] * fired.count(listener.workflow_id)

    def _post(
        self,
        conversation_id: str,
        listener: Listener,
        events: Iterator[DetailEvent],
        moods: Moods,
        chance: random.Random,
    ) -> int:
        """Owe these events to one listener, and return the number of posts."""
        shapes = [shaped(event, listener.shape) for event in events]
        told: list[Any] = [one for one in shapes for _ in range(2 if chance.random() < moods.double else 1)]
        if listener.shape == "array":
            if moods.shuffle_seconds:
                chance.shuffle(told)
            told = [told] if told else []
        for one in told:
            self._poster.post(
                compact(one),
                conversation_id=conversation_id,
                to=listener.url,
                find=partial(self._listeners.destination, listener.url),
                manner=self._manner,
                wait_seconds=moods.delay_seconds + chance.uniform(0, moods.shuffle_seconds),
            )
        return len(told)
