"""Count the conversations of a window beside analytics: how many we know, how many it has, and which are missing."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from crm_sync import clock
from crm_sync.closure import JSON
from crm_sync.errors import SetupError
from crm_sync.genesys import analytics, records
from crm_sync.genesys.analytics import Window
from crm_sync.genesys.client import GenesysClient, required
from crm_sync.settings import ReconcileSettings
from crm_sync.store import reports
from crm_sync.store.engine import Database

MOST_NAMED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What ended in a window, by our closures and by analytics; `missing_ids` are the first of those that we lack."""

    since: datetime
    until: datetime
    known: int
    in_analytics: int
    missing: int
    missing_ids: tuple[str, ...]

    def as_record(self) -> dict[str, JSON]:
        """Return the comparison as JSON values."""
        return {
            "since": clock.to_text(self.since),
            "until": clock.to_text(self.until),
            "closed": self.known,
            "ended_in_analytics": self.in_analytics,
            "missing": self.missing,
            "missing_ids": list(self.missing_ids),
        }


def with_analytics(
    settings: ReconcileSettings, database: Database, client: GenesysClient | None, window: Window
) -> Comparison:
    """Compare a window with analytics, up to what analytics has had time to note; nothing is mended.

    Raises SetupError without credentials, or for a window that lies wholly behind that; AdapterFailure.
    """
    client, now = required(client), clock.now()
    until = min(window.until, now - timedelta(minutes=settings.lag_minutes))
    if window.since >= until:
        raise SetupError(f"Analytics needs {settings.lag_minutes} minutes to note an end: check an earlier window.")
    pages = analytics.walk(
        client,
        Window(since=window.since, until=until),
        longest_interval=timedelta(days=settings.longest_interval_days),
        longest_life=timedelta(days=settings.longest_life_days),
        page_size=settings.page_size,
    )
    met: set[str] = set()
    missing: list[str] = []
    count = 0
    for page in pages:
        endings = [records.ending(record, not_after=now) for record in page if isinstance(record, dict)]
        ended = [e[0] for e in endings if e is not None and window.since <= e[1] < until and e[0] not in met]
        fresh = [*dict.fromkeys(ended)]
        met.update(fresh)
        lacking = _lacking(database, fresh)
        count += len(lacking)
        missing += lacking[: MOST_NAMED - len(missing)]
    with database.read() as connection:
        known = reports.closed(connection, since=window.since, until=until)
    return Comparison(
        since=window.since,
        until=until,
        known=known,
        in_analytics=len(met),
        missing=count,
        missing_ids=tuple(missing),
    )


def _lacking(database: Database, conversation_ids: list[str]) -> list[str]:
    with database.read() as connection:
        known = reports.closed_among(connection, conversation_ids)
    return [conversation_id for conversation_id in conversation_ids if conversation_id not in known]
