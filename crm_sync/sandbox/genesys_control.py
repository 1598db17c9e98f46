"""The control API of the pretend Genesys Cloud: make faults, end conversations, read the truth."""

from dataclasses import replace
from itertools import cycle
from typing import Annotated

from flask import Blueprint, Response, jsonify
from pydantic import AwareDatetime, Field

from crm_sync.sandbox.bodies import order_body
from crm_sync.sandbox.conversations import Conversation
from crm_sync.sandbox.faults import Order
from crm_sync.sandbox.genesys_state import GenesysFault, GenesysState
from crm_sync.sandbox.poster import Manner, Wrapper
from crm_sync.sandbox.wire import JSONObject


class Posting(Order):
    """How this one end is told, where it differs from the options; with `post` false it is never told."""

    post: bool = True
    repeat: Annotated[int, Field(ge=1)] | None = None
    shuffle: bool | None = None
    wrapper: Wrapper | None = None

    def applied_to(self, manner: Manner) -> Manner:
        given = {"repeat": self.repeat, "shuffle": self.shuffle, "wrapper": self.wrapper}
        return replace(manner, **{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]


class End(Posting):
    """The end of one conversation, now unless `endTime` says when."""

    resolution_status: str | None = Field(default="resolved", alias="resolutionStatus")
    end_time: AwareDatetime | None = Field(default=None, alias="endTime")


class EndMany(Posting):
    """The end of the oldest `count` active conversations, or of all, with these statuses in turn."""

    count: Annotated[int, Field(ge=0)] | None = None
    resolution_statuses: tuple[str | None, ...] = Field(default=("resolved",), min_length=1, alias="resolutionStatuses")


def blueprint(state: GenesysState) -> Blueprint:
    """Return the routes under `/sandbox/`, which ask for no token."""
    control = Blueprint("control", __name__, url_prefix="/sandbox")
    _add_conversations(control, state)
    _add_faults(control, state)

    @control.get("/webhooks")
    def webhooks() -> Response:
        return jsonify(webhooks=[webhook.as_object() for webhook in state.webhooks.all()])

    @control.get("/requests")
    def requests() -> Response:
        return jsonify(requests=state.traffic.as_objects())

    @control.post("/tokens/expire")
    def expire() -> Response:
        return jsonify(expired=state.tokens.expire())

    return control


def _add_conversations(control: Blueprint, state: GenesysState) -> None:
    @control.get("/conversations")
    def conversations() -> Response:
        posts = state.poster.posts()
        told = [_told(one, posts.get(one.id, [])) for one in state.conversations.select()]
        return jsonify(conversations=told, total=len(told))

    @control.get("/conversations/<conversation_id>")
    def conversation(conversation_id: str) -> Response:
        return jsonify(_told(state.conversations.get(conversation_id), state.poster.posts_of(conversation_id)))

    @control.get("/posts")
    def posts() -> Response:
        return jsonify(state.poster.counts())

    @control.post("/conversations/<conversation_id>/end")
    def end(conversation_id: str) -> Response:
        order = order_body(End)
        ended = state.conversations.end(
            conversation_id, at=order.end_time or state.now(), resolution_status=order.resolution_status
        )
        _tell(state, ended, order)
        return jsonify(ended.as_object())

    @control.post("/conversations/end_many")
    def end_many() -> Response:
        order = order_body(EndMany)
        active = state.conversations.select(state="active")[: order.count]
        ended = [
            state.conversations.end(one.id, at=state.now(), resolution_status=status)
            for one, status in zip(active, cycle(order.resolution_statuses), strict=False)
        ]
        for one in ended:
            _tell(state, one, order)
        return jsonify(ended=[one.id for one in ended])


def _add_faults(control: Blueprint, state: GenesysState) -> None:
    @control.get("/faults")
    def waiting() -> Response:
        return jsonify(faults=state.faults.waiting())

    @control.post("/faults")
    def add() -> tuple[Response, int]:
        state.faults.add(order_body(GenesysFault))
        return waiting(), 201

    @control.delete("/faults")
    def clear() -> tuple[str, int]:
        state.faults.clear()
        return "", 204


def _tell(state: GenesysState, ended: Conversation, order: Posting) -> None:
    if order.post:
        state.poster.send(ended.as_object(), order.applied_to(state.options.manner))


def _told(conversation: Conversation, posts: list[JSONObject]) -> JSONObject:
    statuses = [attempt["status"] for post in posts for attempt in post["attempts"]]
    return conversation.as_object() | {"posts": posts, "statuses": statuses, "posted": len(statuses)}
