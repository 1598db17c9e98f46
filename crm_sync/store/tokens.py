"""Bearer tokens of the API: made from random bits, shown once, kept as a digest."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select, text, update

from crm_sync.errors import NotFound
from crm_sync.store import bulk
from crm_sync.store.tables import TokenRow

PREFIX = "crm_"
"""By which people, and programs that look for leaked secrets, know one of our tokens."""

_RANDOM_BYTES = 32
_TOKENS = TokenRow.metadata.tables["tokens"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token as it can still be shown: everything but itself."""

    id: int
    name: str
    role: str
    created_at: datetime
    revoked_at: datetime | None


def create(connection: Connection, *, name: str, role: str) -> str:
    """Make a token of this role and return it; nobody can be shown it again."""
    token = PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
    now: Any = text(bulk.now_sql(connection))
    connection.execute(insert(_TOKENS).values(name=name, role=role, digest=_digest(token), created_at=now))
    return token


def find(connection: Connection, token: str) -> str | None:
    """Return the role of a token that is known and not revoked."""
    # The look-up is by digest, so its timing tells nothing of a token that somebody is guessing.
    t = _TOKENS.c
    return connection.scalar(select(t.role).where(t.digest == _digest(token), t.revoked_at.is_(None)))


def rows(connection: Connection) -> list[Token]:
    """Return all tokens, also revoked ones, the oldest first."""
    t = _TOKENS.c
    found = connection.execute(select(t.id, t.name, t.role, t.created_at, t.revoked_at).order_by(t.id))
    return [Token(**row._mapping) for row in found]


def revoke(connection: Connection, token_id: int) -> None:
    """Let nobody use this token any more, from the next request on; raises NotFound when there is none to revoke."""
    now: Any = text(bulk.now_sql(connection))
    live = (_TOKENS.c.id == token_id) & _TOKENS.c.revoked_at.is_(None)
    if not connection.execute(update(_TOKENS).where(live).values(revoked_at=now)).rowcount:
        raise NotFound(f"There is no token {token_id}, or it is revoked already: see crm-sync token list.")


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
