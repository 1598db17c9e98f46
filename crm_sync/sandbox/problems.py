"""Errors as the pretend Genesys Cloud answers them: a body with a code, and a correlation id to quote."""

from http import HTTPStatus

from crm_sync.sandbox.wire import JSONObject

_CODES = {
    400: "bad.request",
    401: "bad.credentials",
    403: "missing.permissions",
    404: "not.found",
    405: "method.not.allowed",
    409: "conflict",
    415: "unsupported.media.type",
    429: "too.many.requests",
    500: "internal.server.error",
    503: "service.unavailable",
    504: "request.timeout",
}


class Problem(Exception):
    """A request that is not done, with the status it is answered with."""

    def __init__(
        self,
        status: int,
        message: str | None = None,
        *,
        code: str | None = None,
        params: dict[str, str] | None = None,
        retry_after: str | None = None,
    ) -> None:
        super().__init__(message or HTTPStatus(status).description or HTTPStatus(status).phrase)
        self.status = status
        self.code = code or _CODES.get(status, "unknown.error")
        self.params = params or {}
        self.retry_after = retry_after


def bad_field(field: str, demand: str) -> Problem:
    """Return the 400 for a field of the body, which names the field and what it must be."""
    return Problem(400, f"The field {field} {demand}.", params={"field": field})


def as_object(problem: Problem, *, context_id: str) -> JSONObject:
    """Return the body of an error."""
    return {
        "message": str(problem),
        "code": problem.code,
        "status": problem.status,
        "messageParams": problem.params,
        "contextId": context_id,
        "details": [],
        "errors": [],
    }
