"""The notification calls of the pretend Genesys Cloud: channels, what they are subscribed to, and all topics."""

from urllib.parse import urlsplit

from flask import Blueprint, Response, jsonify, request

from crm_sync import clock
from crm_sync.sandbox.bodies import at, json_value
from crm_sync.sandbox.channels import Channel, Channels
from crm_sync.sandbox.oauth import Tokens
from crm_sync.sandbox.paging import asked_ids
from crm_sync.sandbox.problems import Problem
from crm_sync.sandbox.topics import CHANNEL_TOPICS, TRIGGER_TOPICS, template_of
from crm_sync.sandbox.wire import JSONObject


def blueprint(channels: Channels, tokens: Tokens) -> Blueprint:
    """Return the routes under `/api/v2/notifications`. Only topics need a permission; channels need none."""
    api = Blueprint("channels", __name__, url_prefix="/api/v2/notifications")
    api.before_request(lambda: tokens.require())
    _add_subscriptions(api, channels, tokens)

    @api.post("/channels")
    def create() -> Response:
        channel, port = channels.open(request.environ["SERVER_NAME"])
        return jsonify(_told(channel, port))

    @api.get("/channels")
    def select() -> Response:
        known, port = channels.all()
        return jsonify(entities=[_told(channel, port) for channel in known])

    @api.route("/channels/<channel_id>", methods=["HEAD"])
    def exists(channel_id: str) -> Response:
        channels.topics(channel_id)
        return Response(status=200)

    @api.get("/availabletopics")
    def topics() -> Response:
        expanded = asked_ids("expand")
        return jsonify(entities=[_topic(template, expanded) for template in CHANNEL_TOPICS])

    return api


def _add_subscriptions(api: Blueprint, channels: Channels, tokens: Tokens) -> None:
    address = "/channels/<channel_id>/subscriptions"

    @api.get(address)
    def subscriptions(channel_id: str) -> Response:
        return jsonify(entities=[_permitted(topic) for topic in channels.topics(channel_id)])

    @api.put(address)
    def replace(channel_id: str) -> Response:
        return _subscribe(channel_id, keep=False)

    @api.post(address)
    def add(channel_id: str) -> Response:
        return _subscribe(channel_id, keep=True)

    @api.delete(address)
    def clear(channel_id: str) -> tuple[str, int]:
        channels.subscribe(channel_id, [], keep=False)
        return "", 204

    def _subscribe(channel_id: str, *, keep: bool) -> Response:
        channels.topics(channel_id)
        wanted = _wanted()
        rejected = {topic: reason for topic in wanted if (reason := _rejection(topic, tokens))}
        if rejected and request.args.get("ignoreErrors") != "true":
            raise _refusal(rejected)
        all_of_it = channels.subscribe(channel_id, [topic for topic in wanted if topic not in rejected], keep=keep)
        entities = [_permitted(topic) for topic in all_of_it]
        return jsonify(entities=entities + [{"id": topic} | reason for topic, reason in rejected.items()])


def _told(channel: Channel, port: int) -> JSONObject:
    host = urlsplit(request.host_url).hostname or ""
    where = f"[{host}]" if ":" in host else host
    address = f"ws://{where}:{port}/channels/{channel.id}"
    return {"id": channel.id, "connectUri": address, "expires": clock.to_text(channel.expires_at)}


def _wanted() -> list[str]:
    body = json_value()
    if not isinstance(body, list) or not all(isinstance(at(one, "id"), str) for one in body):
        raise Problem(400, "The body must be a list of topics, each with its id.")
    return [one["id"] for one in body]


def _rejection(topic: str, tokens: Tokens) -> JSONObject | None:
    template = template_of(topic, CHANNEL_TOPICS)
    if template is None:
        return {"state": "Rejected", "rejectionReason": "There is no such topic."}
    permission = CHANNEL_TOPICS[template]
    if tokens.has(permission):
        return None
    reason = "The OAuth client lacks a permission."
    return {"state": "Rejected", "rejectionReason": reason, "missingPermissions": [permission]}


def _refusal(rejected: dict[str, JSONObject]) -> Problem:
    topic, reason = next(iter(rejected.items()))
    if "missingPermissions" in reason:
        lacking = ", ".join(reason["missingPermissions"])
        return Problem(403, f"The OAuth client lacks {lacking}.", params={"permissions": lacking})
    return Problem(400, f"There is no topic {topic}.", params={"topic": topic})


def _permitted(topic: str) -> JSONObject:
    return {"id": topic, "state": "Permitted", "selfUri": f"/api/v2/notifications/availabletopics/{topic}"}


def _topic(template: str, expanded: list[str]) -> JSONObject:
    transports = ["Websocket", "EventBridge", *(["ProcessAutomation"] if template in TRIGGER_TOPICS else [])]
    more = {"transports": transports, "requiresPermissions": [CHANNEL_TOPICS[template]]}
    return {"id": template} | {name: value for name, value in more.items() if name in expanded}
