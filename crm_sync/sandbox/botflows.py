"""The bot flow sessions of the pretend Genesys Cloud: launched, then led turn by turn until the bot has finished."""

import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from flask import Blueprint, Response, jsonify

from crm_sync import clock
from crm_sync.sandbox import bot_script
from crm_sync.sandbox.bodies import at, json_body
from crm_sync.sandbox.bot_script import Reply
from crm_sync.sandbox.botflow_bodies import check_launch, check_turn, is_text
from crm_sync.sandbox.directory import Directory, Flow, Outcome
from crm_sync.sandbox.evaluation import evaluate
from crm_sync.sandbox.oauth import Tokens
from crm_sync.sandbox.problems import Problem, bad_field
from crm_sync.sandbox.wire import JSONObject

EXECUTE = "textbots:botFlowSession:execute"


@dataclass(slots=True, kw_only=True)
class Session:
    """One session of a bot, with all turns as they were answered."""

    id: str
    launch: JSONObject = field(repr=False)
    started_at: datetime
    intent: str | None = None
    turns: list[JSONObject] = field(default_factory=list, repr=False)

    @property
    def is_over(self) -> bool:
        return bool(self.turns) and self.turns[-1]["nextActionType"] in ("Exit", "Disconnect")

    def as_object(self) -> JSONObject:
        """Return the session as the control API tells it."""
        told = {"id": self.id, "startedAt": clock.to_text(self.started_at), "over": self.is_over}
        return told | {"launch": self.launch, "turns": list(self.turns)}


class BotFlows:
    """All sessions, in the order of their launch; a repeated `externalSessionId` makes one more."""

    def __init__(self, directory: Directory, *, now: Callable[[], datetime]) -> None:
        self._directory = directory
        self._now = now
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}

    def launch(self, body: JSONObject) -> Session:
        """Launch a session; raises Problem 400, or 404 for a flow that is no running bot."""
        check_launch(body)
        flow = self._directory.find(Flow, body["flow"]["id"])
        if flow is None or not flow.is_bot or not flow.is_running:
            raise Problem(404, "There is no such bot flow that is active and published.")
        session = Session(id=str(uuid.uuid4()), launch=body, started_at=self._now())
        with self._lock:
            self._sessions[session.id] = session
        return session

    def turn(self, session_id: str, body: JSONObject) -> JSONObject:
        """Take a turn and return it; raises Problem 400, 404, or 409 where another turn was taken meanwhile."""
        kind = check_turn(body)
        with self._lock:
            session = self._sessions.get(session_id)
            if session is None:
                raise Problem(404, "There is no such session.")
            _check_order(session, kind, body.get("previousTurn"))
            turn = self._answer(session, kind, body)
            session.turns.append(turn)
        return turn

    def as_objects(self) -> list[JSONObject]:
        with self._lock:
            return [session.as_object() for session in self._sessions.values()]

    def _answer(self, session: Session, kind: str, body: JSONObject) -> JSONObject:
        if kind == "UserInput":
            text = body["inputEventUserInput"]["alternatives"][0]["transcript"]["text"]
            session.intent = evaluate(text).intent
            reply = bot_script.reply_to_text(text)
        else:
            reply = bot_script.reply_to_event(kind)
        language = session.launch.get("language") or "en-us"
        turn: JSONObject = {"id": str(uuid.uuid4()), "nextActionType": reply.action}
        if session.turns:
            turn["previousTurn"] = {"id": session.turns[-1]["id"]}
        if reply.prompt is not None:
            segments = [{"type": "Text", "text": reply.prompt}]
            turn["prompts"] = {"outputLanguage": language, "textPrompts": {"segments": segments}}
        if reply.action == "WaitForInput":
            text_mode = {"languagePreferences": [language], "noInputTimeoutMilliseconds": 60_000}
            turn["nextActionWaitForInput"] = {"modeConstraints": {"text": text_mode}}
        else:
            turn[f"nextAction{reply.action}"] = self._end(session, reply)
        return turn

    def _end(self, session: Session, reply: Reply) -> JSONObject:
        number = len(session.turns) + 1
        location = {"actionName": "Ask the customer", "actionNumber": number, "sequenceName": "Starting task"}
        end: JSONObject = {"reason": reply.reason, "flowLocation": location}
        if reply.action == "Exit":
            end["outputData"] = {"variables": at(session.launch, "inputData", "variables") or {}}
            if session.intent is not None:
                end["activeIntent"] = session.intent
        if reply.outcome is not None:
            dates = {"dateStart": clock.to_text(session.started_at), "dateEnd": clock.to_text(self._now())}
            outcome = {"outcomeId": self._directory.all(Outcome)[0].id, "outcomeValue": reply.outcome}
            end["flowOutcomes"] = [outcome | dates]
        return end


def blueprint(bot_flows: BotFlows, tokens: Tokens) -> Blueprint:
    """Return the routes under `/api/v2/textbots/botflows/sessions`."""
    api = Blueprint("botflows", __name__, url_prefix="/api/v2/textbots/botflows/sessions")

    @api.before_request
    def check() -> None:
        tokens.require(EXECUTE)

    @api.post("")
    def launch() -> Response:
        return jsonify(id=bot_flows.launch(json_body()).id)

    @api.post("/<session_id>/turns")
    def turn(session_id: str) -> Response:
        return jsonify(bot_flows.turn(session_id, json_body()))

    return api


def _check_order(session: Session, kind: str, previous: Any) -> None:
    if session.is_over:
        raise Problem(409, "The session is over.")
    if not session.turns:
        if kind != "NoOp" or previous is not None:
            raise bad_field("inputEventType", "must be NoOp in the first turn, without previousTurn")
        return
    if not is_text(at(previous, "id")):
        raise bad_field("previousTurn", "must have the id of the turn before")
    if previous["id"] != session.turns[-1]["id"]:
        raise Problem(409, "Another turn was taken after that previousTurn.", params={"field": "previousTurn"})
