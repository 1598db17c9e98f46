"""Believable conversations of the platform, by the dozen: the same seed tells the same stories."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from crm_sync import clock
from crm_sync.sandbox.platform_conversations import Channel, PlatformConversation
from crm_sync.sandbox.scripts import Script

MEDIA: Final = ("voice", "chat", "email", "message", "callback")
LONGEST = timedelta(hours=1)
"""No story takes longer, so what begins an hour ago has ended, unless it is one that goes on."""

_WITH_BOT = ("voice", "chat", "email", "message")
_TIMED_OUT = {"chat": "timeout", "message": "session_expired"}


@dataclass(frozen=True, slots=True)
class Story:
    """How one goes, in which media it can happen, and how often it does beside the others."""

    tell: Callable[[Script], PlatformConversation]
    media: tuple[str, ...] = MEDIA
    weight: int = 1


def generate(
    seed: int | str,
    count: int,
    *,
    since: datetime,
    until: datetime,
    media: Sequence[str] = MEDIA,
    stories: Sequence[str] | None = None,
) -> Iterator[PlatformConversation]:
    """Yield conversations that begin after `since`, and at least an hour before `until` where the window allows it.

    Without `stories` all are told but those of weight 0. Raises ValueError when no story fits the media.
    """
    chance = random.Random(seed)
    names = [name for name, story in STORIES.items() if (name in stories if stories is not None else story.weight)]
    fitting = {one: [name for name in names if one in STORIES[name].media] for one in media}
    media = [one for one in media if fitting[one]]
    if not media:
        raise ValueError("No story fits these media.")
    window = max(0, clock.to_ms(until - LONGEST) - clock.to_ms(since))
    for _ in range(count):
        one = chance.choice(media)
        weights = [max(1, STORIES[name].weight) for name in fitting[one]]
        (name,) = chance.choices(fitting[one], weights)
        started_at = clock.from_ms(clock.to_ms(since) + chance.randint(0, window))
        yield STORIES[name].tell(Script(chance=chance, channel=_channel(one, chance), at=started_at))


def _bot_success(script: Script) -> PlatformConversation:
    customer = script.customer_comes()
    script.bot("DISCONNECT", disconnect="peer", outcome="SUCCESS")
    script.leave(customer, _hung_up(script))
    return script.conversation("bot_success", self_served=True)


def _bot_failure_then_agent(script: Script) -> PlatformConversation:
    customer = script.customer_comes()
    script.bot("TRANSFER", disconnect="transfer", outcome="FAILURE", transfer="ACD")
    queue = script.queue()
    agent = script.alert(queue)
    script.answer(queue, agent)
    script.leave(customer, _hung_up(script))
    script.wrap_up(agent, "peer")
    return script.conversation("bot_failure_then_agent")


def _bot_error(script: Script) -> PlatformConversation:
    customer = script.customer_comes()
    script.bot("FLOW_ERROR_DISCONNECT", disconnect="error")
    script.leave(customer, "error")
    return script.conversation("bot_error")


def _agent(script: Script) -> PlatformConversation:
    customer = script.customer_comes()
    queue = script.queue()
    agent = script.alert(queue)
    script.answer(queue, agent)
    # The agent hangs up, so the customer's leg ends with `peer`.
    script.leave(customer, "peer")
    script.wrap_up(agent, "client")
    return script.conversation("agent")


def _agent_without_code(script: Script) -> PlatformConversation:
    customer = script.customer_comes()
    script.bot("TRANSFER", disconnect="transfer", transfer="ACD")
    queue = script.queue()
    agent = script.alert(queue)
    script.answer(queue, agent)
    script.leave(customer, _hung_up(script))
    script.leave(agent, "peer")
    return script.conversation("agent_without_code")


def _unanswered_alert(script: Script) -> PlatformConversation:
    customer = script.customer_comes()
    queue = script.queue()
    absent = script.alert(queue)
    script.miss(absent)
    script.wait(1, 20)
    agent = script.alert(queue, other_than=absent)
    script.answer(queue, agent)
    script.leave(customer, _hung_up(script))
    script.wrap_up(agent, "peer")
    return script.conversation("unanswered_alert")


def _transfer(script: Script) -> PlatformConversation:
    customer = script.customer_comes()
    queue = script.queue()
    first = script.alert(queue)
    script.answer(queue, first)
    script.wrap_up(first, "transfer")
    queue = script.queue()
    second = script.alert(queue, other_than=first)
    script.answer(queue, second)
    script.leave(customer, _hung_up(script))
    script.wrap_up(second, "peer")
    return script.conversation("transfer")


def _abandoned(script: Script) -> PlatformConversation:
    customer = script.customer_comes()
    queue = script.queue()
    script.leave(customer, _hung_up(script))
    script.leave(queue, "peer")
    return script.conversation("abandoned")


def _timed_out(script: Script) -> PlatformConversation:
    customer = script.customer_comes()
    script.bot("SESSION_EXPIRE_DISCONNECT", disconnect="system")
    script.leave(customer, _TIMED_OUT[script.channel.media])
    return script.conversation("timed_out")


def _connection_lost(script: Script) -> PlatformConversation:
    customer = script.customer_comes()
    queue = script.queue()
    agent = script.alert(queue)
    script.answer(queue, agent)
    script.leave(customer, "transport_failure")
    script.leave(agent, "peer")
    return script.conversation("connection_lost")


def _reopened(script: Script) -> PlatformConversation:
    customer = script.customer_comes()
    queue = script.queue()
    first = script.alert(queue)
    script.answer(queue, first)
    script.leave(customer, _hung_up(script))
    script.wrap_up(first, "peer")
    script.wait(120, 900)
    customer = script.customer_comes(again=customer)
    queue = script.queue()
    second = script.alert(queue)
    script.answer(queue, second)
    script.leave(customer, _hung_up(script))
    script.wrap_up(second, "peer")
    return script.conversation("reopened")


def _late_wrapup(script: Script) -> PlatformConversation:
    customer = script.customer_comes()
    queue = script.queue()
    agent = script.alert(queue)
    script.answer(queue, agent)
    script.leave(customer, _hung_up(script))
    script.wrap_up(agent, "peer", late=True)
    return script.conversation("late_wrapup")


def _told_by_attribute(script: Script) -> PlatformConversation:
    customer = script.customer_comes()
    queue = script.queue()
    agent = script.alert(queue)
    script.answer(queue, agent)
    script.note(customer, {"resolutionStatus": "resolved"})
    script.wait(1, 5)
    script.leave(customer, _hung_up(script))
    script.leave(agent, "peer")
    return script.conversation("told_by_attribute")


def _going_on(script: Script) -> PlatformConversation:
    script.customer_comes()
    queue = script.queue()
    agent = script.alert(queue)
    script.answer(queue, agent)
    return script.conversation("going_on")


STORIES = {
    "bot_success": Story(_bot_success, _WITH_BOT, 4),
    "bot_failure_then_agent": Story(_bot_failure_then_agent, _WITH_BOT, 3),
    "bot_error": Story(_bot_error, _WITH_BOT),
    "agent": Story(_agent, MEDIA, 4),
    "agent_without_code": Story(_agent_without_code, _WITH_BOT),
    # A chat has no such disconnect in the conversation object.
    "unanswered_alert": Story(_unanswered_alert, ("voice", "email", "message", "callback")),
    "transfer": Story(_transfer, MEDIA, 2),
    "abandoned": Story(_abandoned, MEDIA, 2),
    "timed_out": Story(_timed_out, tuple(_TIMED_OUT)),
    "connection_lost": Story(_connection_lost, ("voice",)),
    "reopened": Story(_reopened, ("message",), 2),
    "late_wrapup": Story(_late_wrapup),
    # Queries leave attributes out, so whoever missed the events learns of this one by a job alone.
    "told_by_attribute": Story(_told_by_attribute, MEDIA, 0),
    "going_on": Story(_going_on, MEDIA, 0),
}
"""By name. Those of weight 0 are told only when they are asked for."""


def _hung_up(script: Script) -> str:
    return "endpoint" if script.channel.media == "voice" else "client"


def _channel(media: str, chance: random.Random) -> Channel:
    number = f"tel:+1317555{chance.randint(0, 9999):04d}"
    person = f"customer-{chance.randint(1, 99_999)}"
    match media:
        case "voice":
            return Channel(media=media, provider="Edge", sender=number, recipient="tel:+13175550199")
        case "email":
            return Channel(
                media=media,
                provider="PureCloud Email",
                sender=f"{person}@example.com",
                recipient="support@example.com",
                subject="My order",
            )
        case "message":
            kind = chance.choice(("open", "webmessaging", "whatsapp", "sms"))
            return Channel(
                media=media,
                provider="PureCloud Messaging",
                message_type=kind,
                sender=number.removeprefix("tel:") if kind in ("sms", "whatsapp") else person,
                recipient="open-integration-id",
            )
        case "callback":
            return Channel(
                media=media,
                provider="PureCloud Callback",
                callback_name="Ann Example",
                callback_numbers=(number.removeprefix("tel:"),),
            )
        case _:
            return Channel(media=media, provider="PureCloud Webchat v2")
