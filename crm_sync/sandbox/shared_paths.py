"""The two paths that the tutorial and the real platform share: whose call it is shows in the id or the body."""

from flask import Blueprint, Response, jsonify, request

from crm_sync.sandbox import analytics
from crm_sync.sandbox.bodies import json_body
from crm_sync.sandbox.conversation_objects import object_of
from crm_sync.sandbox.genesys_state import GenesysState
from crm_sync.sandbox.platform_api import DETAILS


def blueprint(state: GenesysState) -> Blueprint:
    """Return `GET conversations/{id}` and the details query: `interval` in its body makes it the platform's."""
    shared = Blueprint("shared", __name__, url_prefix="/api/v2")
    may_read = state.tokens.guard("conversations:write")
    may_query = state.tokens.guard("analytics:conversation:view")

    @shared.get("/conversations/<conversation_id>")
    def show(conversation_id: str) -> Response:
        found = state.platform.conversations.find(conversation_id)
        if found is None:
            may_read()
            return jsonify(state.conversations.get(conversation_id).as_object())
        state.tokens.require("conversation:communication:view")
        return jsonify(object_of(found))

    @shared.post("/analytics/conversations/details/query")
    def query() -> Response:
        sent = request.get_json(silent=True)
        if isinstance(sent, dict) and "interval" in sent:
            state.tokens.require(DETAILS)
            return jsonify(state.platform.queries.answer(json_body()))
        may_query()
        return jsonify(analytics.answer(state.conversations, json_body(), page_size=state.options.page_size))

    return shared
