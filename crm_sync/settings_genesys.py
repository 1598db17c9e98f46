"""The settings of Genesys Cloud: where it is, who we are to it, how it speaks, how fast it may be asked."""

import re
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator

from crm_sync.settings_sources import suggestion
from crm_sync.settings_targets import Count, Table, Text, Texts

_DEFAULT_REGION = "mypurecloud.com"
_REGION = re.compile(r"(?!api\.|login\.|apps\.)[a-z0-9-]+(\.[a-z0-9-]+)+")


def _web_address(url: str) -> str:
    """Return the URL without a slash at its end."""
    try:
        parts = urlsplit(url)
        is_whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        is_whole = False
    if not is_whole or re.search(r"[\s?#@\x00-\x20]", url):
        raise ValueError("must be an absolute http or https URL without a user, a query or a fragment")
    return url.rstrip("/")


WebAddress = Annotated[str, AfterValidator(_web_address)]


Dialect: TypeAlias = Literal["tutorial", "platform"]
"""Whether Genesys Cloud speaks the contract of the tutorial, or that of the real platform."""


DataFormat: TypeAlias = Literal["TopLevelPrimitives", "Json"]
"""Whether a workflow gets one input for each key of an event, or a single one with the event in it."""

_KINDS = (
    "customer.start", "customer.end", "user.start", "user.end", "acd.start", "acd.end", "acw", "wrapup", "attributes",
    "flow.start", "flow.end", "flow.outcome",
)  # fmt: skip


class ClientSettings(Table):
    """One OAuth client with the client credentials grant."""

    client_id: Text
    client_secret: Annotated[SecretStr, Field(min_length=1)]


class TriggerSettings(Table):
    """The process automation triggers that start a workflow of the organisation with every event of some kinds.

    `name` is what the names of all of them begin with: two installations in one organisation need two. A kind may
    have a workflow of its own in `workflows`. `leave_out_transfers` keeps back the end of a leg that was transferred.
    """

    name: Annotated[str, Field(min_length=1, max_length=100)] = "crm-sync"
    workflow_id: Text | None = None
    workflows: dict[str, Text] = Field(default_factory=dict)
    kinds: Texts = ("customer.start", "customer.end", "acd.end", "user.end", "acw")
    data_format: DataFormat = "TopLevelPrimitives"
    leave_out_transfers: Annotated[bool, Field(strict=True)] = True

    @property
    def without_workflow(self) -> list[str]:
        """The kinds for which no workflow is named."""
        return [] if self.workflow_id else [kind for kind in self.kinds if kind not in self.workflows]

    @field_validator("kinds")
    @classmethod
    def _are_kinds(cls, kinds: tuple[str, ...]) -> tuple[str, ...]:
        for kind in kinds:
            if kind not in _KINDS:
                raise ValueError(f"has {kind!r}, which is no kind of event; {suggestion(kind, _KINDS)}")
        if len(set(kinds)) < len(kinds):
            raise ValueError("names a kind twice; name each once")
        return kinds

    @model_validator(mode="after")
    def _workflows_fit(self) -> "TriggerSettings":
        strangers = [kind for kind in self.workflows if kind not in self.kinds]
        if strangers:
            raise ValueError(f"has a workflow for {strangers[0]!r}, which is not in kinds; add it there, or remove it")
        if self.workflows and self.without_workflow:
            raise ValueError(f"names no workflow for {', '.join(self.without_workflow)}; add workflow_id for the rest")
        return self


class GenesysSettings(Table):
    """How to reach Genesys Cloud; the addresses follow from the region unless they are given.

    `requests_per_minute` is what it allows each OAuth client. `dialect` follows from the registration unless it is
    given: only who speaks the tutorial's contract has webhooks to register.
    """

    client_id: Text | None = None
    client_secret: SecretStr | None = Field(default=None, min_length=1)
    more_clients: tuple[ClientSettings, ...] = ()
    requests_per_minute: Count = 300
    region: str = _DEFAULT_REGION
    api_url: WebAddress = ""
    login_url: WebAddress = ""
    dialect: Dialect = "platform"
    registration: Literal["webhook", "trigger", "none"] = "none"
    triggers: TriggerSettings = TriggerSettings()
    organization_id: Text | None = None
    webhook_name: Text = "CRM Termination Sync"

    @property
    def token_url(self) -> str:
        """Where an access token is asked for."""
        return f"{self.login_url}/oauth/token"

    @property
    def clients(self) -> tuple[ClientSettings, ...]:
        """All OAuth clients, the first one first; none without credentials."""
        if self.client_id is None or self.client_secret is None:
            return ()
        return (ClientSettings(client_id=self.client_id, client_secret=self.client_secret), *self.more_clients)

    @field_validator("region")
    @classmethod
    def _is_domain(cls, region: str) -> str:
        if not _REGION.fullmatch(region):
            raise ValueError("must be the bare domain of a region, such as mypurecloud.com or mypurecloud.ie")
        return region

    @model_validator(mode="before")
    @classmethod
    def _completed(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        region = given.get("region", _DEFAULT_REGION)
        has_credentials = bool(given.get("client_id") and given.get("client_secret"))
        registration = given.get("registration") or ("webhook" if has_credentials else "none")
        derived: dict[str, Any] = {
            "registration": registration,
            "dialect": "tutorial" if registration == "webhook" else "platform",
        }
        if isinstance(region, str) and _REGION.fullmatch(region):
            # Who says where the API is, means its tokens too: the credentials must not go to another host.
            derived |= {
                "api_url": f"https://api.{region}",
                "login_url": given.get("api_url", f"https://login.{region}"),
            }
        return derived | given

    @model_validator(mode="after")
    def _clients_differ(self) -> "GenesysSettings":
        if self.more_clients and self.client_id is None:
            raise ValueError("has more_clients without a first one; set client_id and client_secret")
        ids = [client.client_id for client in self.clients]
        if len(set(ids)) < len(ids):
            raise ValueError(
                "names one OAuth client twice in more_clients, which doubles no limit; create another one, or remove it"
            )
        return self
