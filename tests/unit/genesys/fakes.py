"""A pretend way out: answers in order, and remembers what was sent."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs

from pydantic import SecretStr
from pydantic_core import from_json, to_json

from crm_sync.clock import UTC
from crm_sync.errors import AdapterFailure
from crm_sync.genesys.auth import Tokens
from crm_sync.genesys.breaker import Breaker
from crm_sync.genesys.client import GenesysClient
from crm_sync.genesys.limiter import Limiter, OAuthClient, OAuthClients
from crm_sync.settings_genesys import Dialect
from crm_sync.transport import Response

NOW = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)
SECRET = "a secret that nobody may see"
NAMES = ("first", "second", "third")
"""The tokens of the OAuth clients."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One request as it left."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None
    params: Mapping[str, str]

    @property
    def form(self) -> dict[str, list[str]]:
        """The body, read as a form."""
        return parse_qs((self.body or b"").decode())

    @property
    def json(self) -> Any:
        """The body, read as JSON."""
        return from_json(self.body or b"")


@dataclass(slots=True)
class FakeSender:
    """Gives the answers in order, the last one for ever; a failure among them is raised."""

    answers: list[Response | AdapterFailure]
    sent: list[Sent] = field(default_factory=list)
    is_closed: bool = False

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Response:
        """Remember the request and give the next answer."""
        self.sent.append(Sent(method=method, url=url, headers=headers or {}, body=body, params=params or {}))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, AdapterFailure):
            raise answer
        return answer

    def close(self) -> None:
        """Remember that it was closed."""
        self.is_closed = True


@dataclass(slots=True)
class Ticks:
    """A monotonic clock that stands still until it is moved."""

    seconds: float = 1000.0

    def __call__(self) -> float:
        return self.seconds

    def move(self, seconds: float) -> None:
        """Let so many seconds pass."""
        self.seconds += seconds


def answer(status: int = 200, body: Any = None, **headers: str) -> Response:
    """Return an answer; header names are written with underscores."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status=status, headers=named, body=body if isinstance(body, bytes) else to_json(body))


def token(name: str = "first", expires_in: float = 3600) -> Response:
    """Return the answer that grants a token."""
    return answer(body={"access_token": name, "expires_in": expires_in})


def tokens(sender: FakeSender, ticks: Callable[[], float] | None = None, dialect: Dialect = "tutorial") -> Tokens:
    """Return the tokens of a client whose token address is this sender."""
    return Tokens(
        url="https://login.test/oauth/token",
        client_id="id & more",
        client_secret=SecretStr(SECRET),
        sender=sender,
        dialect=dialect,
        monotonic=ticks or Ticks(),
        now=lambda: NOW,
    )


def client(
    *answers: Response | AdapterFailure,
    grants: tuple[Response, ...] = (),
    ticks: Ticks | None = None,
    limiters: Sequence[Limiter] = (),
) -> tuple[GenesysClient, FakeSender]:
    """Return a client whose API gives these answers, and what remembers the requests.

    It has an OAuth client for each limiter, and waits by moving the clock.
    """
    ticks = ticks or Ticks()
    api = FakeSender(list(answers))
    clients = [
        OAuthClient(tokens=tokens(FakeSender(list(grants) or [token(name)])), limiter=limiter)
        for name, limiter in zip(NAMES, limiters or [Limiter(300, monotonic=ticks)], strict=False)
    ]
    made = GenesysClient(
        api_url="https://api.test",
        clients=OAuthClients(clients),
        sender=lambda _seconds: api,
        breaker=Breaker(monotonic=ticks, now=lambda: NOW),
        now=lambda: NOW,
        sleep=ticks.move,
    )
    return made, api
