"""`crm-sync audit`: each conversation from its start to the CRMs, streamed to the standard output."""

import csv
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

import click

from crm_sync import clock
from crm_sync.cli import Refusal
from crm_sync.cli.common import database, window_options
from crm_sync.closure import canonical_id

if TYPE_CHECKING:
    from crm_sync.store.audit import Entry

_FORMULAS = ("=", "+", "-", "@", "\t", "\r")
_DELIVERY = (
    "target", "state", "desired_version", "delivered_version", "delivered_at", "attempts", "first_attempt_at",
    "last_attempt_at", "last_outcome", "last_code", "last_error", "crm_record_id", "crm_url",
)  # fmt: skip


@click.command()
@click.argument("conversation_id", required=False)
@window_options("that ended")
@click.option(
    "--format",
    "form",
    type=click.Choice(["ndjson", "csv"]),
    default="ndjson",
    show_default=True,
    help="One line of JSON per conversation, or one row per conversation and target.",
)
def audit(conversation_id: str | None, since: datetime | None, until: datetime | None, form: str) -> None:
    """Export the audit of all conversations, or of one: session, events, closure, deliveries, drift.

    By their end, then their id; what has never ended comes last, and only without --since and --until.
    """
    if conversation_id is not None and (since or until):
        raise click.UsageError("Give a CONVERSATION_ID or a window, not both.")
    # Imported here, or every --help would load it.
    from crm_sync.store import audit as entries
    from crm_sync.store.repairs import Window

    with database() as opened:
        found: Iterable[Entry] = entries.walk(opened, Window(since=since, until=until))
        if conversation_id is not None:
            with opened.read() as connection:
                one = entries.find(connection, canonical_id(conversation_id))
            if one is None:
                raise Refusal(f"No closure of conversation {conversation_id} is known here.")
            found = [one]
        _write_csv(found) if form == "csv" else _write_lines(found)


def flatten(entry: "Entry") -> Iterator[dict[str, object]]:
    """Yield the rows of a table for an entry, one for each target; one for an entry that is owed to none."""
    events, session, drift = entry.events, entry.session or {}, entry.drift[-1] if entry.drift else {}
    row: dict[str, object] = {"conversation_id": entry.conversation_id}
    row |= _named("session", session, ("id", "state", "requested_at", "started_at", "bot_id", "media_type", "turns"))
    row |= _named("session", session.get("evaluation"), ("intent_name", "intent_confidence", "sentiment_score"))
    row |= _named("session", session.get("routing"), ("escalated", "queue_id", "reason"))
    row["events"] = events["count"]
    for place in ("first", "last"):
        row |= _named(f"{place}_event", events[place], ("id", "kind", "source", "occurred_at", "received_at"))
    row |= entry.closure
    row |= _named("drift", drift, ("what", "noticed_at", "reconciliation_id", "event_id"))
    for delivery in entry.deliveries or ({},):
        yield row | _named("delivery", delivery, _DELIVERY)


def safe(value: object) -> object:
    """Return a cell that no spreadsheet takes for a formula: texts alone can be one, numbers stay as they are."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case datetime():
            return clock.to_text(value)
        case str() if value.startswith(_FORMULAS):
            return f"'{value}"
    return value


def _named(prefix: str, values: Mapping[str, object] | None, names: Iterable[str]) -> dict[str, object]:
    return {f"{prefix}_{name}": (values or {}).get(name) for name in names}


def _write_lines(entries: "Iterable[Entry]") -> None:
    for entry in entries:
        sys.stdout.write(entry.as_line() + "\n")


def _write_csv(entries: "Iterable[Entry]") -> None:
    from crm_sync.store.audit import Entry

    writer = csv.writer(sys.stdout, lineterminator="\n")
    (unknown,) = flatten(Entry())
    writer.writerow(unknown)
    for entry in entries:
        writer.writerows(map(safe, row.values()) for row in flatten(entry))
