"""The token endpoint of the pretend Genesys Cloud, and the check that every call of its API goes through."""

import hmac
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from flask import Blueprint, Response, jsonify, request

from crm_sync.sandbox.problems import Problem

SCOPES = ("conversations:write", "analytics:conversation:view", "integrations:write")


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuthClient:
    """Who may ask for tokens, what they may do with them, and for how long.

    The tutorial's calls go by scopes, the platform's own by the permissions of the client's roles; None stands for all.
    """

    client_id: str = "sandbox"
    client_secret: str = field(default="sandbox-secret", repr=False)
    scopes: tuple[str, ...] = SCOPES
    permissions: frozenset[str] | None = None
    expires_in: int = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What one token allows until its end, on the monotonic clock."""

    scopes: frozenset[str]
    ends_at: float


class Tokens:
    """The tokens in force. The permissions are the client's until others are set; None stands for all."""

    def __init__(self, client: OAuthClient, *, monotonic: Callable[[], float]) -> None:
        self.permissions = client.permissions
        self._client = client
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._grants: dict[str, Grant] = {}

    def issue(self, client_id: str, client_secret: str, scope: str) -> str | None:
        """Return a new token, or None for a stranger.

        A scope that the client lacks is left out in silence, so it is the call that needs it which answers 403.
        """
        known = hmac.compare_digest(client_id.encode(), self._client.client_id.encode())
        proven = hmac.compare_digest(client_secret.encode(), self._client.client_secret.encode())
        if not (known and proven):
            return None
        asked = frozenset(scope.split()) or frozenset(self._client.scopes)
        grant = Grant(scopes=asked & set(self._client.scopes), ends_at=self._monotonic() + self._client.expires_in)
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._grants[token] = grant
        return token

    def expire(self) -> int:
        """End every token now; return how many there were."""
        with self._lock:
            count = len(self._grants)
            self._grants.clear()
        return count

    def guard(self, scope: str) -> Callable[[], None]:
        """Return a check for `before_request`: 401 without a token in force, 403 where it lacks the scope."""

        def check() -> None:
            if scope not in self._grant_in_force().scopes:
                raise Problem(403, f"The OAuth client lacks the scope {scope}.", params={"permissions": scope})

        return check

    def require(self, *any_of: str) -> None:
        """Raise Problem 401 without a token in force, and 403 where the client has none of these permissions."""
        self._grant_in_force()
        if any_of and not any(self.has(permission) for permission in any_of):
            code = "missing.permissions" if len(any_of) == 1 else "missing.any.permissions"
            lacking = ", ".join(any_of)
            raise Problem(403, f"The OAuth client lacks {lacking}.", code=code, params={"permissions": lacking})

    def has(self, permission: str) -> bool:
        """Tell whether the client has a permission of the real platform."""
        return self.permissions is None or permission in self.permissions

    def _grant_in_force(self) -> Grant:
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "bearer" or not token:
            raise Problem(401, "No authentication bearer token was given.", code="authentication.required")
        with self._lock:
            grant = self._grants.get(token.strip())
        if grant is None or grant.ends_at <= self._monotonic():
            raise Problem(401, "The bearer token is invalid or has expired.")
        return grant


def blueprint(tokens: Tokens, client: OAuthClient) -> Blueprint:
    """Return `POST /oauth/token`: credentials in the form, as the tutorial sends them, or as HTTP Basic."""
    oauth = Blueprint("oauth", __name__)

    @oauth.post("/oauth/token")
    def token() -> Response | tuple[Response, int]:
        if request.mimetype != "application/x-www-form-urlencoded":
            return _refusal(400, "invalid_request", "The body must be a form.")
        if request.form.get("grant_type") != "client_credentials":
            return _refusal(400, "unsupported_grant_type", "Only client_credentials is granted here.")
        basic = request.authorization
        if basic is not None and basic.type == "basic":
            client_id, client_secret = basic.username, basic.password
        else:
            client_id, client_secret = request.form.get("client_id"), request.form.get("client_secret")
        if not client_id or not client_secret:
            return _refusal(400, "invalid_request", "client_id or client_secret is missing.")
        issued = tokens.issue(client_id, client_secret, request.form.get("scope", ""))
        if issued is None:
            return _refusal(401, "invalid_client", "The client id or secret is wrong.")
        return jsonify(access_token=issued, token_type="bearer", expires_in=client.expires_in)

    return oauth


def _refusal(status: int, error: str, description: str) -> tuple[Response, int]:
    return jsonify(error=error, description=description, error_description=description), status
