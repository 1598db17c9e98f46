"""The notification channel as a source: a real WebSocket of the pretend platform, on both engines."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from crm_sync import clock, listen
from crm_sync.genesys import notifications
from crm_sync.sandbox.conversation_objects import object_of
from crm_sync.sandbox.detail_events import events_of
from crm_sync.services import Services
from crm_sync.settings import NotificationSettings, ReconcileSettings
from crm_sync.store import sessions
from crm_sync.store.tables import ClosureRow, EventRow
from tests.integration.pretend import PretendGenesys, process

QUEUE = "67ce2258-ff62-4f8e-8467-2d79c9b98e2b"
CHANNELS = "/api/v2/notifications/channels"


@pytest.fixture
def services(migrated_url: str, genesys: PretendGenesys, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    monkeypatch.setattr(listen, "RENEW_SECONDS", 0.1)
    monkeypatch.setattr(listen, "FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(listen, "LONGEST_WAIT_SECONDS", 0.05)
    wanted: dict[str, Any] = {
        "notifications": NotificationSettings(enabled=True, queues=(QUEUE,)),
        "reconcile": ReconcileSettings(lag_minutes=1),
    }
    with process(migrated_url, genesys.url, registration="none", **wanted) as made:
        yield made


@contextmanager
def following(services: Services) -> Iterator[listen.Following]:
    """Follow in a thread, as the worker does."""
    stop = threading.Event()
    assert services.genesys is not None
    arguments = (services.settings, services.database, services.genesys, stop)
    thread = threading.Thread(target=listen.run_when_due, args=arguments)
    thread.start()
    try:
        yield listen.Following(
            settings=services.settings, database=services.database, client=services.genesys, stop=stop
        )
    finally:
        stop.set()
        thread.join(10)
        assert not thread.is_alive()


def until(check: Callable[[], object], promise: str) -> None:
    ends_at = time.monotonic() + 20
    while not check():
        assert time.monotonic() < ends_at, promise
        time.sleep(0.02)


def play(genesys: PretendGenesys, story: str = "agent", **options: Any) -> Any:
    """Let a conversation happen that nobody is told of."""
    now = clock.now()
    window = {"since": clock.to_text(now - timedelta(hours=3)), "until": clock.to_text(now - timedelta(minutes=10))}
    (one,) = genesys.control.play(count=1, seed=5, stories=[story], tell=False, **window | options)
    return genesys.state.platform.conversations.find(one["id"])


def topics(genesys: PretendGenesys) -> set[str]:
    return {topic for channel in genesys.state.channels.all()[0] for topic in channel.topics}


def closed(services: Services) -> set[str]:
    with services.database.read() as connection:
        table = ClosureRow.metadata.tables["closures"]
        return {row.conversation_id for row in connection.execute(table.select()) if row.closed}


def sources(services: Services) -> set[str]:
    with services.database.read() as connection:
        return {row.source for row in connection.execute(EventRow.metadata.tables["events"].select())}


def start_session(services: Services, conversation_id: str) -> None:
    with services.database.write() as connection:
        sessions.create(
            connection, "s-1", idempotency_key=None, bot_id="bot", customer_id="c", media_type="chat", turns=0
        )
        sessions.started(connection, "s-1", conversation_id)


def test_a_session_that_was_started_is_followed_to_its_end_and_no_longer(
    services: Services, genesys: PretendGenesys
) -> None:
    conversation = play(genesys)
    detail = set(notifications.topics_of(conversation.id))
    with following(services):
        until(lambda: topics(genesys), "the channel is subscribed")
        start_session(services, conversation.id)
        until(lambda: detail <= topics(genesys), "the session is followed")
        for event in events_of(conversation):
            genesys.control.publish(event.topic, event.body)
        until(lambda: closed(services) == {conversation.id}, "its end is known")
        until(lambda: not detail & topics(genesys), "it is followed no longer")

    assert sources(services) == {"notifications"}


def test_conversations_of_a_queue_are_taken_in_once_everybody_has_gone(
    services: Services, genesys: PretendGenesys
) -> None:
    ended, going_on = play(genesys), play(genesys, "going_on")
    topic = notifications.topic_of_queue(QUEUE)
    with following(services):
        until(lambda: topic in topics(genesys), "the queue is followed")
        until(lambda: genesys.control.publish(topic, as_notification(going_on)), "it is heard")
        genesys.control.publish(topic, as_notification(ended))
        until(lambda: closed(services) == {ended.id}, "the end is known")


def as_notification(conversation: Any) -> dict[str, Any]:
    return {name: value for name, value in object_of(conversation).items() if name not in ("startTime", "endTime")}


def test_a_lost_socket_is_connected_again_and_one_that_closes_is_replaced(
    services: Services, genesys: PretendGenesys
) -> None:
    with following(services):
        until(lambda: topics(genesys), "the channel is subscribed")
        before = genesys.calls("POST", CHANNELS)
        until(genesys.control.drop_sockets, "a socket is dropped")
        until(lambda: genesys.calls("POST", CHANNELS) > before, "another channel is made")
        until(genesys.control.announce_closing, "a socket hears that it closes")
        until(lambda: genesys.calls("POST", CHANNELS) > before + 1, "a channel that closes is replaced")


def test_only_one_process_listens(services: Services, genesys: PretendGenesys) -> None:
    with following(services), following(services):
        until(lambda: topics(genesys), "the channel is subscribed")
        time.sleep(0.3)

        assert genesys.calls("POST", CHANNELS) == 1


def test_a_gap_is_asked_for_once_analytics_can_know_it(services: Services, genesys: PretendGenesys) -> None:
    conversation = play(genesys)
    assert services.genesys is not None
    made = listen.Following(
        settings=services.settings, database=services.database, client=services.genesys, stop=threading.Event()
    )
    now = clock.now()
    made.gaps = [
        listen.Window(since=now - timedelta(hours=4), until=now - timedelta(minutes=2)),
        listen.Window(since=now - timedelta(minutes=2), until=now),
    ]

    made.fill_gaps()
    until(lambda: len(made.gaps) == 1, "the gap is filled that analytics can know")

    assert closed(services) == {conversation.id}


def test_a_topic_that_is_refused_is_named(services: Services, genesys: PretendGenesys) -> None:
    genesys.control.set_permissions(["conversation:communication:view"])
    assert services.genesys is not None
    channel = notifications.create(services.genesys)

    refused = notifications.subscribe(services.genesys, channel, notifications.topics_of("c-1")[:2])

    assert refused == notifications.topics_of("c-1")[:2]
