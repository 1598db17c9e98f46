"""What lives as long as the process: made once at start-up, handed down, closed at the end."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from crm_sync.genesys.client import GenesysClient
from crm_sync.settings import Settings
from crm_sync.store.engine import Database
from crm_sync.store.group import GroupCommit
from crm_sync.store.inbox import Inbox

if TYPE_CHECKING:  # The worker and most commands load no web framework.
    from flask import Flask

_NAME = "crm_sync"


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The long-lived parts of one process. `genesys` is None where no credentials are set."""

    settings: Settings
    database: Database
    intake: GroupCommit
    genesys: GenesysClient | None


def attach(app: "Flask", services: Services) -> None:
    """Make the services reachable from this application's views."""
    app.extensions[_NAME] = services


def attached(app: "Flask") -> Services:
    """Return the services of this application."""
    return cast(Services, app.extensions[_NAME])


def current() -> Services:
    """Return the services of the application that answers the present request."""
    from flask import current_app

    return attached(current_app)


@contextmanager
def opened(settings: Settings, *, busy_seconds: float = 30.0) -> Iterator[Services]:
    """Make the services and close them at the end; connects to nothing yet."""
    database = Database(settings.database_url, busy_seconds=busy_seconds)
    inbox = Inbox(database, settings.resolution.as_map())
    intake = GroupCommit(inbox.record, run=database.run, wait_seconds=settings.receive.commit_deadline_seconds)
    genesys = GenesysClient.from_settings(settings.genesys)
    try:
        yield Services(settings=settings, database=database, intake=intake, genesys=genesys)
    finally:
        intake.close()
        if genesys is not None:
            genesys.close()
        database.close()
