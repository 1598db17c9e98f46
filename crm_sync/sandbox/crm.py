"""A pretend CRM: takes in records signed as Standard Webhooks, once each and never an older one; faults on demand."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Annotated, Literal, TypeVar

from flask import Flask, Response, jsonify, render_template_string, request, url_for
from pydantic import Field, ValidationError
from werkzeug.exceptions import BadRequest, HTTPException

from crm_sync import clock
from crm_sync.sandbox.crm_manner import CRMManner, Gate
from crm_sync.sandbox.crm_pushes import Push, Pushes
from crm_sync.sandbox.crm_records import Records
from crm_sync.sandbox.faults import FaultOrder, Faults, Order, cut, pause
from crm_sync.sandbox.signing import BadSignature, standard_key, verify_standard
from crm_sync.sandbox.traffic import Traffic
from crm_sync.sandbox.wire import JSONObject, MalformedBody, read_object

SANDBOX_SECRET = "whsec_Y3JtLXN5bmMgc2FuZGJveCBzZWNyZXQgMDEyMw=="
"""The secret of a pretend CRM that was given none. It protects nothing."""

PAGE_LENGTH = 1_000
LONGEST_PAGE = 10_000

T = TypeVar("T", bound=Order)

_PAGE = """<!doctype html><html lang="en"><title>{{ record.id }}</title><h1>{{ record.id }}</h1><table>
{% for name, value in record.data.items() %}<tr><th align="left">{{ name }}</th><td>{{ value }}</td></tr>
{% endfor %}</table></html>"""


class CRMFault(FaultOrder):
    """What shall happen to the next pushes, of one conversation or of any.

    `hang` waits and then does its work. `lose_answer` and `apply_then_fail` do it and then cut, or answer 500.
    `drop` and `alter` answer as if all were well. All others do nothing but answer.
    """

    kind: Literal[
        "refuse",
        "throttle",
        "hang",
        "fail",
        "apply_then_fail",
        "lose_answer",
        "drop",
        "alter",
        "html",
        "gone",
        "unauthorized",
    ]
    conversation_id: str | None = None
    field: str = "resolution"
    retry_after: int | str | None = 1
    seconds: Annotated[float, Field(ge=0)] = 1.0


class CRMState:
    """What a pretend CRM remembers. A push signed with any of the secrets is authentic."""

    def __init__(self, secrets: Iterable[str] = (SANDBOX_SECRET,), *, now: Callable[[], datetime] = clock.now) -> None:
        self.keys = tuple(standard_key(secret) for secret in secrets)
        self.now = now
        self.gate = Gate(CRMManner())
        self.records = Records()
        self.pushes = Pushes()
        self.faults: Faults[CRMFault] = Faults()
        self.traffic = Traffic()


def create_crm(state: CRMState) -> Flask:
    """Return the pretend CRM as a WSGI application."""
    app = Flask("crm_sync.sandbox.crm", static_folder=None)
    app.json.sort_keys = False  # type: ignore[attr-defined]  # the default provider has it, the base class has not

    @app.post("/records")
    def push() -> Response:
        push = state.pushes.arrive(request.headers.get("webhook-id"), at=state.now())
        try:
            answer = _push(state, push)
        except HTTPException as error:  # As when the sender has died before the end of the body.
            answer = answer_http_exception(error)
        state.pushes.answer(push, status=answer.status_code, at=state.now())
        return answer

    @app.get("/records/<conversation_id>")
    def page(conversation_id: str) -> str | Response:
        record = state.records.get(conversation_id)
        return render_template_string(_PAGE, record=record) if record else _error(404, "There is no such record.")

    @app.after_request
    def count(answer: Response) -> Response:
        state.traffic.note(request, answer)
        return answer

    @app.errorhandler(HTTPException)
    def answer_http_exception(error: HTTPException) -> Response:
        return _error(error.code or 500, error.description or error.name)

    _add_control(app, state)
    return app


def _push(state: CRMState, push: Push) -> Response:
    body = request.get_data()
    try:
        push_key = verify_standard(request.headers, body, keys=state.keys, now=state.now().timestamp())
    except BadSignature as error:
        return _error(401, str(error))
    try:
        data: JSONObject = read_object(body).get("data", {})
    except MalformedBody as error:
        return _error(400, str(error))
    if wrong := _wrong_field(data):
        return _error(422, f"The field {wrong} is missing or of the wrong type.", field=wrong)
    push.conversation_id, push.version = data["conversation_id"], data.get("version")
    if seconds := state.gate.let_in():
        return _throttled(seconds)
    pause(request.environ, state.gate.manner.latency_seconds)
    fault = state.faults.take(lambda fault: fault.conversation_id in (None, data["conversation_id"]))
    return (_refusal(fault) if fault else None) or _store(state, push, push_key, data, fault)


def _wrong_field(data: object) -> str | None:
    if not isinstance(data, dict):
        return "data"
    if not isinstance(data.get("conversation_id"), str) or not data["conversation_id"]:
        return "conversation_id"
    return None if isinstance(data.get("version"), int | None) else "version"


def _refusal(fault: CRMFault) -> Response | None:
    """Return the answer of a fault that does nothing else."""
    match fault.kind:
        case "refuse":
            return _error(422, f"The value of {fault.field} is not allowed.", field=fault.field)
        case "throttle":
            return _throttled(fault.retry_after)
        case "fail":
            return _error(500, "The CRM failed.")
        case "html":
            return Response("<html><body><h1>Please sign in</h1></body></html>", 200)
        case "gone":
            return _error(410, "This endpoint is no more.")
        case "unauthorized":
            return _error(401, "This signature is not accepted any more.")
    return None


def _throttled(retry_after: int | str | None) -> Response:
    answer = _error(429, "Too many requests.")
    if retry_after is not None:
        answer.headers["Retry-After"] = str(retry_after)
    return answer


def _store(state: CRMState, push: Push, push_key: str, data: JSONObject, fault: CRMFault | None) -> Response:
    kind = fault.kind if fault else None
    if fault and kind == "hang":
        pause(request.environ, fault.seconds)
    stored = {"drop": None, "alter": data | {"resolution": "altered"}}.get(kind or "", data)
    effect = state.records.apply(push_key, data, at=state.now(), stored=stored)
    push.outcome = effect.outcome
    if kind == "lose_answer":
        push.is_lost = True
        cut(request.environ)
    if kind == "apply_then_fail":
        return _error(500, "The CRM failed.")
    url = url_for("page", conversation_id=data["conversation_id"], _external=True)
    return jsonify(outcome=effect.told, id=effect.record_id, url=url)


def _add_control(app: Flask, state: CRMState) -> None:
    _add_readers(app, state)

    @app.get("/sandbox/faults")
    def waiting() -> Response:
        return jsonify(faults=state.faults.waiting())

    @app.post("/sandbox/faults")
    def add() -> Response:
        state.faults.add(_order(CRMFault))
        return waiting()

    @app.delete("/sandbox/faults")
    def clear() -> tuple[str, int]:
        state.faults.clear()
        return "", 204

    @app.get("/sandbox/manner")
    def manner() -> Response:
        return jsonify(state.gate.manner.model_dump())

    @app.put("/sandbox/manner")
    def behave() -> Response:
        state.gate.behave(_order(CRMManner))
        return manner()


def _add_readers(app: Flask, state: CRMState) -> None:
    @app.get("/sandbox/records")
    def records() -> Response:
        known = state.records.all()
        return jsonify(records=[record.as_object() for record in known], total=len(known))

    @app.get("/sandbox/records/<conversation_id>")
    def record(conversation_id: str) -> Response:
        known = state.records.get(conversation_id)
        return jsonify(known.as_object()) if known else _error(404, "There is no such record.")

    @app.get("/sandbox/effects")
    def effects() -> Response:
        known = state.records.effects()
        return jsonify(effects=[effect.as_object() for effect in known], total=len(known))

    @app.get("/sandbox/pushes")
    def pushes() -> Response:
        after = max(0, request.args.get("after", 0, type=int))
        limit = min(max(0, request.args.get("limit", PAGE_LENGTH, type=int)), LONGEST_PAGE)
        return jsonify(state.pushes.page(after=after, limit=limit))

    @app.get("/sandbox/requests")
    def requests() -> Response:
        return jsonify(requests=state.traffic.as_objects())


def _order(shape: type[T]) -> T:
    """Return what is asked of the control API; an empty body asks for the defaults."""
    try:
        return shape.model_validate_json(request.get_data() or b"{}")
    except ValidationError as error:
        raise BadRequest("; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())) from None


def _error(status: int, message: str, *, field: str | None = None) -> Response:
    answer = jsonify({"error": message} | ({"field": field} if field else {}))
    answer.status_code = status
    return answer
