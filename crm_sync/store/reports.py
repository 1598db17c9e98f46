"""What the closures of a window amount to: how many were resolved, and how long each step took. Nothing here writes.

The database computes every figure, so a window may hold any number of closures. Both engines work with whole
microseconds and interpolate between two neighbours alike, so that they agree to the last digit.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias

from sqlalchemy import Connection, Row, TextClause, bindparam, func, select, text

from crm_sync import clock
from crm_sync.closure import JSON
from crm_sync.resolution import Status
from crm_sync.store.tables import ClosureRow, UTCDateTime

By: TypeAlias = Literal["media", "queue", "flow", "day"]

SETS: Mapping[str, str] = {"queue": "queue_ids", "flow": "flow_ids"}
"""By what a conversation may count in several groups -> the column with its members."""

_QUANTILES: Mapping[str, float] = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
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
    window, chosen = {"since": since, "until": until}, _chosen_sql(connection, by)
    counted = connection.execute(_statement(chosen, _COUNTS), window).all()
    measured = connection.execute(_statement(chosen, _MEASURED + _spread_sql(connection)), window).all()
    keys = sorted({row.key for row in counted}, key=lambda key: (key is None, key or ""))
    return {
        key: _gathered([row for row in counted if row.key == key], [row for row in measured if row.key == key])
        for key in keys
    }


def _gathered(counted: Iterable[Row[Any]], measured: Iterable[Row[Any]]) -> Figures:
    resolutions: Counter[str] = Counter()
    alone = told = 0
    for row in counted:
        resolutions[row.resolution] += row.closures
        told += row.told
        if row.resolution == Status.RESOLVED and not row.agent_took_part:
            alone += row.closures
    spreads: dict[str, dict[str, Spread]] = {"delivery": {}, "sync": {}, "termination": {}, "handle": {}}
    for row in measured:
        values = {name: round(getattr(row, name) / 1000) for name in _QUANTILES}
        spreads[row.measure][row.target] = Spread(count=row.values_known, **values)
    return Figures(
        resolutions=resolutions,
        resolved_without_agent=alone,
        told_by_event=told,
        delivery=spreads["delivery"].get("", Spread()),
        sync=dict(sorted(spreads["sync"].items())),
        termination=spreads["termination"].get("", Spread()),
        handle=spreads["handle"].get("", Spread()),
    )


def _statement(chosen: str, query: str) -> TextClause:
    bounds = [bindparam(name, type_=UTCDateTime()) for name in ("since", "until")]
    return text(chosen + query).bindparams(*bounds)


def _chosen_sql(connection: Connection, by: By | None) -> str:
    """Return SQL for the closures of the window, what was told of their ends, and the keys of the groups they are in.

    An end is told by the first event received that says so. Analytics may date it a moment later than the event did,
    hence the second.
    """
    is_postgresql = connection.dialect.name == "postgresql"
    us = _postgresql_us if is_postgresql else _sqlite_us
    key, members = "CAST(NULL AS text)", ""
    if by == "media":
        key = "c.media_type"
    elif by == "day":
        key = "to_char(c.ended_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')" if is_postgresql else "substr(c.ended_at, 1, 10)"
    elif by is not None:
        column = f"c.{SETS[by]}"
        key = "members.value"
        members = (
            f"LEFT JOIN LATERAL jsonb_array_elements_text({column}) AS members(value) ON true"
            if is_postgresql
            else f"LEFT JOIN json_each({column}) AS members"
        )
    recorded = "c.facts -> '' -> 'ended_at'" if is_postgresql else """json_extract(c.facts, '$."".ended_at')"""
    window = "c.closed AND c.ended_at >= :since AND c.ended_at < :until"
    return f"""
        WITH chosen AS MATERIALIZED (
            SELECT c.conversation_id, c.resolution, c.agent_took_part,
                {us("c.ended_at")} AS ended, {us("c.customer_left_at")} AS left_at,
                {recorded} IS NOT NULL AS is_recorded,
                CASE WHEN coalesce(c.talk_ms, c.held_ms, c.acw_ms) IS NOT NULL
                     THEN coalesce(c.talk_ms, 0) + coalesce(c.held_ms, 0) + coalesce(c.acw_ms, 0) END AS handle_ms
            FROM closures AS c WHERE {window}
        ),
        grouped AS MATERIALIZED (
            SELECT c.conversation_id, {key} AS key FROM closures AS c {members} WHERE {window}
        ),
        told AS MATERIALIZED (
            SELECT conversation_id, occurred, received FROM (
                SELECT chosen.conversation_id, {us("e.occurred_at")} AS occurred, {us("e.received_at")} AS received,
                    row_number() OVER (PARTITION BY chosen.conversation_id ORDER BY e.received_at, e.event_id) AS place
                FROM chosen JOIN events AS e ON e.conversation_id = chosen.conversation_id
                WHERE e.status = 'accepted' AND e.kind IN ('customer.end', 'conversation')
                    AND {us("e.occurred_at")} >= coalesce(chosen.left_at, chosen.ended) - 1000000
            ) AS candidates WHERE place = 1
        ),
        synced AS MATERIALIZED (
            SELECT told.conversation_id, t.name AS target, min({us("a.finished_at")}) - told.occurred AS took
            FROM told
                JOIN deliveries AS d ON d.conversation_id = told.conversation_id
                JOIN targets AS t ON t.id = d.target_id
                JOIN delivery_attempts AS a ON a.delivery_id = d.id
            WHERE a.outcome IN ('created', 'updated', 'unchanged') AND {us("a.finished_at")} >= told.received
            GROUP BY told.conversation_id, t.name, told.occurred
        )
    """


_COUNTS = """
    SELECT grouped.key, chosen.resolution, chosen.agent_took_part, count(*) AS closures, count(told.received) AS told
    FROM chosen
        JOIN grouped ON grouped.conversation_id = chosen.conversation_id
        LEFT JOIN told ON told.conversation_id = chosen.conversation_id
    GROUP BY grouped.key, chosen.resolution, chosen.agent_took_part
