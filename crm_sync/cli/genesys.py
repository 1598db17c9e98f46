"""What the commands that talk to Genesys Cloud share: the services on a database that is up to date."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from crm_sync.cli.common import database, settings

if TYPE_CHECKING:
    from crm_sync.services import Services


@contextmanager
def services() -> "Iterator[Services]":
    """Open the services of the settings; raises SchemaError when a migration is missing."""
    # Imported here, since it loads a web framework.
    from crm_sync.services import opened

    with database():
        pass
    with opened(settings()) as made:
        yield made
