"""People as fallback in the pretend Genesys Cloud: callbacks, transfers to a queue, attributes of a participant."""

import threading
import uuid
from typing import Any

from flask import Blueprint, Response, jsonify

from crm_sync.sandbox.bodies import at, json_body
from crm_sync.sandbox.directory import Directory, Queue
from crm_sync.sandbox.oauth import Tokens
from crm_sync.sandbox.problems import bad_field
from crm_sync.sandbox.wire import JSONObject, read_instant

CREATE = "conversation:callback:create"
TRANSFER = ("conversation:communication:blindTransfer", "conversation:communication:blindTransferQueue")


class Callbacks:
    """What was asked for, in that order; nobody calls back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._told: dict[str, list[JSONObject]] = {"callbacks": [], "transfers": [], "attributes": []}

    def note(self, kind: str, what: JSONObject) -> None:
        with self._lock:
            self._told[kind].append(what)

    def as_object(self) -> JSONObject:
        with self._lock:
            return {kind: list(what) for kind, what in self._told.items()}


def blueprint(callbacks: Callbacks, directory: Directory, tokens: Tokens) -> Blueprint:
    """Return the routes under `/api/v2/conversations` that hand a conversation to people."""
    api = Blueprint("callbacks", __name__, url_prefix="/api/v2/conversations")
    # Any conversation will do: whether there is one, and for how long, is not known here.
    participant = "/<conversation_id>/participants/<participant_id>"

    @api.post("/callbacks")
    def create() -> Response:
        tokens.require(CREATE)
        body = json_body()
        _check_callback(body, directory)
        conversation_id, callback_id = str(uuid.uuid4()), str(uuid.uuid4())
        callbacks.note("callbacks", {"conversationId": conversation_id, "callbackId": callback_id, "asked": body})
        return jsonify(
            conversation={"id": conversation_id, "selfUri": f"/api/v2/conversations/{conversation_id}"},
            callbackIdentifiers=[{"type": "ACD", "id": callback_id}],
        )

    @api.post(f"{participant}/replace/queue")
    def transfer(conversation_id: str, participant_id: str) -> tuple[str, int]:
        tokens.require(*TRANSFER)
        body = json_body()
        if body.get("transferType", "Unattended") not in ("Attended", "Unattended"):
            raise bad_field("transferType", "must be Attended or Unattended")
        named = [queue for queue in directory.all(Queue) if queue.name == body.get("queueName")]
        if directory.find(Queue, body.get("queueId")) is None and not named:
            raise bad_field("queueId", "must be the id of a queue, where queueName is not the name of one")
        callbacks.note("transfers", {"conversationId": conversation_id, "participantId": participant_id, "asked": body})
        return "", 204

    @api.patch(f"{participant}/attributes")
    def set_attributes(conversation_id: str, participant_id: str) -> tuple[str, int]:
        tokens.require()
        attributes = json_body().get("attributes")
        if not _is_texts(attributes):
            raise bad_field("attributes", "must be an object of texts")
        whose = {"conversationId": conversation_id, "participantId": participant_id}
        callbacks.note("attributes", whose | {"attributes": attributes})
        return "", 204

    return api


def _check_callback(body: JSONObject, directory: Directory) -> None:
    numbers, queue_id = body.get("callbackNumbers"), body.get("queueId") or at(body, "routingData", "queueId")
    if not isinstance(numbers, list) or not numbers or not all(isinstance(one, str) and one for one in numbers):
        raise bad_field("callbackNumbers", "must be a list of numbers")
    if directory.find(Queue, queue_id) is None:
        raise bad_field("queueId", "must be the id of a queue, here or in routingData")
    if body.get("data") is not None and not _is_texts(body["data"]):
        raise bad_field("data", "must be an object of texts")
    if body.get("callbackScheduledTime") is not None and read_instant(body["callbackScheduledTime"]) is None:
        raise bad_field("callbackScheduledTime", "must be an instant")


def _is_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(one, str) for one in value.values())
