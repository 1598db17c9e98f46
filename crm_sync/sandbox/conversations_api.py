"""The conversation calls of the pretend Genesys Cloud: start, count, and evaluate a message."""

from collections.abc import Callable
from datetime import datetime

from flask import Blueprint, Response, jsonify, request

from crm_sync.sandbox.bodies import json_body
from crm_sync.sandbox.conversations import Conversations
from crm_sync.sandbox.evaluation import evaluate
from crm_sync.sandbox.oauth import Tokens
from crm_sync.sandbox.problems import Problem


def blueprint(conversations: Conversations, tokens: Tokens, *, now: Callable[[], datetime]) -> Blueprint:
    """Return the routes under `/api/v2/conversations`."""
    api = Blueprint("conversations", __name__, url_prefix="/api/v2/conversations")
    api.before_request(tokens.guard("conversations:write"))

    @api.post("")
    def start() -> tuple[Response, int]:
        return jsonify(conversations.start(json_body(), at=now()).as_object()), 201

    @api.get("")
    def select() -> Response:
        state = request.args.get("state")
        if state not in (None, "active", "closed"):
            raise Problem(400, "The state must be active or closed.", code="invalid.value", params={"field": "state"})
        found = conversations.select(bot_id=request.args.get("to.id"), state=state)
        return jsonify(entities=[conversation.as_object() for conversation in found], total=len(found))

    @api.post("/message/evaluate")
    def evaluate_message() -> Response:
        body = json_body()
        for name in ("text", "botId"):
            if not isinstance(body.get(name), str) or not body[name].strip():
                raise Problem(400, f"The field {name} must be a text.", params={"field": name})
        thought = evaluate(body["text"])
        return jsonify(intentConfidence=thought.confidence, sentimentScore=thought.sentiment, intentName=thought.intent)

    return api
