"""The errors of crm-sync, and the kinds of fault another system can answer with.

CrmSyncError
├── SetupError              the environment is wrong: told before anything listens
│   ├── SettingsError       one or more settings are wrong; names them all
│   └── SchemaError         the database is not at the revision that this code needs
├── RequestError            the caller is wrong: answered with its 4xx `status`
│   ├── BadRequest          400
│   ├── NotAuthentic        401
│   ├── Forbidden           403
│   ├── NotFound            404
│   ├── BodyTimeout         408
│   ├── Conflict            409
│   ├── BodyTooLarge        413
│   └── UnsupportedBody     415
├── Unavailable             we cannot do it now: answered 503 with Retry-After
└── AdapterFailure          another system is wrong; carries a `Fault`
    ├── TemporaryFailure    the same request may succeed later
    └── PermanentFailure    it will not
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import ClassVar


class CrmSyncError(Exception):
    """Something is wrong with crm-sync."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class SetupError(CrmSyncError):
    """The environment of crm-sync is wrong."""


class SettingsError(SetupError):
    """The settings are wrong."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(self.faults))


class SchemaError(SetupError):
    """The database schema is not the one that this version needs."""


class RequestError(CrmSyncError):
    """The request cannot be accepted."""

    status: ClassVar[int] = 400


class BadRequest(RequestError):
    """The request is malformed."""


class NotAuthentic(RequestError):
    """The request carries no valid proof of its origin."""

    status = 401


class Forbidden(RequestError):
    """This token may not do that."""

    status = 403


class NotFound(RequestError):
    """There is no such thing here."""

    status = 404


class BodyTimeout(RequestError):
    """The body did not arrive in time."""

    status = 408


class Conflict(RequestError):
    """The request contradicts what is already here."""

    status = 409


class BodyTooLarge(RequestError):
    """The body is larger than this service accepts."""

    status = 413


class UnsupportedBody(RequestError):
    """Only uncompressed JSON is accepted."""

    status = 415


class Unavailable(CrmSyncError):
    """The service cannot do this now; try again shortly.

    `detail` is for admins alone, in a log or on a command line: it may name hosts and users.
    """

    def __init__(self, message: str | None = None, *, retry_after: int = 5, detail: str | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.detail = detail


class Kind(StrEnum):
    """What an answer of another system means for what we owe it."""

    RETRYABLE = "retryable"
    RATE_LIMITED = "rate_limited"
    QUOTA = "quota"
    AUTH = "auth"
    CONFIG = "config"
    DATA = "data"
    CONFLICT = "conflict"
    GONE = "gone"
    AMBIGUOUS = "ambiguous"

    @property
    def is_permanent(self) -> bool:
        """Whether sending the same record again cannot help."""
        return self in (Kind.DATA, Kind.GONE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why another system did not do what we asked.

    `code` is the vendor's own code, else `http_503` or the like; `message` is one sentence without secrets.
    """

    kind: Kind
    code: str
    message: str
    retry_at: datetime | None = None
    vendor_request_id: str | None = None
    field: str | None = None


class AdapterFailure(CrmSyncError):
    """Another system did not do what we asked."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


class TemporaryFailure(AdapterFailure):
    """Another system failed for now."""


class PermanentFailure(AdapterFailure):
    """Another system refused for good."""


def failure(fault: Fault) -> AdapterFailure:
    """Return the exception, of the right family, that carries this fault."""
    return PermanentFailure(fault) if fault.kind.is_permanent else TemporaryFailure(fault)
