"""The API's virtual-agent sessions: start one, say something to its bot, and follow it to its closure.

All calls answer with a session as `follow.describe` tells it; where a bot leads it turn by turn, with its `prompts` and
`next_action` too. What was not done has its sentence in `error`: 409 refused or not possible now, 502 and 503 failed at
Genesys Cloud, 504 when nobody knows. A request that is not valid is answered 400 with `error` and all `faults`, and
leaves no session.
"""

from collections.abc import Mapping

from flask import Blueprint, Response, jsonify, request

from crm_sync import clock, converse, follow, initiate, receive, services
from crm_sync.closure import JSON
from crm_sync.converse import Said
from crm_sync.errors import BadRequest, Fault, Kind, NotFound
from crm_sync.genesys.session_request import InvalidRequest, decode
from crm_sync.initiate import Outcome
from crm_sync.web.auth import require

blueprint = Blueprint("sessions", __name__, url_prefix="/api/v1/sessions")

_STATUSES: Mapping[str, int] = {"started": 201, "starting": 409, "refused": 409, "failed": 502, "uncertain": 504}
_PASSING = (Kind.RETRYABLE, Kind.RATE_LIMITED, Kind.QUOTA)
_STILL_STARTING = "This session is still being started: ask again in a moment."


@blueprint.post("")
@require("operator")
def start() -> tuple[Response, int]:
    """Start a session; with a header `Idempotency-Key` a repeated request starts no second one."""
    current = services.current()
    try:
        asked = initiate.parse(receive.read_body(current.settings.receive.max_body_bytes), current.settings)
    except InvalidRequest as error:
        return jsonify(error=str(error), faults=list(error.faults)), error.status
    outcome = initiate.start(current, asked, idempotency_key=request.headers.get("Idempotency-Key"))
    return _answer(outcome)


@blueprint.get("/<session_id>")
@require("reader")
def show(session_id: str) -> Response:
    """Return a session with what has become of its conversation."""
    return jsonify(follow.show(services.current(), _known(session_id)))


@blueprint.post("/<session_id>/turns")
@require("operator")
def say(session_id: str) -> tuple[Response, int]:
    """Tell the bot of a session the `text` in the body, and return what it says and does next."""
    current = services.current()
    body = decode(receive.read_body(current.settings.receive.max_body_bytes))
    text = body.get("text") if isinstance(body, dict) and body.keys() == {"text"} else None
    if not isinstance(text, str):
        raise BadRequest('The body must be a JSON object with a text and nothing else, such as {"text": "Hello"}.')
    said = converse.say(current, _known(session_id), text)
    told = follow.describe(said.session) | _spoken(said)
    if said.error is None:
        return jsonify(told), 200
    answer = jsonify(told | {"error": said.error})
    if said.fault is None:
        return answer, 409
    return answer, 504 if said.fault.kind is Kind.AMBIGUOUS else _status_of(said.fault, answer)


def _answer(outcome: Outcome) -> tuple[Response, int]:
    session, fault = outcome.session, outcome.fault
    told: dict[str, JSON] = follow.describe(session)
    told |= {} if outcome.said is None else _spoken(outcome.said)
    status = _STATUSES[session.state]
    if session.state == "started":
        status = 201 if outcome.is_new else 200
    else:
        told["error"] = session.reason or _STILL_STARTING
    answer = jsonify(told)
    answer.headers["Location"] = f"{blueprint.url_prefix}/{session.id}"
    return answer, _status_of(fault, answer) if session.state == "failed" and fault is not None else status


def _spoken(said: Said) -> dict[str, JSON]:
    return {"prompts": list(said.prompts), "next_action": said.next_action}


def _status_of(fault: Fault, answer: Response) -> int:
    """Return the status for what Genesys Cloud did not do, and tell in the answer when to try again."""
    if fault.kind not in _PASSING:
        return 502
    if fault.retry_at is not None:
        answer.headers["Retry-After"] = str(max(1, round((fault.retry_at - clock.now()).total_seconds())))
    return 503


def _known(session_id: str) -> str:
    if not session_id.isprintable():
        raise NotFound("There is no session with this id.")
    return session_id
