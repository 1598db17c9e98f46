"""The API's reports: resolutions, rates and latencies of the closures of a window."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from flask import Blueprint, Response, jsonify

from crm_sync import clock, services
from crm_sync.errors import BadRequest
from crm_sync.store import reports
from crm_sync.store.repairs import be_patient
from crm_sync.web.api import instant, parameters
from crm_sync.web.auth import require

blueprint = Blueprint("reports", __name__, url_prefix="/api/v1/reports")

LONGEST = timedelta(days=92)
"""The longest window that a request may ask for: `crm-sync report` reads longer ones."""

PATIENCE_SECONDS = 30


@blueprint.get("/resolution")
@require("reader")
def resolution() -> Response:
    """Answer the report of the closures that ended in a window: the last seven days unless told otherwise."""
    given = parameters(_PARSERS)
    until = given.get("until", clock.now())
    since = given.get("since", reports.usual_since(until))
    if since >= until:
        raise BadRequest("since is not before until, so nothing lies between: turn them round.")
    if until - since > LONGEST:
        raise BadRequest(f"The window is longer than {LONGEST.days} days: shorten it, or use crm-sync report.")
    database = services.current().database

    def read() -> reports.Report:
        with database.read() as connection:
            be_patient(connection, seconds=PATIENCE_SECONDS)
            return reports.resolution(connection, since=since, until=until, by=given.get("by"))

    return jsonify(database.run(read).as_record())


def _by(name: str, text: str) -> str:
    if text not in reports.KEYS:
        raise BadRequest(f"{name} must be one of {', '.join(reports.KEYS)}.")
    return text


_PARSERS: Mapping[str, Callable[[str, str], Any]] = {"since": instant, "until": instant, "by": _by}
