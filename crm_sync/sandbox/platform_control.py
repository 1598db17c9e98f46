"""The control API of the platform's conversations: let some happen, tell of them, and read the truth about all."""

import random
from datetime import timedelta
from typing import Annotated, Literal

from flask import Blueprint, Response, jsonify
from pydantic import AwareDatetime, Field

from crm_sync import clock
from crm_sync.sandbox.bodies import order_body
from crm_sync.sandbox.expectations import expected_resolution, newest_wrapup
from crm_sync.sandbox.faults import Order
from crm_sync.sandbox.listeners import Listener
from crm_sync.sandbox.moods import Moods
from crm_sync.sandbox.platform import Platform
from crm_sync.sandbox.platform_conversations import PlatformConversation
from crm_sync.sandbox.platform_world import WRAPUP_CODES
from crm_sync.sandbox.problems import Problem
from crm_sync.sandbox.stories import MEDIA, generate
from crm_sync.sandbox.telling import Telling
from crm_sync.sandbox.wire import JSONObject, instant_text


class Play(Order):
    """So many conversations, by default of the last day and with a seed of their own.

    The same seed in the same window makes the same conversations, in the place of those that are there.
    """

    count: Annotated[int, Field(ge=1, le=100_000)] = 1
    seed: int | None = None
    media: tuple[Literal["voice", "chat", "email", "message", "callback"], ...] = MEDIA
    stories: tuple[str, ...] | None = None
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    tell: bool = True


def blueprint(platform: Platform) -> Blueprint:
    """Return the routes under `/sandbox/` for conversations, listeners and moods, which ask for no token."""
    control = Blueprint("platform_control", __name__, url_prefix="/sandbox")
    _add_conversations(control, platform)
    _add_listeners(control, platform)

    @control.get("/moods")
    def moods() -> Response:
        return jsonify(platform.temper.moods.model_dump())

    @control.put("/moods")
    def behave() -> Response:
        platform.temper.behave(order_body(Moods))
        return moods()

    return control


def _add_conversations(control: Blueprint, platform: Platform) -> None:
    @control.post("/platform/play")
    def play() -> tuple[Response, int]:
        order = order_body(Play)
        seed = random.randrange(1 << 31) if order.seed is None else order.seed
        played = _played(order, seed, platform)
        platform.conversations.add(played)
        if order.tell:
            for one in played:
                platform.teller.tell(one)
        truth = [_truth(one, platform.teller.telling_of(one.id)) for one in played]
        return jsonify(seed=seed, conversations=truth, total=len(truth)), 201

    @control.get("/platform/conversations")
    def conversations() -> Response:
        truth = [_truth(one, platform.teller.telling_of(one.id)) for one in platform.conversations.all()]
        return jsonify(conversations=truth, total=len(truth))


def _add_listeners(control: Blueprint, platform: Platform) -> None:
    @control.get("/listeners")
    def listeners() -> Response:
        return jsonify(listeners=[one.as_object() for one in platform.listeners.all()])

    @control.post("/listeners")
    def put() -> tuple[Response, int]:
        platform.listeners.put(order_body(Listener))
        return listeners(), 201

    @control.delete("/listeners")
    def clear() -> tuple[str, int]:
        platform.listeners.clear()
        return "", 204


def _played(order: Play, seed: int, platform: Platform) -> list[PlatformConversation]:
    until = order.until or platform.now()
    since = order.since or until - timedelta(days=1)
    if since > until:
        raise Problem(400, "The field since must not lie after until.")
    try:
        stories = generate(seed, order.count, since=since, until=until, media=order.media, stories=order.stories)
        return list(stories)
    except ValueError as error:
        raise Problem(400, str(error)) from None


def _truth(conversation: PlatformConversation, telling: Telling) -> JSONObject:
    wrapup = newest_wrapup(conversation)
    code = wrapup.wrapup_code if wrapup else None
    return {
        "id": conversation.id,
        "story": conversation.story,
        "media": conversation.channel.media,
        "started_at": clock.to_text(conversation.started_at),
        "customer_left_at": instant_text(conversation.customer_left_at),
        "ended_at": instant_text(conversation.ended_at),
        "closed": conversation.customer_left_at is not None,
        "resolution": expected_resolution(conversation),
        "wrapup_code": code,
        "wrapup": WRAPUP_CODES.get(code or ""),
        "wrapup_note": wrapup.wrapup_note if wrapup else None,
        "posts": telling.posts,
        "lost": telling.lost,
    }
