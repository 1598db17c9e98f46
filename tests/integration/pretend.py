"""A pretend Genesys Cloud on a loopback port, and the services of processes that talk to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from pydantic import SecretStr

from crm_sync.sandbox.client import GenesysControl
from crm_sync.sandbox.genesys import create_genesys
from crm_sync.sandbox.genesys_state import GenesysOptions, GenesysState
from crm_sync.sandbox.server import serve
from crm_sync.services import Services, opened
from crm_sync.settings import SessionSettings, Settings
from crm_sync.settings_genesys import GenesysSettings, TriggerSettings

SECRET = "a secret that is long enough for all"
PUBLIC_URL = "https://crm.example.test"


class PretendGenesys:
    """Its address, its state and its control."""

    def __init__(self, url: str, state: GenesysState, control: GenesysControl) -> None:
        self.url = url
        self.state = state
        self.control = control

    def calls(self, method: str, path: str) -> int:
        """Return how often a call was made, whatever its answer."""
        return sum(seen["count"] for seen in self.control.traffic() if (seen["method"], seen["path"]) == (method, path))


@contextmanager
def pretend_genesys(**options: Any) -> Iterator[PretendGenesys]:
    """Serve a pretend Genesys Cloud."""
    with (
        GenesysState(GenesysOptions(**options)) as state,
        serve(create_genesys(state)) as server,
        GenesysControl(server.url) as control,
    ):
        yield PretendGenesys(server.url, state, control)


@contextmanager
def process(
    database_url: str,
    genesys_url: str,
    *,
    secret: str = SECRET,
    name: str = "CRM Termination Sync",
    registration: Literal["webhook", "trigger", "none"] = "webhook",
    triggers: TriggerSettings | None = None,
    sessions: SessionSettings | None = None,
    **settings: Any,
) -> Iterator[Services]:
    """Open the services as a process of the deployment would."""
    genesys = GenesysSettings(
        client_id="sandbox",
        client_secret=SecretStr("sandbox-secret"),
        api_url=genesys_url,
        webhook_name=name,
        registration=registration,
        triggers=triggers or TriggerSettings(),
    )
    made = Settings(
        database_url=database_url,
        genesys=genesys,
        sessions=sessions or SessionSettings(human_queue_id="human-support-queue"),
        **{"public_url": PUBLIC_URL, "webhook_secrets": (SecretStr(secret),)} | settings,
    )
    with opened(made) as services:
        yield services
