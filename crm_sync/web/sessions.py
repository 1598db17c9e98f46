"""The API's virtual-agent sessions: start one, and follow it to its closure.

Both calls answer with a session as `initiate.describe` tells it. What was not started has its sentence in `error`:
409 refused or still being started, 502 and 503 failed at Genesys Cloud, 504 when nobody knows. A request that is not
valid is answered 400 with `error` and all `faults`, and leaves no session.
"""

from collections.abc import Mapping

from flask import Blueprint, Response, jsonify, request

from crm_sync import clock, initiate, receive, services
from crm_sync.closure import JSON
from crm_sync.errors import Kind, NotFound
from crm_sync.genesys.session_request import InvalidRequest
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
    if not session_id.isprintable():
        raise NotFound("There is no session with this id.")
    return jsonify(initiate.show(services.current(), session_id))


def _answer(outcome: Outcome) -> tuple[Response, int]:
    session, fault = outcome.session, outcome.fault
    told: dict[str, JSON] = initiate.describe(session)
    status = _STATUSES[session.state]
    if session.state == "started":
        status = 201 if outcome.is_new else 200
    else:
        told["error"] = session.reason or _STILL_STARTING
    passing = session.state == "failed" and fault is not None and fault.kind in _PASSING
    answer = jsonify(told)
    answer.headers["Location"] = f"{blueprint.url_prefix}/{session.id}"
    if passing and fault is not None and fault.retry_at is not None:
        answer.headers["Retry-After"] = str(max(1, round((fault.retry_at - clock.now()).total_seconds())))
    return answer, 503 if passing else status
