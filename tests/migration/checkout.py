"""Where the checkout under test lies, and the environment in which a command runs there."""

import os
from pathlib import Path

import crm_sync

CHECKOUT = Path(crm_sync.__file__).parents[1]


def environment(database_url: str) -> dict[str, str]:
    """Return an environment with this database and no other setting of ours."""
    ours = (
        "DATABASE_URL",
        "CRM_SYNC_",
        "GENESYS_",
        "PUBLIC_URL",
        "WEBHOOK_SECRETS",
        "LOG_FORMAT",
        "PORT",
        "PYTHONPATH",
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | {"DATABASE_URL": database_url, "GENESYS_REGISTRATION": "none"}
