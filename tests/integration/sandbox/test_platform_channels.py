"""Notification channels and their real WebSockets: subscriptions, heartbeats, pings, and what is lost."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from crm_sync.sandbox.channels import Channels
from crm_sync.sandbox.oauth import OAuthClient
from crm_sync.sandbox.problems import Problem
from tests.integration.sandbox.harness import Genesys

CHANNELS = "/api/v2/notifications/channels"
TOPIC, OTHER = (f"v2.detail.events.conversation.{name}.customer.end" for name in ("c-1", "c-2"))
EVENT = {"conversationId": "c-1", "eventTime": 1649237504949}

Listen = Callable[[dict[str, Any]], ClientConnection]


@pytest.fixture
def listen() -> Iterator[Listen]:
    with ExitStack() as stack:
        yield lambda channel: stack.enter_context(connect(channel["connectUri"], proxy=None, ping_interval=None))


def opened(genesys: Genesys, *topics: str) -> dict[str, Any]:
    channel = genesys.call("POST", CHANNELS).json()
    genesys.call("PUT", f"{CHANNELS}/{channel['id']}/subscriptions", [{"id": topic} for topic in topics])
    return dict(channel)


def heard(socket: ClientConnection) -> dict[str, Any]:
    return dict(json.loads(socket.recv(timeout=10)))


def answering(socket: ClientConnection) -> ClientConnection:
    """Return a socket that has its answer to a ping: from now on it hears what is published."""
    socket.send(json.dumps({"message": "ping"}))
    assert heard(socket) == {"topicName": "channel.metadata", "eventBody": {"message": "pong"}}
    return socket


def test_what_is_published_is_heard_by_whoever_is_subscribed_to_it(genesys: Genesys, listen: Listen) -> None:
    socket = answering(listen(opened(genesys, TOPIC)))
    other = answering(listen(opened(genesys, OTHER)))

    assert genesys.control.publish(TOPIC, EVENT) == 1
    assert genesys.control.publish(OTHER, EVENT) == 1
    message = heard(socket)
    assert set(message.pop("metadata")) == {"CorrelationId"}
    assert message == {"topicName": TOPIC, "version": "2", "eventBody": EVENT}
    assert heard(other)["topicName"] == OTHER


def test_what_is_published_while_there_is_no_socket_is_lost(genesys: Genesys, listen: Listen) -> None:
    channel = opened(genesys, TOPIC)
    lost = genesys.control.publish(TOPIC, EVENT | {"eventTime": 1})
    socket = answering(listen(channel))
    genesys.control.publish(TOPIC, EVENT | {"eventTime": 2})

    assert lost == 0
    assert heard(socket)["eventBody"]["eventTime"] == 2


def test_heartbeats_come_at_the_interval_that_is_set(genesys: Genesys, listen: Listen) -> None:
    socket = answering(listen(opened(genesys)))
    genesys.control.set_heartbeat(0.01)
    beats = [heard(socket) for _ in range(3)]
    genesys.control.set_heartbeat(None)

    assert beats == [{"topicName": "channel.metadata", "eventBody": {"message": "WebSocket Heartbeat"}}] * 3


@pytest.mark.parametrize("rubbish", ["ping", "{", '{"message": "pong"}', b"\xff"])
def test_a_message_that_is_no_ping_is_not_answered(genesys: Genesys, listen: Listen, rubbish: str | bytes) -> None:
    socket = listen(opened(genesys))

    socket.send(rubbish)

    answering(socket)


def test_a_socket_is_warned_before_it_is_closed(genesys: Genesys, listen: Listen) -> None:
    socket = answering(listen(opened(genesys)))

    assert genesys.control.announce_closing() == 1
    assert heard(socket)["topicName"] == "v2.system.socket_closing"


def test_a_socket_that_is_dropped_ends_without_a_word_and_the_channel_takes_another(
    genesys: Genesys, listen: Listen
) -> None:
    channel = opened(genesys, TOPIC)
    first = answering(listen(channel))
    dropped = genesys.control.drop_sockets()

    with pytest.raises(ConnectionClosed) as ended:
        heard(first)
    assert ended.value.rcvd is None
    assert dropped == 1
    answering(listen(channel))
    assert genesys.control.publish(TOPIC, EVENT) == 1


def test_a_second_socket_of_a_channel_closes_the_first(genesys: Genesys, listen: Listen) -> None:
    channel = opened(genesys, TOPIC)
    first = answering(listen(channel))
    second = answering(listen(channel))

    with pytest.raises(ConnectionClosed):
        heard(first)
    assert genesys.control.publish(TOPIC, EVENT) == 1
    assert heard(second)["eventBody"] == EVENT


def test_a_socket_of_an_unknown_channel_is_refused(genesys: Genesys, listen: Listen) -> None:
    channel = opened(genesys)

    with pytest.raises(InvalidStatus, match="404"):
        listen({"connectUri": channel["connectUri"] + "x"})


def test_subscriptions_are_replaced_added_listed_and_cleared(genesys: Genesys) -> None:
    address = f"{CHANNELS}/{opened(genesys, TOPIC)['id']}/subscriptions"

    def ids(method: str, *topics: str) -> list[str]:
        answer = genesys.call(method, address, [{"id": topic} for topic in topics] or None)
        return [topic["id"] for topic in answer.json()["entities"] if topic["state"] == "Permitted"]

    assert ids("GET") == [TOPIC]
    assert ids("POST", OTHER, TOPIC) == [TOPIC, OTHER]
    assert ids("PUT", OTHER) == [OTHER]
    assert genesys.call("DELETE", address).status_code == 204
    assert ids("GET") == []


@pytest.mark.parametrize(
    "topic",
    [
        "v2.detail.events.conversation.*.customer.end",
        "v2.detail.events.conversation.{id}.customer.end",
        "v2.detail.events.conversation..customer.end",
        "v2.unknown",
    ],
)
def test_an_unknown_topic_or_a_wildcard_is_refused_or_on_demand_rejected(genesys: Genesys, topic: str) -> None:
    address = f"{CHANNELS}/{opened(genesys)['id']}/subscriptions"
    body = [{"id": topic}, {"id": TOPIC}]

    refused = genesys.call("PUT", address, body)
    told = genesys.call("PUT", address, body, params={"ignoreErrors": "true"}).json()["entities"]

    assert refused.status_code == 400
    assert {one["id"]: one["state"] for one in told} == {topic: "Rejected", TOPIC: "Permitted"}
    assert [one["id"] for one in genesys.call("GET", address).json()["entities"]] == [TOPIC]


def test_a_topic_without_its_permission_is_refused_or_on_demand_rejected(make_genesys: Callable[..., Genesys]) -> None:
    genesys = make_genesys(client=OAuthClient(permissions=frozenset()))
    address = f"{CHANNELS}/{genesys.call('POST', CHANNELS).json()['id']}/subscriptions"

    refused = genesys.call("PUT", address, [{"id": TOPIC}])
    (told,) = genesys.call("PUT", f"{address}?ignoreErrors=true", [{"id": TOPIC}]).json()["entities"]

    assert (refused.status_code, refused.json()["code"]) == (403, "missing.permissions")
    assert refused.json()["messageParams"] == {"permissions": "analytics:conversationDetail:view"}
    assert told["missingPermissions"] == ["analytics:conversationDetail:view"]


@pytest.mark.parametrize("body", [{}, ["a"], [{"id": 5}], "a"])
def test_subscriptions_are_a_list_of_ids(genesys: Genesys, body: Any) -> None:
    assert genesys.call("PUT", f"{CHANNELS}/{opened(genesys)['id']}/subscriptions", body).status_code == 400


def test_a_channel_takes_a_thousand_topics_and_no_more(genesys: Genesys) -> None:
    address = f"{CHANNELS}/{opened(genesys)['id']}/subscriptions"
    topics = [{"id": f"v2.detail.events.conversation.c-{number}.acw"} for number in range(1001)]

    assert genesys.call("PUT", address, topics[:1000]).status_code == 200
    assert genesys.call("PUT", address, topics).status_code == 400
    assert genesys.call("POST", address, topics[1000:]).status_code == 400


def test_the_twenty_first_channel_closes_the_oldest_that_has_no_socket(genesys: Genesys, listen: Listen) -> None:
    made = [opened(genesys) for _ in range(20)]
    answering(listen(made[0]))

    last = genesys.call("POST", CHANNELS, data="null", headers={"Content-Type": "application/json"}).json()

    known = [channel["id"] for channel in genesys.call("GET", CHANNELS).json()["entities"]]
    assert known == [channel["id"] for channel in [made[0], *made[2:], last]]
    assert genesys.call("HEAD", f"{CHANNELS}/{made[0]['id']}").status_code == 200
    assert genesys.call("HEAD", f"{CHANNELS}/{made[1]['id']}").status_code == 404


def test_a_channel_lives_for_a_day_after_it_was_last_subscribed() -> None:
    time = datetime(2024, 1, 15, tzinfo=UTC)
    channels = Channels(now=lambda: time)
    try:
        used, unused = (channels.open("127.0.0.1")[0].id for _ in range(2))
        time += timedelta(hours=23)
        channels.subscribe(used, [TOPIC], keep=True)
        time += timedelta(hours=1)

        assert channels.topics(used) == [TOPIC]
        with pytest.raises(Problem, match="channel"):
            channels.topics(unused)
        assert [channel.id for channel in channels.all()[0]] == [used]
    finally:
        channels.stop()


def test_the_socket_of_a_channel_that_has_expired_is_closed(listen: Listen) -> None:
    time = datetime(2024, 1, 15, tzinfo=UTC)
    channels = Channels(now=lambda: time)
    try:
        channel, port = channels.open("127.0.0.1")
        socket = answering(listen({"connectUri": f"ws://127.0.0.1:{port}/channels/{channel.id}"}))
        time += timedelta(hours=24)
        channels.beat_every(None)

        with pytest.raises(ConnectionClosed):
            heard(socket)
    finally:
        channels.stop()


def test_the_topics_tell_on_demand_what_they_take_and_what_carries_them(genesys: Genesys) -> None:
    address = "/api/v2/notifications/availabletopics"
    expanded = genesys.call("GET", f"{address}?expand=transports,requiresPermissions").json()["entities"]
    topics = {topic["id"]: topic for topic in expanded}

    assert genesys.call("GET", address).json()["entities"] == [{"id": name} for name in topics]
    assert "ProcessAutomation" in topics["v2.detail.events.conversation.{id}.acw"]["transports"]
    assert "ProcessAutomation" not in topics["v2.detail.events.conversation.{id}.flow.end"]["transports"]
    assert topics["v2.users.{id}.conversations"]["requiresPermissions"] == ["conversation:communication:view"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", CHANNELS),
        ("GET", CHANNELS),
        ("HEAD", f"{CHANNELS}/c-1"),
        *[(method, f"{CHANNELS}/c-1/subscriptions") for method in ("GET", "PUT", "POST", "DELETE")],
        ("GET", "/api/v2/notifications/availabletopics"),
    ],
)
def test_every_call_needs_a_token(genesys: Genesys, method: str, path: str) -> None:
    assert genesys.session.request(method, genesys.url + path, json=[]).status_code == 401


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE"])
def test_subscriptions_of_an_unknown_channel_are_404(genesys: Genesys, method: str) -> None:
    assert genesys.call(method, f"{CHANNELS}/unknown/subscriptions", [{"id": TOPIC}]).status_code == 404


def test_without_the_package_channels_are_not_implemented_and_the_rest_works(
    genesys: Genesys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "crm_sync.sandbox.sockets", None)

    answer = genesys.call("POST", CHANNELS)

    assert answer.status_code == 501
    assert "crm-sync[notifications]" in answer.json()["message"]
    assert genesys.call("GET", CHANNELS).json() == {"entities": []}
    assert genesys.control.publish(TOPIC, EVENT) == 0


def test_a_heartbeat_that_makes_no_sense_is_refused(genesys: Genesys) -> None:
    with pytest.raises(requests.HTTPError, match="400"):
        genesys.control.set_heartbeat(0)
