"""Health for those who run the service: `/healthz`, whether the process answers, and `/readyz`, whether it can work."""

from typing import Any

from flask import Blueprint, Response, jsonify

from crm_sync import clock, register, services
from crm_sync.errors import SetupError, Unavailable
from crm_sync.store import migrate, targets
from crm_sync.store.engine import Database, check_durability

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def healthz() -> Response:
    """Answer that the process answers, whatever becomes of the systems around it."""
    return jsonify(status="ok")


@blueprint.get("/readyz")
def readyz() -> tuple[Response, int]:
    """Answer 200 when events can be stored durably, else 503; tell what else is known either way.

    Genesys Cloud and the CRMs count for nothing here: without them events still come in, and are kept.
    """
    current = services.current()
    try:
        fault, found = current.database.run(lambda: _examine(current.database))
        found["registration"] = _registration(register.status(current))
    except Unavailable as error:
        fault, found = str(error), {"database": "unavailable"}
    if fault is not None:
        return jsonify(status="not ready", reason=fault, **found), 503
    return jsonify(status="ready", **found), 200


def _registration(found: register.RegistrationStatus) -> dict[str, str | None]:
    since = None if found.since is None else clock.to_text(found.since)
    return {"state": found.state, "error": found.error, "since": since}


def _examine(database: Database) -> tuple[str | None, dict[str, Any]]:
    """Return what keeps events from being stored, or None, and what there is to tell."""
    try:
        schema = migrate.require_current(database)
        durability = check_durability(database)
    except SetupError as error:
        return str(error), {"database": "reachable"}
    with database.read() as connection:
        paused = targets.paused(connection)
    return None, {
        "database": "reachable",
        "schema": schema or "current",
        "durability": durability or "durable",
        "targets_paused": paused,
    }
