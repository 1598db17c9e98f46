"""The settings of crm-sync, checked once at start: the environment first, then crm-sync.toml, then defaults."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

from pydantic import (
    BaseModel,
    Field,
    JsonValue,
    PrivateAttr,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from crm_sync import closure, logs, settings_sources
from crm_sync.errors import SettingsError
from crm_sync.resolution import ResolutionMap, Status
from crm_sync.settings_genesys import ClientSettings, GenesysSettings, TriggerSettings, WebAddress
from crm_sync.settings_sessions import SessionSettings
from crm_sync.settings_sources import Sources
from crm_sync.settings_targets import Count, FieldRule, Table, TargetSettings, Text, WhenSettings

SHORTEST_SECRET = 16
"""Genesys Cloud's own rule for a secret that signs is "longer than 15 characters"."""


def _folded(word: str) -> str:
    return word.strip().casefold()


def _folded_once(given: dict[str, Status]) -> dict[str, Status]:
    words: dict[str, Status] = {}
    for word, status in given.items():
        if words.setdefault(_folded(word), status) is not status:
            raise ValueError(f"explains {_folded(word)!r} twice and differently; keep one (capitals do not matter)")
    return words


class ReceiveSettings(Table):
    """Limits of the webhook. The feed of closures relies on no intake lasting longer than 15 seconds."""

    max_body_bytes: Count = 262_144
    body_deadline_seconds: Count = 10
    commit_deadline_seconds: Annotated[int, Field(strict=True, ge=1, le=15)] = 10


class ResolutionSettings(Table):
    """What the organisation's own wrap-up codes and words mean. The word "resolved" is known unless it is redefined."""

    wrapup_codes: dict[str, Status] = Field(default_factory=dict)
    words: dict[str, Status] = Field(default_factory=dict, validate_default=True)
    attribute: Text = "resolutionStatus"
    grace_minutes: Annotated[int, Field(strict=True, ge=0)] = 10

    def as_map(self) -> ResolutionMap:
        """Return the map that `closure.derive` takes."""
        return ResolutionMap(
            wrapup_codes={closure.canonical_id(code): status for code, status in self.wrapup_codes.items()},
            wrapup_names={_folded(n): status for n, status in self.wrapup_codes.items() if not closure.is_uuid(n)},
            words=self.words,
            attribute=self.attribute,
            grace=timedelta(minutes=self.grace_minutes),
        )

    @field_validator("wrapup_codes")
    @classmethod
    def _are_clear(cls, given: dict[str, Status]) -> dict[str, Status]:
        _folded_once({name: status for name, status in given.items() if not closure.is_uuid(name)})
        return given

    @field_validator("words")
    @classmethod
    def _with_resolved(cls, given: dict[str, Status]) -> dict[str, Status]:
        return {"resolved": Status.RESOLVED} | _folded_once(given)


class WorkerSettings(Table):
    """How long a worker may hold a delivery, and how long one push may last."""

    lease_seconds: Count = 60
    push_deadline_seconds: Count = 20

    @model_validator(mode="after")
    def _push_fits(self) -> "WorkerSettings":
        if self.push_deadline_seconds >= self.lease_seconds:
            raise ValueError("lets a push outlive its lease; make push_deadline_seconds less than lease_seconds")
        return self


class ReconcileSettings(Table):
    """How analytics is asked for what was missed. With `every_minutes = 0` the worker never does it by itself.

    A page is one transaction, for which SQLite's other writers wait: hence the small ones of a job.
    `lag_minutes` is how long analytics may take to note an end, `longest_life_days` how long a conversation lasts.
    """

    every_minutes: Annotated[int, Field(strict=True, ge=0)] = 360
    look_back_days: Count = 3
    lag_minutes: Count = 5
    page_size: Count = 100
    job_page_size: Annotated[int, Field(strict=True, ge=1, le=1_000)] = 200
    longest_interval_days: Count = 31
    longest_life_days: Annotated[int, Field(strict=True, ge=0)] = 2


class EnrichSettings(Table):
    """What is asked beside the events: with no `requests_per_hour` only the names of wrap-up codes that are mapped so.

    A conversation is asked for `wait_minutes` after its end, when analytics should know it, with others at once.
    """

    requests_per_hour: Annotated[int, Field(strict=True, ge=0)] = 0
    wait_minutes: Count = 10
    ids_at_once: Count = 50


class NotificationSettings(Table):
    """The WebSocket channel as a source: the sessions that we start, and all conversations of these queues."""

    enabled: Annotated[bool, Field(strict=True)] = False
    queues: tuple[Text, ...] = ()


