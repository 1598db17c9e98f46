"""The process automation calls of the pretend Genesys Cloud: topics, triggers, and tests of triggers."""

from typing import Any

from flask import Blueprint, Response, jsonify, request

from crm_sync.sandbox import criteria
from crm_sync.sandbox.bodies import json_body, json_value
from crm_sync.sandbox.directory import Directory, Flow
from crm_sync.sandbox.oauth import Tokens
from crm_sync.sandbox.paging import asked_ids, by_cursor
from crm_sync.sandbox.problems import Problem
from crm_sync.sandbox.topics import DETAIL
from crm_sync.sandbox.triggers import Trigger, Triggers
from crm_sync.sandbox.wire import JSONObject, MalformedBody, read_object

VIEW, ADD, EDIT, DELETE, TEST = (
    f"processautomation:trigger:{verb}" for verb in ("view", "add", "edit", "delete", "test")
)


def blueprint(triggers: Triggers, directory: Directory, tokens: Tokens, *, page_size: int) -> Blueprint:
    """Return the routes under `/api/v2/processautomation/triggers`."""
    api = Blueprint("triggers", __name__, url_prefix="/api/v2/processautomation/triggers")
    _add_lists(api, triggers, tokens, page_size)
    _add_tests(api, triggers, directory, tokens)

    @api.post("")
    def add() -> Response:
        tokens.require(ADD)
        return jsonify(triggers.add(json_body()).as_object())

    @api.get("/<trigger_id>")
    def show(trigger_id: str) -> Response:
        tokens.require(VIEW, EDIT)
        return jsonify(triggers.get(trigger_id).as_object())

    @api.put("/<trigger_id>")
    def replace(trigger_id: str) -> Response:
        tokens.require(EDIT)
        return jsonify(triggers.replace(trigger_id, json_body()).as_object())

    @api.delete("/<trigger_id>")
    def remove(trigger_id: str) -> tuple[str, int]:
        tokens.require(DELETE)
        triggers.remove(trigger_id)
        return "", 204

    return api


def _add_lists(api: Blueprint, triggers: Triggers, tokens: Tokens, page_size: int) -> None:
    @api.get("/topics")
    def topics() -> Response:
        tokens.require(VIEW, EDIT)
        page, links = by_cursor(triggers.rules.topics, str, usual=page_size)
        return jsonify({"entities": page} | links)

    @api.get("")
    def select() -> Response:
        tokens.require(VIEW, EDIT)
        enabled, delayed = _flag("enabled"), _flag("hasDelayBy")
        found = [
            trigger
            for trigger in triggers.all(asked_ids("topicName"))
            if enabled in (None, trigger.fields["enabled"]) and delayed in (None, "delayBySeconds" in trigger.fields)
        ]
        page, links = by_cursor(found, lambda trigger: trigger.id, usual=page_size)
        return jsonify({"entities": [trigger.as_object() for trigger in page]} | links)


def _add_tests(api: Blueprint, triggers: Triggers, directory: Directory, tokens: Tokens) -> None:
    @api.post("/<trigger_id>/test")
    def test(trigger_id: str) -> Response:
        tokens.require(TEST)
        trigger, event = triggers.get(trigger_id), _event()
        schema = _schema_step(trigger.fields["topicName"], event)
        flow = directory.find(Flow, trigger.fields["target"]["id"])
        target = _step("Target Validation", 2, _faults_of_target(flow))
        met = trigger.meets(event, missing_differs=triggers.rules.missing_differs)
        told = [_told(triggers, criterion, event) for criterion in trigger.fields.get("matchCriteria", [])]
        return jsonify(
            schemaValidation=schema,
            targetValidation=target,
            jsonPathValidation={"name": "JSON Path Validation", "step": 3, "matches": met, "details": told},
            triggerMatches=schema["matches"] and target["matches"] and met,
        )

    @api.post("/topics/<topic>/test")
    def test_topic(topic: str) -> Response:
        tokens.require(TEST)
        event = _event()
        if topic not in triggers.rules.topics:
            raise Problem(404, "There is no such topic.")
        sides: dict[bool, list[JSONObject]] = {True: [], False: []}
        for trigger in triggers.all([topic]):
            met = trigger.meets(event, missing_differs=triggers.rules.missing_differs)
            sides[met].append(_named(trigger))
        validation = {"name": "Trigger Match Validation", "step": 2}
        return jsonify(
            schemaValidation=_schema_step(topic, event),
            triggerMatchValidation=validation | {"matchedTriggers": sides[True], "unmatchedTriggers": sides[False]},
        )


def _flag(name: str) -> bool | None:
    given = request.args.get(name)
    if given not in (None, "true", "false"):
        raise Problem(400, f"The {name} must be true or false.", code="invalid.value", params={"field": name})
    return None if given is None else given == "true"


def _event() -> JSONObject:
    # Official clients type this body as a text, so an event may come as JSON in a JSON string.
    value = json_value()
    try:
        return value if isinstance(value, dict) else read_object(str(value).encode())
    except MalformedBody:
        raise Problem(400, "The body must be an event, as an object or as a text that holds one.") from None


def _schema_step(topic: str, event: JSONObject) -> JSONObject:
    needed = {"conversationId": str, "eventTime": int} if topic.startswith(DETAIL) else {}
    faults = [f"{name} is missing or wrong" for name, kind in needed.items() if type(event.get(name)) is not kind]
    return _step("Schema Validation", 1, faults)


def _faults_of_target(flow: Flow | None) -> list[str]:
    if flow is None or flow.type != "WORKFLOW":
        return ["There is no such workflow"]
    return [] if flow.is_running else ["The workflow is not active or not published"]


def _step(name: str, step: int, faults: list[str]) -> JSONObject:
    return {"name": name, "step": step, "matches": not faults, "details": faults}


def _told(triggers: Triggers, criterion: JSONObject, event: JSONObject) -> JSONObject:
    found: Any = criteria.extract(criterion["jsonPath"], event)
    extraction = [] if found is criteria.MISSING else [{"value": found, "path": criterion["jsonPath"]}]
    met = criteria.holds(criterion, event, missing_differs=triggers.rules.missing_differs)
    return criterion | {"match": met, "jsonPathExtraction": extraction}


def _named(trigger: Trigger) -> JSONObject:
    named = {name: trigger.fields[name] for name in ("name", "enabled")}
    return {"id": trigger.id} | named | {"selfUri": trigger.address}