"""

# Analytics alone knows when the platform let go of a conversation; by the events it ends when the customer leaves.
_MEASURED = """,
    measured AS MATERIALIZED (
        SELECT grouped.key, taken.measure, taken.target, taken.value
        FROM (
            SELECT conversation_id, 'delivery' AS measure, '' AS target, received - occurred AS value FROM told
            UNION ALL SELECT conversation_id, 'sync', target, took FROM synced
            UNION ALL SELECT conversation_id, 'termination', '', ended - left_at FROM chosen WHERE is_recorded
            UNION ALL SELECT conversation_id, 'handle', '', handle_ms * 1000 FROM chosen
        ) AS taken JOIN grouped ON grouped.conversation_id = taken.conversation_id
        WHERE taken.value IS NOT NULL
    )
"""


def _spread_sql(connection: Connection) -> str:
    """Return SQL for the percentiles of each measure, interpolated as `percentile_cont` does it."""
    if connection.dialect.name == "postgresql":
        columns = [f"percentile_cont({q}) WITHIN GROUP (ORDER BY value) AS {name}" for name, q in _QUANTILES.items()]
        source = "measured"
    else:
        columns = [_interpolated_sql(q, name) for name, q in _QUANTILES.items()]
        source = """(
            SELECT *, row_number() OVER (PARTITION BY key, measure, target ORDER BY value) - 1 AS place,
                count(*) OVER (PARTITION BY key, measure, target) - 1 AS last
            FROM measured
        )"""
    return f"""
        SELECT key, measure, target, count(*) AS values_known, {", ".join(columns)}
        FROM {source} AS ranked GROUP BY key, measure, target
    """


def _interpolated_sql(quantile: float, name: str) -> str:
    exact = f"({quantile} * max(last))"
    below = f"CAST({quantile} * last AS integer)"
    lower, upper = (f"max(CASE WHEN place = {at} THEN value END)" for at in (below, f"min({below} + 1, last)"))
    return f"{lower} + ({exact} - CAST({exact} AS integer)) * ({upper} - {lower}) AS {name}"


def _postgresql_us(column: str) -> str:
    return f"CAST(extract(epoch FROM {column}) * 1000000 AS bigint)"


def _sqlite_us(column: str) -> str:
    # Its functions know milliseconds only, and round: the digits behind the seconds are read as they are.
    return f"(strftime('%s', substr({column}, 1, 19)) * 1000000 + CAST(substr({column}, 21, 6) AS integer))"