class Settings(Table):
    """All settings. `repr` shows no secret."""

    database_url: str = Field(repr=False)
    genesys: GenesysSettings = GenesysSettings()
    public_url: WebAddress | None = None
    webhook_secrets: tuple[SecretStr, ...] = ()
    log_format: Literal["text", "json"] = "text"
    host: Text = "127.0.0.1"
    port: Annotated[int, Field(strict=True, ge=1, le=65_535)] = 8000
    receive: ReceiveSettings = ReceiveSettings()
    resolution: ResolutionSettings = ResolutionSettings()
    sessions: SessionSettings = SessionSettings()
    reconcile: ReconcileSettings = ReconcileSettings()
    enrich: EnrichSettings = EnrichSettings()
    notifications: NotificationSettings = NotificationSettings()
    worker: WorkerSettings = WorkerSettings()
    targets: dict[str, TargetSettings] = Field(default_factory=dict)
    _warnings: tuple[str, ...] = PrivateAttr(default=())

    @classmethod
    def load(cls, environ: Mapping[str, str], *, cwd: Path) -> "Settings":
        """Return the settings; raises SettingsError with every fault, each a sentence that quotes no value."""
        sources = settings_sources.read(environ, cwd=cwd)
        faults = list(sources.faults)
        if sources.file_was_read:
            faults += settings_sources.contradictions(sources)
        try:
            settings = cls.model_validate(sources.values)
        except ValidationError as invalid:
            errors = invalid.errors(include_url=False, include_input=False)
            faults += [settings_sources.explained(error, sources, _known_keys(error["loc"])) for error in errors]
        if faults:
            # Raised out here, so that no traceback carries what pydantic was given.
            raise SettingsError(faults)
        settings._warnings = tuple(_doubts(settings, sources))
        return settings

    @property
    def warnings(self) -> tuple[str, ...]:
        """What works but is probably not meant, one sentence each."""
        return self._warnings

    def require_for_web(self) -> None:
        """Raise SettingsError unless the webhook can tell Genesys Cloud from a stranger."""
        if not self.webhook_secrets:
            raise SettingsError(
                [
                    "WEBHOOK_SECRETS is not set, so no event could be verified; set it (or WEBHOOK_SECRETS_FILE) to "
                    f"one or more secrets of at least {SHORTEST_SECRET} characters, separated by commas."
                ]
            )

    def secret_values(self) -> frozenset[str]:
        """Return every secret in these settings as plain text, for `logs.hide`."""
        held = [*(client.client_secret for client in self.genesys.clients), self.genesys.client_secret]
        held += self.webhook_secrets
        held += [secret for target in self.targets.values() for secret in target.secrets]
        values = {secret.get_secret_value() for secret in held if secret is not None}
        password = urlsplit(self.database_url).password or ""
        values |= {password, unquote(password)}
        for target in self.targets.values():
            values |= set(_secret_options(target.options))
        return frozenset(values - {""})

    @field_validator("database_url")
    @classmethod
    def _is_understood(cls, url: str) -> str:
        scheme, _, rest = url.partition("://")
        match scheme:
            case "postgres" | "postgresql" | "postgresql+psycopg" if rest:
                try:
                    _ = urlsplit(url).port
                except ValueError:
                    message = "cannot be taken apart; percent-encode special characters in its user and password"
                    raise ValueError(message) from None
                return f"postgresql+psycopg://{rest}"
            case "sqlite" if rest.startswith("/") and rest not in ("/", "/:memory:") and "?" not in rest:
                return url
        raise ValueError("must begin with postgresql:// or be sqlite:/// and the path of a file, without options")

    @field_validator("webhook_secrets", mode="before")
    @classmethod
    def _separated(cls, given: Any) -> Any:
        if isinstance(given, str):
            return [secret for part in given.split(",") if (secret := part.strip())]
        return given

    @field_validator("webhook_secrets")
    @classmethod
    def _are_long(cls, secrets: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        short = [str(number) for number, secret in enumerate(secrets, start=1) if len(secret) < SHORTEST_SECRET]
        if short:
            raise ValueError(
                f"has a secret (number {', '.join(short)}) of fewer than {SHORTEST_SECRET} characters, which Genesys "
                "Cloud refuses; make it longer"
            )
        return secrets


def _doubts(settings: Settings, sources: Sources) -> Iterator[str]:
    genesys = settings.genesys
    if genesys.registration == "none" and not sources.has("genesys", "registration"):
        yield (
            "No webhook is registered with Genesys Cloud, for GENESYS_CLIENT_ID and GENESYS_CLIENT_SECRET are not set; "
            "set them, or GENESYS_REGISTRATION=none if that is meant."
        )
    addresses = {"PUBLIC_URL": settings.public_url}
    addresses |= {"GENESYS_API_URL": genesys.api_url, "GENESYS_LOGIN_URL": genesys.login_url}
    for name, url in addresses.items():
        if url and urlsplit(url).scheme == "http" and not _is_loopback(urlsplit(url).hostname or ""):
            yield f"{name} is plain http, which others on the way can read and change; use https."


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _secret_options(options: Mapping[str, JsonValue]) -> Iterator[str]:
    for key, value in options.items():
        if isinstance(value, dict):
            yield from _secret_options(value)
        elif isinstance(value, str) and logs.is_sensitive(key) and "://" not in value:
            yield value


def _known_keys(place: settings_sources.Place) -> list[str]:
    """Return the keys that fit the table in which the last part of the place stands."""
    model: type[BaseModel] = Settings
    if place[0] == "targets":
        model = WhenSettings if "when" in place else FieldRule
    elif "more_clients" in place:
        model = ClientSettings
    elif "triggers" in place:
        model = TriggerSettings
    elif len(place) > 1 and isinstance(table := Settings.model_fields[str(place[0])].default, BaseModel):
        model = type(table)
    return [str(known.validation_alias or name) for name, known in model.model_fields.items()]
