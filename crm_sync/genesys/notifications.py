"""The notification channel of the platform: made and subscribed by the API, heard on a WebSocket. It keeps nothing.

What happens while no socket is connected is neither queued nor repeated: whoever listens asks analytics afterwards.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from urllib.parse import quote, urlsplit

import structlog

from crm_sync.errors import Fault, Kind, SetupError, failure
from crm_sync.genesys.client import GenesysClient, encode, not_understood

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

MOST_TOPICS = 1000
"""As many as one channel takes."""

SILENCE_SECONDS = 35.0
"""A heartbeat comes every 30 s: a channel that says nothing for so long is dead."""

MOST_MESSAGE_BYTES = 4 * 1024 * 1024

KINDS = ("customer.start", "customer.end", "user.end", "acd.end", "acw", "attributes", "flow.end", "flow.outcome")
"""What is followed of a conversation that we know."""

Message: TypeAlias = tuple[Literal["event", "heartbeat", "closing", "silence"], bytes]

_CHANNELS = "/api/v2/notifications/channels"
_PING = encode({"message": "ping"}).decode()

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """A channel, which lasts for 24 hours, and where its socket is."""

    id: str
    connect_uri: str


def topics_of(conversation_id: str) -> list[str]:
    """Return the topics that tell of one conversation; there is no topic for all conversations."""
    return [f"v2.detail.events.conversation.{conversation_id}.{kind}" for kind in KINDS]


def topic_of_queue(queue_id: str) -> str:
    """Return the topic that tells of all conversations of a queue, each as a whole object."""
    return f"v2.routing.queues.{queue_id}.conversations"


def create(client: GenesysClient) -> Channel:
    """Make a channel. One that is not used is evicted by itself."""
    match client.request("POST", _CHANNELS).json():
        case {"id": str(channel_id), "connectUri": str(uri)} if urlsplit(uri).scheme in ("ws", "wss"):
            return Channel(id=channel_id, connect_uri=uri)
    raise not_understood("the request for a notification channel")


def subscribe(client: GenesysClient, channel: Channel, topics: Sequence[str]) -> list[str]:
    """Have the channel follow these topics and no others, and return those that are refused to us."""
    answer = client.request(
        "PUT",
        f"{_CHANNELS}/{quote(channel.id, safe='')}/subscriptions",
        json=[{"id": topic} for topic in topics],
        params={"ignoreErrors": "true"},
    ).json()
    entities = answer.get("entities") if isinstance(answer, dict) else None
    if not isinstance(entities, list):
        raise not_understood("the subscriptions of a notification channel")
    return [str(one.get("id")) for one in entities if isinstance(one, dict) and one.get("state") == "Rejected"]


@contextmanager
def connected(channel: Channel) -> "Iterator[ClientConnection]":
    """Connect the channel's socket; raises AdapterFailure when that fails, or when it is lost while it is used."""
    try:
        from websockets.exceptions import WebSocketException
        from websockets.sync.client import connect
    except ImportError:
        raise SetupError("The notifications need the package websockets: install crm-sync[notifications].") from None
    try:
        # Its own pings are off: Genesys Cloud has heartbeats, and answers pings that are messages.
        with connect(
            channel.connect_uri, open_timeout=10, close_timeout=2, max_size=MOST_MESSAGE_BYTES, ping_interval=None,
            proxy=None,
        ) as connection:  # fmt: skip
            yield connection
            return
    except (WebSocketException, OSError) as error:
        reason = type(error).__name__
    message = f"The notification channel was lost ({reason}): it is connected again, and analytics asked for the gap."
    raise failure(Fault(kind=Kind.RETRYABLE, code="channel_lost", message=message))


def hear(connection: "ClientConnection", seconds: float) -> Message:
    """Return the next message within so many seconds: an event as it came, or what it says about the channel itself."""
    try:
        raw = connection.recv(seconds, decode=False)
    except TimeoutError:
        return "silence", b""
    body = raw if isinstance(raw, bytes) else raw.encode()
    try:
        message: Any = json.loads(body)
    except ValueError:
        return "event", body
    topic = message.get("topicName") if isinstance(message, dict) else None
    if topic == "channel.metadata":
        return "heartbeat", b""
    return ("closing", b"") if topic == "v2.system.socket_closing" else ("event", body)


def ping(connection: "ClientConnection") -> None:
    """Ask the channel for a sign of life, which comes as a heartbeat."""
    connection.send(_PING)


def is_of_interest(body: bytes) -> bool:
    """Tell whether a message is worth keeping: of a whole conversation only one in which everybody has gone.

    A queue's topic repeats the whole object with each small change.
    """
    try:
        message: Any = json.loads(body)
    except ValueError:
        return True
    match message:
        case {"eventBody": {"participants": list(participants)}}:
            return bool(participants) and all(isinstance(one, dict) and one.get("endTime") for one in participants)
    return True
