"""What Genesys Cloud calls its wrap-up codes: looked up once, and again now and then."""

from collections.abc import Iterable, Mapping
from typing import Literal, TypeAlias

from sqlalchemy import Connection, func, select, text

from crm_sync.store import bulk
from crm_sync.store.tables import ClosureRow, LabelRow

Kind: TypeAlias = Literal["wrapup_code"]

_LABELS = LabelRow.metadata.tables["labels"]
_CLOSURES = ClosureRow.metadata.tables["closures"]


def names(connection: Connection, kind: Kind) -> dict[str, str]:
    """Return the names of all that is known of a kind, by id."""
    found = connection.execute(select(_LABELS.c.id, _LABELS.c.name).where(_LABELS.c.kind == kind))
    return {label_id: name for label_id, name in found}


def put(connection: Connection, kind: Kind, named: Mapping[str, str]) -> set[str]:
    """Keep these names by id, and return the ids of those that are new or were called otherwise."""
    known = names(connection, kind)
    changed = {label_id: name for label_id, name in named.items() if known.get(label_id) != name}
    for label_id, name in sorted(changed.items()):
        connection.execute(
            text(
                "INSERT INTO labels (kind, id, name, updated_at)"
                f" VALUES (:kind, :id, :name, {bulk.now_sql(connection)})"
                " ON CONFLICT (kind, id) DO UPDATE SET name = excluded.name, updated_at = excluded.updated_at"
            ),
            {"kind": kind, "id": label_id, "name": name},
        )
    return set(changed)


def used_codes(connection: Connection) -> dict[str, int]:
    """Return the wrap-up codes of our closures, with the number of those that have each."""
    code = _CLOSURES.c.wrapup_code
    found = connection.execute(select(code, func.count()).where(code.is_not(None)).group_by(code))
    return {wrapup_code: count for wrapup_code, count in found}


def with_code(connection: Connection, codes: Iterable[str]) -> list[str]:
    """Return the conversations whose wrap-up code is one of these."""
    c = _CLOSURES.c
    query = select(c.conversation_id).where(c.wrapup_code.in_(sorted(codes))).order_by(c.conversation_id)
    return list(connection.scalars(query))
