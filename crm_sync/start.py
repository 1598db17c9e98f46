"""Make the web application of one process, as deployed: settings, logs, services, checks."""

import atexit
import os
from contextlib import ExitStack
from pathlib import Path

import structlog
from flask import Flask

from crm_sync import logs
from crm_sync.adapters import registry
from crm_sync.app import create_app
from crm_sync.errors import Unavailable
from crm_sync.services import opened
from crm_sync.settings import Settings
from crm_sync.store import targets
from crm_sync.store.engine import Database, check_durability, require_cooperative_driver
from crm_sync.store.migrate import require_current

log = structlog.get_logger(__name__)

WEB_BUSY_SECONDS = 2.0
"""How long a request waits for SQLite's write lock before it is answered 503."""


def check(settings: Settings) -> list[str]:
    """Return warnings; raises SetupError for what must be put right before anything listens."""
    _require(settings)
    database = Database(settings.database_url)
    try:
        return [*settings.warnings, *require_current(database), *check_durability(database)]
    finally:
        database.close()


def web_application() -> Flask:
    """Return the application of this process. The services close when the process ends."""
    settings = Settings.load(os.environ, cwd=Path.cwd())
    logs.configure(settings.log_format)
    logs.hide(settings.secret_values())
    _require(settings)
    stack = ExitStack()
    services = stack.enter_context(opened(settings, busy_seconds=WEB_BUSY_SECONDS))
    atexit.register(stack.close)
    if _is_gevent():
        services.database.use_native_threads()
        if services.database.is_postgresql:
            require_cooperative_driver()
    try:
        for warning in require_current(services.database):
            log.warning("schema_unknown", reason=warning)
        with services.database.write() as connection:
            targets.sync(connection, settings.targets)
    except Unavailable as error:
        # A process that is started anew while the database is away must come up, or nothing would recover by itself.
        log.warning("database_unavailable", reason=str(error))
    return create_app(services)


def _require(settings: Settings) -> None:
    """Raise SettingsError for what is missing, and for targets that no worker could serve: web announces them."""
    settings.require_for_web()
    registry.check(settings.targets, worker_deadline_seconds=settings.worker.push_deadline_seconds)


def _is_gevent() -> bool:
    from gevent.monkey import is_module_patched

    return bool(is_module_patched("socket"))
