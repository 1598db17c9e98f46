"""Language understanding in the pretend Genesys Cloud: the intents of a text, by the same table as the evaluation."""

import re

from flask import Blueprint, Response, jsonify

from crm_sync.sandbox.bodies import at, json_body
from crm_sync.sandbox.evaluation import evaluate
from crm_sync.sandbox.oauth import Tokens
from crm_sync.sandbox.problems import bad_field

PERMISSIONS = ("languageUnderstanding:nluDomainVersion:view", "dialog:botVersion:view")


def blueprint(tokens: Tokens) -> Blueprint:
    """Return `detect`. Gibberish has no intent at all; what is only not understood has a weak one."""
    api = Blueprint("understanding", __name__, url_prefix="/api/v2/languageunderstanding/domains")

    @api.post("/<domain_id>/versions/<version_id>/detect")
    def detect(domain_id: str, version_id: str) -> Response:
        tokens.require(*PERMISSIONS)
        body = json_body()
        text, language = at(body, "input", "text"), at(body, "input", "language") or "en-us"
        if not isinstance(text, str):
            raise bad_field("input.text", "must be a text")
        address = f"/api/v2/languageunderstanding/domains/{domain_id}/versions/{version_id}"
        return jsonify(
            version={"id": version_id, "language": language, "selfUri": address},
            input={"text": text, "language": language},
            output={"intents": _intents(text), "dialogActs": []},
        )

    return api


def _intents(text: str) -> list[dict[str, object]]:
    words = re.findall(r"\w+", text.casefold())
    if not words or "gibberish" in words:
        return []
    thought = evaluate(text)
    return [{"name": thought.intent, "probability": thought.confidence, "entities": []}]
