"""A pretend Genesys Cloud that speaks the tutorial's contract, with faults on demand and the truth for whoever asks."""

import uuid
from fnmatch import fnmatchcase

from flask import Flask, Response, g, jsonify, request
from werkzeug.exceptions import HTTPException

from crm_sync.sandbox import (
    botflows,
    callbacks,
    channels_api,
    conversations_api,
    directory_api,
    endpoints_control,
    genesys_control,
    moods,
    oauth,
    platform_api,
    platform_control,
    problems,
    shared_paths,
    triggers_api,
    understanding,
    webhooks,
)
from crm_sync.sandbox.faults import cut, pause
from crm_sync.sandbox.genesys_state import GenesysFault, GenesysState
from crm_sync.sandbox.problems import Problem
from crm_sync.sandbox.traffic import is_control

CORRELATION = "ININ-Correlation-Id"


def create_genesys(state: GenesysState) -> Flask:
    """Return the pretend Genesys Cloud as a WSGI application."""
    app = Flask("crm_sync.sandbox.genesys", static_folder=None)
    app.json.sort_keys = False  # type: ignore[attr-defined]  # the default provider has it, the base class has not
    options = state.options
    app.register_blueprint(oauth.blueprint(state.tokens, options.client))
    app.register_blueprint(conversations_api.blueprint(state.conversations, state.tokens, now=state.now))
    app.register_blueprint(webhooks.blueprint(state.webhooks, state.tokens, with_list=options.webhook_list))
    app.register_blueprint(shared_paths.blueprint(state))
    app.register_blueprint(platform_api.blueprint(state.platform, state.tokens))
    app.register_blueprint(platform_control.blueprint(state.platform))
    app.register_blueprint(
        directory_api.blueprint(state.directory, state.tokens, options.client, page_size=options.page_size)
    )
    app.register_blueprint(
        triggers_api.blueprint(state.triggers, state.directory, state.tokens, page_size=options.page_size)
    )
    app.register_blueprint(botflows.blueprint(state.bot_flows, state.tokens))
    app.register_blueprint(understanding.blueprint(state.tokens))
    app.register_blueprint(callbacks.blueprint(state.callbacks, state.directory, state.tokens))
    app.register_blueprint(channels_api.blueprint(state.channels, state.tokens))
    app.register_blueprint(endpoints_control.blueprint(state))
    app.register_blueprint(genesys_control.blueprint(state))
    _answer_problems(app)
    _trouble(app, state)
    moods.trouble(app, state.platform.temper, expire_tokens=state.tokens.expire)
    return app


def _answer_problems(app: Flask) -> None:
    @app.errorhandler(Problem)
    def answer_problem(problem: Problem) -> Response:
        answer = jsonify(problems.as_object(problem, context_id=g.correlation_id))
        answer.status_code = problem.status
        if problem.retry_after is not None:
            answer.headers["Retry-After"] = problem.retry_after
        return answer

    @app.errorhandler(HTTPException)
    def answer_http_exception(error: HTTPException) -> Response:
        return answer_problem(Problem(error.code or 500))


def _trouble(app: Flask, state: GenesysState) -> None:
    @app.before_request
    def begin() -> Response | None:
        g.correlation_id = str(uuid.uuid4())
        fault = state.faults.take(_is_meant)
        if fault is None:
            return None
        pause(request.environ, fault.delay_seconds)
        g.lose_answer = fault.lose_answer
        if fault.status is None:
            return None
        if fault.html:
            return Response("<html><body><h1>The gateway is in trouble</h1></body></html>", fault.status)
        retry_after = None if fault.retry_after is None else str(fault.retry_after)
        raise Problem(fault.status, retry_after=retry_after)

    @app.after_request
    def end(answer: Response) -> Response:
        answer.headers[CORRELATION] = g.correlation_id
        state.traffic.note(request, answer)
        if g.get("lose_answer"):
            cut(request.environ)
        return answer


def _is_meant(fault: GenesysFault) -> bool:
    if is_control(request):
        return False
    return fault.method in (None, request.method) and fnmatchcase(request.path, fault.path)
