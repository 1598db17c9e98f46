"""What the closures of a window amount to: how many were resolved, and how long each step took. Nothing here writes.

A window may hold any number of closures: PostgreSQL computes every figure, and of SQLite's rows none is kept. Both
ways work with whole microseconds and interpolate between two neighbours alike, so that they agree to the last digit.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

from sqlalchemy import Connection, bindparam, func, select, text

from crm_sync import clock
from crm_sync.closure import JSON
from crm_sync.resolution import Status
from crm_sync.store import percentiles
from crm_sync.store.tables import ClosureRow, UTCDateTime

By: TypeAlias = Literal["media", "queue", "flow", "day"]
KEYS: tuple[By, ...] = get_args(By)

SETS: Mapping[str, str] = {"queue": "queue_ids", "flow": "flow_ids"}
"""By what a conversation may count in several groups -> the column with its members."""

_Series: TypeAlias = tuple[str | None, str, str]
"""Group, measure, and target, which only the sync latency has."""

_QUANTILES = (0.5, 0.95, 0.99)
_CLOSURES = ClosureRow.metadata.tables["closures"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Percentiles in whole milliseconds, and how many values they are computed from; None of none."""

    count: int = 0
    p50: int | None = None
    p95: int | None = None
    p99: int | None = None

    def as_record(self) -> dict[str, JSON]:
        """Return it as JSON values."""
        return {"count": self.count, "p50": self.p50, "p95": self.p95, "p99": self.p99}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What the closures of a window, or of one group in it, amount to.

    `told_by_event` counts those whose end an event has told; the others are known from records of analytics alone.
    """

    resolutions: Mapping[str, int] = field(default_factory=dict)
    resolved_without_agent: int = 0
    told_by_event: int = 0
    delivery: Spread = Spread()
    sync: Mapping[str, Spread] = field(default_factory=dict)
    termination: Spread = Spread()
    handle: Spread = Spread()

    @property
    def closed(self) -> int:
        """How many there are."""
        return sum(self.resolutions.values())

    @property
    def known(self) -> int:
        """How many of them have a resolution other than unknown."""
        return self.closed - self.resolutions.get(Status.UNKNOWN, 0)

    def of_known(self, count: int) -> float | None:
        """Return what part of the known ones these are; None where none is known."""
        return round(count / self.known, 4) if self.known else None

    def as_record(self) -> dict[str, JSON]:
        """Return every figure as a JSON value, under a name that says what it is computed from."""
        resolved = self.resolutions.get(Status.RESOLVED, 0)
        return {
            "closed": self.closed,
            "closed_known_from_records_only": self.closed - self.told_by_event,
            "resolutions": {str(status): self.resolutions.get(status, 0) for status in Status},
            "resolution_known": self.known,
            "resolution_unknown": self.closed - self.known,
            "resolution_success_rate_resolved_of_known": self.of_known(resolved),
            "resolved_without_agent": self.resolved_without_agent,
            "self_service_rate_resolved_without_agent_of_known": self.of_known(self.resolved_without_agent),
            "delivery_latency_ms_receipt_minus_event_time": self.delivery.as_record(),
            "sync_latency_ms_first_acknowledgement_minus_event_time": {
                target: spread.as_record() for target, spread in self.sync.items()
            },
            "platform_termination_latency_ms_conversation_end_minus_customer_left": self.termination.as_record(),
            "handle_time_ms_talk_plus_held_plus_acw": self.handle.as_record(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The figures of all closures that ended from `since` on and before `until`, and of each group by its key."""

    since: datetime
    until: datetime
    by: By | None
    total: Figures
    groups: Mapping[str | None, Figures]

    def as_record(self) -> dict[str, JSON]:
        """Return the report as JSON values. The group of conversations without a key has the key null, and is last."""
        told: dict[str, JSON] = {"since": clock.to_text(self.since), "until": clock.to_text(self.until), "by": self.by}
        told["all"] = self.total.as_record()
        if self.by is not None:
            told["groups_overlap"] = self.by in SETS
            told["groups"] = [{self.by: key, **figures.as_record()} for key, figures in self.groups.items()]
        return told


def usual_since(until: datetime) -> datetime:
    """Return where a window begins that is not said to begin anywhere: a week before its end, or at the first day."""
    return until - min(timedelta(days=7), until - datetime.min.replace(tzinfo=clock.UTC))


