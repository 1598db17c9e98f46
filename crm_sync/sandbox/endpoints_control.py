"""The control API of the real platform's calls: add to the organisation, and read what happened."""

from typing import Annotated, Any

from flask import Blueprint, Response, jsonify
from pydantic import Field

from crm_sync.sandbox.bodies import order_body
from crm_sync.sandbox.channels import BEAT_SECONDS
from crm_sync.sandbox.directory import Entry, Flow, Outcome, Queue, WrapupCode
from crm_sync.sandbox.faults import Order
from crm_sync.sandbox.genesys_state import GenesysState
from crm_sync.sandbox.problems import Problem
from crm_sync.sandbox.triggers import TriggerRules

_KINDS: dict[str, type[Entry]] = {"flows": Flow, "outcomes": Outcome, "queues": Queue, "wrapupcodes": WrapupCode}


class Publication(Order):
    """An event that the channels which are subscribed to its topic shall hear of."""

    topic: str
    event_body: dict[str, Any] = Field(alias="eventBody")


class Permissions(Order):
    """What the OAuth client may do on the real platform's calls; null is everything."""

    permissions: frozenset[str] | None = None


class Heartbeat(Order):
    """How often sockets are told that they live; null is never."""

    seconds: Annotated[float, Field(gt=0)] | None = BEAT_SECONDS


def blueprint(state: GenesysState) -> Blueprint:
    """Return the routes under `/sandbox/platform/`, which ask for no token."""
    control = Blueprint("endpoints_control", __name__, url_prefix="/sandbox/platform")

    @control.post("/directory/<kind>")
    def add_entry(kind: str) -> tuple[Response, int]:
        if kind not in _KINDS:
            raise Problem(404, f"There are only {', '.join(_KINDS)}.")
        entry = order_body(_KINDS[kind])
        state.directory.put(entry)
        return jsonify(entry.as_object()), 201

    @control.put("/permissions")
    def set_permissions() -> Response:
        state.tokens.permissions = order_body(Permissions).permissions
        return jsonify(permissions=None if state.tokens.permissions is None else sorted(state.tokens.permissions))

    @control.put("/triggers/rules")
    def set_trigger_rules() -> Response:
        state.triggers.rules = order_body(TriggerRules)
        return jsonify(state.triggers.rules.model_dump(by_alias=True))

    @control.get("/sessions")
    def sessions() -> Response:
        return jsonify(sessions=state.bot_flows.as_objects())

    @control.get("/callbacks")
    def callbacks() -> Response:
        return jsonify(state.callbacks.as_object())

    _add_channels(control, state)
    return control


def _add_channels(control: Blueprint, state: GenesysState) -> None:
    @control.post("/channels/publish")
    def publish() -> Response:
        order = order_body(Publication)
        return jsonify(heard=state.channels.publish(order.topic, order.event_body))

    @control.post("/channels/announce_closing")
    def announce_closing() -> Response:
        return jsonify(told=state.channels.announce_closing())

    @control.post("/channels/drop")
    def drop() -> Response:
        return jsonify(dropped=state.channels.drop())

    @control.put("/channels/heartbeat")
    def set_heartbeat() -> Response:
        order = order_body(Heartbeat)
        state.channels.beat_every(order.seconds)
        return jsonify(seconds=order.seconds)
