"""Health: what answers while a database, a CRM or Genesys Cloud is away."""

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from crm_sync.app import create_app
from crm_sync.services import Services
from crm_sync.settings_genesys import GenesysSettings
from crm_sync.store import migrate
from tests.integration.readers import add_target, service

AWAY = "postgresql+psycopg://nobody@127.0.0.1:1/nothing"
"""Port 1 of this machine, where nothing listens."""


def ready(services: Services) -> tuple[int, dict[str, object]]:
    """Return the status and the JSON of /readyz."""
    answer = create_app(services).test_client().get("/readyz")
    return answer.status_code, answer.get_json()


def test_a_migrated_database_is_ready(migrated_url: str) -> None:
    with service(migrated_url) as services:
        status, told = ready(services)

    assert (status, told["status"], told["database"], told["schema"]) == (200, "ready", "reachable", "current")
    assert told["targets_paused"] == []


def test_paused_targets_are_named_and_keep_nobody_from_being_ready(migrated_url: str) -> None:
    with service(migrated_url) as services:
        with services.database.write() as connection:
            add_target(connection, "sales", "paused")
            add_target(connection, "support")

        status, told = ready(services)

    assert (status, told["targets_paused"]) == (200, ["sales"])


def test_a_missing_schema_is_not_ready_and_the_answer_tells_the_command(database_url: str) -> None:
    with service(database_url) as services:
        status, told = ready(services)

    assert (status, told["status"]) == (503, "not ready")
    assert "crm-sync db upgrade" in str(told["reason"])


def test_a_newer_schema_is_ready_with_a_warning(migrated_url: str) -> None:
    with service(migrated_url) as services:
        with services.database.write() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = 'of_next_year'"))

        status, told = ready(services)

    assert (status, told["status"]) == (200, "ready")
    assert "of_next_year" in str(told["schema"])


def test_a_database_that_is_away_is_not_ready_and_the_process_lives() -> None:
    with service(AWAY) as services:
        status, told = ready(services)
        alive = create_app(services).test_client().get("/healthz")

    assert (status, told["database"]) == (503, "unavailable")
    assert AWAY not in str(told) and "127.0.0.1" not in str(told)
    assert (alive.status_code, alive.get_json()) == (200, {"status": "ok"})


def test_a_registration_that_is_missing_is_only_told(migrated_url: str) -> None:
    genesys = GenesysSettings(
        client_id="id", client_secret=SecretStr("a client secret"), registration="webhook",
        api_url="http://127.0.0.1:1", login_url="http://127.0.0.1:1",
    )  # fmt: skip
    with service(migrated_url, genesys=genesys, public_url="https://sync.example") as services:
        status, told = ready(services)

    assert (status, told["registration"]) == (200, {"state": "pending", "error": None, "since": None})


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_state_comes_and_goes_with_the_migration(database_url: str) -> None:
    with service(database_url) as services:
        before = ready(services)[0]
        migrate.upgrade(database_url)
        after = ready(services)[0]

    assert (before, after) == (503, 200)