def resolution(connection: Connection, *, since: datetime, until: datetime, by: By | None = None) -> Report:
    """Return the report of a window."""

    def figures(grouped: By | None) -> dict[str | None, Figures]:
        return _figures(connection, since=since, until=until, by=grouped)

    total = figures(None).get(None, Figures())
    return Report(since=since, until=until, by=by, total=total, groups={} if by is None else figures(by))


def closed(connection: Connection, *, since: datetime, until: datetime) -> int:
    """Return how many closures ended in a window."""
    c = _CLOSURES.c
    query = select(func.count()).where(c.closed, c.ended_at >= since, c.ended_at < until)
    return connection.scalar(query) or 0


def closed_among(connection: Connection, conversation_ids: Sequence[str]) -> set[str]:
    """Return which of these conversations are known as closed, whenever they ended."""
    c = _CLOSURES.c
    return set(connection.scalars(select(c.conversation_id).where(c.closed, c.conversation_id.in_(conversation_ids))))


def _figures(connection: Connection, *, since: datetime, until: datetime, by: By | None) -> dict[str | None, Figures]:
    """Return the figures of each group by its key; without groups those of all under None, of no closures nothing."""
    window = {"since": since, "until": until}
    sql = _SQL(is_postgresql=connection.dialect.name == "postgresql", by=by)
    counted: Counter[_Kind] = Counter()
    for row in _rows(connection, sql.counts(), window):
        counted[_Kind(*row[:-1])] += row[-1]
    spreads: defaultdict[str | None, dict[tuple[str, str], Spread]] = defaultdict(dict)
    for (key, measure, target), spread in _spreads(connection, sql, window):
        spreads[key][measure, target] = spread
    keys = sorted({kind.key for kind in counted}, key=lambda key: (key is None, key or ""))
    return {
        key: _gathered({kind: count for kind, count in counted.items() if kind.key == key}, spreads[key])
        for key in keys
    }


class _Kind(NamedTuple):
    """What closures are counted by: their group, resolution, whether an agent took part and an event told the end."""

    key: str | None
    resolution: str
    with_agent: bool
    is_told: bool


def _spreads(connection: Connection, sql: "_SQL", window: Mapping[str, datetime]) -> Iterator[tuple[_Series, Spread]]:
    """Yield for each group, measure and target how long it took."""
    if sql.is_postgresql:
        found = _rows(connection, sql.percentiles(_QUANTILES), window)
        series: dict[_Series, tuple[int, list[float]]] = {
            (row[0], row[1], row[2]): (row[3], list(row[4:])) for row in found
        }
    else:

        def read() -> Iterator[tuple[_Series, int]]:
            return (((row[0], row[1], row[2]), row[3]) for row in _rows(connection, sql.measured(), window))

        series = percentiles.of_all(read, _QUANTILES)
    for name, (count, values) in series.items():
        p50, p95, p99 = (round(value / 1000) for value in values)
        yield name, Spread(count=count, p50=p50, p95=p95, p99=p99)


def _rows(connection: Connection, sql: str, window: Mapping[str, datetime]) -> Iterable[Sequence[Any]]:
    bounds = [bindparam(name, type_=UTCDateTime()) for name in window]
    return connection.execute(text(sql).bindparams(*bounds), window).yield_per(1000)


