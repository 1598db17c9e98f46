"""The web application: blueprints, answers to errors, request ids. Everything with a life of its own is handed in."""

import secrets

import structlog
from flask import Flask, Response, g, jsonify, request
from structlog.contextvars import bind_contextvars, clear_contextvars
from werkzeug.exceptions import HTTPException

from crm_sync import receive
from crm_sync.errors import NotAuthentic, RequestError, Unavailable
from crm_sync.services import Services, attach
from crm_sync.web import api, health, reports, sessions
from crm_sync.web.deadline import BodyDeadline

log = structlog.get_logger(__name__)

_NOT_SERVED = {404: "There is nothing at this address.", 405: "This address does not take this method."}


def create_app(services: Services) -> Flask:
    """Return the application that answers with these services."""
    app = Flask("crm_sync", static_folder=None)
    app.json.sort_keys = False  # type: ignore[attr-defined]  # of the default provider
    attach(app, services)
    for blueprint in (receive.blueprint, api.blueprint, reports.blueprint, health.blueprint, sessions.blueprint):
        app.register_blueprint(blueprint)
    app.before_request(_begin)
    app.after_request(_end)
    app.teardown_request(_forget)
    app.register_error_handler(RequestError, _refused)
    app.register_error_handler(Unavailable, _unavailable)
    app.register_error_handler(HTTPException, _not_served)
    app.register_error_handler(Exception, _failed)
    app.wsgi_app = BodyDeadline(app.wsgi_app, services.settings.receive.body_deadline_seconds)  # type: ignore[method-assign]
    return app


def _begin() -> None:
    # Ours always: an id from outside is a stranger's word in our logs.
    g.request_id = secrets.token_hex(8)
    bind_contextvars(request_id=g.request_id)


def _end(response: Response) -> Response:
    response.headers["X-Request-Id"] = g.request_id
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cache-Control"] = "no-store"
    return response


def _forget(_error: BaseException | None) -> None:
    clear_contextvars()


def _refused(error: RequestError) -> tuple[Response, int]:
    log.info("request_refused", status=error.status, reason=type(error).__name__, path=request.path[:100])
    response = _sentence(str(error))
    if isinstance(error, NotAuthentic):
        response.headers["WWW-Authenticate"] = "Bearer"
    return response, error.status


def _unavailable(error: Unavailable) -> tuple[Response, int]:
    log.warning("request_unavailable", reason=str(error), detail=error.detail, cause=type(error.__cause__).__name__)
    response = _sentence(str(error))
    response.headers["Retry-After"] = str(error.retry_after)
    return response, 503


def _not_served(error: HTTPException) -> tuple[Response, int]:
    """Answer what Werkzeug refuses (an unknown path, another method, a broken body) as we answer everything else."""
    response = _sentence(_NOT_SERVED.get(error.code or 500, error.description or error.name))
    if error.code == 405 and getattr(error, "valid_methods", None):
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods))  # type: ignore[attr-defined]
    return response, error.code or 500


def _failed(error: Exception) -> tuple[Response, int]:
    log.exception("request_failed", path=request.path[:100])
    return _sentence(f"Something is wrong in crm-sync; its log tells more under request {g.request_id}."), 500


def _sentence(text: str) -> Response:
    response: Response = jsonify({"error": text})
    return response
