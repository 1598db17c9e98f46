"""Whom the events of a conversation reach when a workflow stands before the listener."""

from collections import Counter
from datetime import UTC, datetime

from crm_sync.sandbox.detail_events import events_of
from crm_sync.sandbox.listeners import Listener, Listeners
from crm_sync.sandbox.moods import Temper
from crm_sync.sandbox.poster import Manner, Poster
from crm_sync.sandbox.stories import generate
from crm_sync.sandbox.telling import Teller
from crm_sync.sandbox.wire import JSONObject

ENDED = "v2.detail.events.conversation.{id}.customer.end"
DAY = {"since": datetime(2024, 1, 15, tzinfo=UTC), "until": datetime(2024, 1, 16, tzinfo=UTC)}


def test_a_listener_behind_a_workflow_is_told_once_for_every_trigger_that_fires() -> None:
    def fires(topic: str, event: JSONObject) -> list[str]:
        return ["one", "two", "one"] if topic == ENDED and event["mediaType"] == "VOICE" else []

    listeners = Listeners()
    listeners.put(Listener(url="http://127.0.0.1:9/one", workflow_id="one"))
    listeners.put(Listener(url="http://127.0.0.1:9/two", workflow_id="two"))
    poster = Poster(webhooks=list, threads=1, seed=1)
    poster.stop()
    said = []

    def publish(topic: str, event: JSONObject) -> None:
        said.append(event["conversationId"])

    teller = Teller(listeners, Temper(), poster=poster, manner=Manner(), fires=fires, publish=publish)
    (called,) = generate(1, 1, **DAY, media=["voice"], stories=["agent"])
    (wrote,) = generate(1, 1, **DAY, media=["email"], stories=["agent"])
    teller.tell(called)
    teller.tell(wrote)

    assert Counter(post["to"] for post in poster.posts_of(called.id)) == Counter(
        {"http://127.0.0.1:9/one": 2, "http://127.0.0.1:9/two": 1}
    )
    assert (teller.telling_of(called.id).posts, teller.telling_of(wrote.id).posts) == (3, 0)
    assert Counter(said) == {one.id: len(events_of(one)) for one in (called, wrote)}