def _gathered(counted: Mapping[_Kind, int], spreads: Mapping[tuple[str, str], Spread]) -> Figures:
    resolutions: Counter[str] = Counter()
    for kind, count in counted.items():
        resolutions[kind.resolution] += count
    is_alone = {kind for kind in counted if kind.resolution == Status.RESOLVED and not kind.with_agent}
    return Figures(
        resolutions=resolutions,
        resolved_without_agent=sum(counted[kind] for kind in is_alone),
        told_by_event=sum(count for kind, count in counted.items() if kind.is_told),
        delivery=spreads.get(("delivery", ""), Spread()),
        sync={target: spread for (measure, target), spread in sorted(spreads.items()) if measure == "sync"},
        termination=spreads.get(("termination", ""), Spread()),
        handle=spreads.get(("handle", ""), Spread()),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _SQL:
    """The statements of a report, for one engine and one way of grouping."""

    is_postgresql: bool
    by: By | None

    def counts(self) -> str:
        """Return SQL for how many closures there are of each kind: on SQLite, where grouping sorts, one by one."""
        columns = f"{self._key()}, c.resolution, c.agent_took_part, told.event_id IS NOT NULL"
        if not self.is_postgresql:
            return f"SELECT {columns}, 1 FROM {self._closures()}"
        return f"SELECT {columns}, count(*) FROM {self._closures()} GROUP BY 1, 2, 3, 4"

    def measured(self) -> str:
        """Return SQL for every time that was taken: group, measure, target, microseconds."""
        us, key, told, bare = self._us, self._key(), self._closures(), self._closures(is_told=False)
        recorded = "c.facts -> '' -> 'ended_at'" if self.is_postgresql else """json_extract(c.facts, '$."".ended_at')"""
        acknowledged = f"""(SELECT min({us("a.finished_at")}) FROM delivery_attempts AS a WHERE a.delivery_id = d.id
            AND a.outcome IN ('created', 'updated', 'unchanged') AND a.finished_at >= told.received_at)"""
        # By the events alone a conversation ends when the customer leaves: only a record knows better.
        return f"""
            SELECT key, measure, target, value FROM (
                SELECT {key} AS key, 'delivery' AS measure, '' AS target,
                    {us("told.received_at")} - {us("told.occurred_at")} AS value FROM {told}
                UNION ALL SELECT {key}, 'sync', t.name, {acknowledged} - {us("told.occurred_at")}
                    FROM {
            self._closures(
                "JOIN deliveries AS d ON d.conversation_id = c.conversation_id JOIN targets AS t ON t.id = d.target_id"
            )
        }
                UNION ALL SELECT {key}, 'termination', '', {us("c.ended_at")} - {us("c.customer_left_at")}
                    FROM {bare} AND {recorded} IS NOT NULL
                UNION ALL SELECT {key}, 'handle', '',
                    (coalesce(c.talk_ms, 0) + coalesce(c.held_ms, 0) + coalesce(c.acw_ms, 0)) * 1000
                    FROM {bare} AND coalesce(c.talk_ms, c.held_ms, c.acw_ms) IS NOT NULL
            ) AS taken WHERE value IS NOT NULL
        """

    def percentiles(self, quantiles: Iterable[float]) -> str:
        """Return SQL for the number of times and these percentiles, of each group, measure and target."""
        each = ", ".join(f"percentile_cont({quantile}) WITHIN GROUP (ORDER BY value)" for quantile in quantiles)
        return f"SELECT key, measure, target, count(*), {each} FROM ({self.measured()}) AS times GROUP BY 1, 2, 3"

    def _closures(self, more: str = "", *, is_told: bool = True) -> str:
        """Return SQL for the closures of the window in their groups, with the event that told the end, if any did.

        That is the first received that says so. Analytics may date an end a moment later than its event did, hence the
        second. To look for it is what takes the time, so it is left out where it does not matter.
        """
        first = f"""e.conversation_id = c.conversation_id AND e.status = 'accepted'
            AND e.kind IN ('customer.end', 'conversation')
            AND {self._us("e.occurred_at")} >= {self._us("coalesce(c.customer_left_at, c.ended_at)")} - 1000000
            ORDER BY e.received_at, e.event_id LIMIT 1"""
        event = (
            f"LEFT JOIN LATERAL (SELECT * FROM events AS e WHERE {first}) AS told ON true"
            if self.is_postgresql
            else f"LEFT JOIN events AS told ON told.event_id = (SELECT e.event_id FROM events AS e WHERE {first})"
        )
        window = "c.closed AND c.ended_at >= :since AND c.ended_at < :until"
        return f"closures AS c {self._members()} {event if is_told else ''} {more} WHERE {window}"

    def _key(self) -> str:
        match self.by:
            case "media":
                return "c.media_type"
            case "day":
                utc = "to_char(c.ended_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')"
                return utc if self.is_postgresql else "substr(c.ended_at, 1, 10)"
            case None:
                return "CAST(NULL AS text)"
        return "members.value"

    def _members(self) -> str:
        if self.by is None or self.by not in SETS:
            return ""
        column = f"c.{SETS[self.by]}"
        if self.is_postgresql:
            return f"LEFT JOIN LATERAL jsonb_array_elements_text({column}) AS members(value) ON true"
        return f"LEFT JOIN json_each({column}) AS members"

    def _us(self, instant: str) -> str:
        """Return SQL for the microseconds of an instant."""
        if self.is_postgresql:
            return f"CAST(extract(epoch FROM {instant}) * 1000000 AS bigint)"
        # SQLite's functions round to milliseconds: what stands behind the seconds is read as it is.
        return f"(strftime('%s', substr({instant}, 1, 19)) * 1000000 + CAST(substr({instant}, 21, 6) AS integer))"
