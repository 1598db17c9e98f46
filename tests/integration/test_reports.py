"""The figures of a report, each computed by hand from the same rows on both engines."""

import math
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection

from crm_sync.resolution import Status
from crm_sync.services import Services
from crm_sync.store import reports
from crm_sync.store.reports import By, Figures, Report, Spread
from tests.integration.readers import add_attempt, add_closure, add_delivery, add_event, add_target, service

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
DAY = timedelta(days=1)
RECORDED = {"": {"ended_at": ["stamp", 1]}}


@pytest.fixture
def services(migrated_url: str) -> Iterator[Services]:
    with service(migrated_url) as opened:
        yield opened


def report(services: Services, by: By | None = None, *, since: datetime = NOON, until: datetime = NOON + DAY) -> Report:
    with services.database.read() as connection:
        return reports.resolution(connection, since=since, until=until, by=by)


def total(services: Services) -> Figures:
    return report(services).total


def closed(connection: Connection, conversation_id: str, **known: Any) -> None:
    add_closure(connection, conversation_id, **{"closed": True, "ended_at": NOON} | known)


def told(connection: Connection, conversation_id: str, *, after: timedelta, at: datetime = NOON, **known: Any) -> None:
    values = {"kind": "customer.end", "occurred_at": at} | known
    event_id = f"{conversation_id} {values['kind']} {after.total_seconds()}"[:36]
    add_event(connection, event_id, conversation_id, received_at=at + after, **values)


def ms(number: float) -> timedelta:
    return timedelta(milliseconds=number)


def all_at(value: int, *, count: int = 1) -> Spread:
    return Spread(count=count, p50=value, p95=value, p99=value)


def test_an_empty_window_has_no_rates_and_no_percentiles(services: Services) -> None:
    found = report(services, "media")

    assert found.total == Figures() and found.groups == {}
    told = found.total.as_record()
    assert told["closed"] == 0 and told["resolution_success_rate_resolved_of_known"] is None
    assert told["handle_time_ms_talk_plus_held_plus_acw"] == {"count": 0, "p50": None, "p95": None, "p99": None}


def test_the_success_rate_is_of_the_known_ones_and_the_unknown_ones_are_told(services: Services) -> None:
    words = ["resolved"] * 4 + ["unresolved", "escalated", "abandoned", "transferred"] + ["unknown"] * 3
    with services.database.write() as connection:
        for number, word in enumerate(words):
            closed(connection, f"c{number}", resolution=Status(word), agent_took_part=number in (0, 5))

    told = total(services).as_record()

    assert (told["closed"], told["resolution_known"], told["resolution_unknown"]) == (11, 8, 3)
    assert told["resolution_success_rate_resolved_of_known"] == 0.5
    assert (told["resolved_without_agent"], told["self_service_rate_resolved_without_agent_of_known"]) == (3, 0.375)
    assert told["resolutions"] == {
        "resolved": 4, "unresolved": 1, "escalated": 1, "transferred": 1, "abandoned": 1, "unknown": 3,
    }  # fmt: skip


def test_only_what_ended_in_the_window_and_is_closed_counts(services: Services) -> None:
    with services.database.write() as connection:
        closed(connection, "first moment")
        closed(connection, "last moment", ended_at=NOON + DAY - ms(0.001))
        closed(connection, "too early", ended_at=NOON - ms(0.001))
        closed(connection, "too late", ended_at=NOON + DAY)
        closed(connection, "reopened", closed=False)
        closed(connection, "running", closed=False, ended_at=None)

    assert total(services).closed == 2
    with services.database.read() as connection:
        assert reports.closed(connection, since=NOON, until=NOON + DAY) == 2
        assert reports.closed_among(connection, ["too early", "reopened", "nobody"]) == {"too early"}


def test_delivery_latency_is_of_the_event_that_first_told_the_end(services: Services) -> None:
    with services.database.write() as connection:
        closed(connection, "c1", customer_left_at=NOON, ended_at=NOON + timedelta(seconds=20))
        told(connection, "c1", after=ms(1), kind="customer.start")
        told(connection, "c1", after=ms(2), status="quarantined")
        told(connection, "c1", after=ms(3), at=NOON - timedelta(hours=1))  # An earlier end: it was reopened.
        told(connection, "c1", after=ms(250))
        told(connection, "c1", after=ms(900), at=NOON + timedelta(seconds=20), kind="conversation")
        told(connection, "c1", after=timedelta(hours=3), kind="record")

    assert total(services).delivery == all_at(250)


def test_an_end_that_only_records_tell_has_no_latency_and_is_counted(services: Services) -> None:
    with services.database.write() as connection:
        closed(connection, "by record")
        told(connection, "by record", after=timedelta(hours=3), kind="record", source="reconcile")
        closed(connection, "by event")
        told(connection, "by event", after=ms(10))

    found = total(services)

    assert found.delivery == all_at(10)
    assert found.as_record()["closed_known_from_records_only"] == 1


def test_analytics_may_date_an_end_a_moment_later_than_its_event(services: Services) -> None:
    with services.database.write() as connection:
        closed(connection, "c1", customer_left_at=NOON + ms(11))
        told(connection, "c1", after=ms(40))

    assert total(services).delivery == all_at(40)


def test_sync_latency_is_of_each_targets_first_acknowledgement_of_that_end(services: Services) -> None:
    with services.database.write() as connection:
        crm, table = add_target(connection, "crm"), add_target(connection, "table")
        closed(connection, "c1")
        told(connection, "c1", after=ms(200))
        delivery = add_delivery(connection, crm, "c1")
        add_attempt(connection, delivery, finished_at=NOON - timedelta(hours=1))  # Of an earlier end.
        add_attempt(connection, delivery, finished_at=NOON + ms(300), outcome="failed")
        add_attempt(connection, delivery, finished_at=NOON + ms(350), outcome="skipped")
        add_attempt(connection, delivery, finished_at=NOON + ms(1500), outcome="unchanged")
        add_attempt(connection, delivery, finished_at=NOON + ms(9000), outcome="updated")
        add_attempt(connection, add_delivery(connection, table, "c1"), finished_at=NOON + ms(400))

    assert total(services).sync == {"crm": all_at(1500), "table": all_at(400)}


def test_platform_termination_latency_is_known_where_a_record_told_the_end(services: Services) -> None:
    with services.database.write() as connection:
        closed(connection, "recorded", customer_left_at=NOON - timedelta(seconds=21), facts=RECORDED)
        closed(connection, "by events alone", customer_left_at=NOON)
        closed(connection, "nobody left", facts=RECORDED)

    assert total(services).termination == all_at(21_000)


def test_handle_time_is_the_sum_of_what_is_known(services: Services) -> None:
    with services.database.write() as connection:
        closed(connection, "all", talk_ms=48_000, held_ms=2_000, acw_ms=20_000)
        closed(connection, "talk alone", talk_ms=30_000)
        closed(connection, "no agent")

    assert total(services).handle == Spread(count=2, p50=50_000, p95=68_000, p99=69_600)


@pytest.mark.parametrize("count", [1, 2, 3, 20, 21, 100, 101, 257])
def test_percentiles_are_interpolated_between_neighbours(services: Services, count: int) -> None:
    chance = random.Random(count)
    values = [chance.randrange(10**9) for _ in range(count)]
    with services.database.write() as connection:
        for number, value in enumerate(values):
            closed(connection, f"c{number}")
            told(connection, f"c{number}", after=timedelta(microseconds=value))

    found = total(services).delivery

    assert (found.count, found.p50, found.p95, found.p99) == (
        count,
        *(interpolated(values, q) for q in (0.5, 0.95, 0.99)),
    )


def interpolated(values: list[int], quantile: float) -> int:
    """Return the quantile in milliseconds, of values in microseconds, as the textbook has it."""
    ordered, place = sorted(values), quantile * (len(values) - 1)
    below, above = ordered[math.floor(place)], ordered[math.ceil(place)]
    return round((below + (place - math.floor(place)) * (above - below)) / 1000)


def test_groups_by_media_and_day_add_up(services: Services) -> None:
    with services.database.write() as connection:
        closed(connection, "c1", media_type="voice", talk_ms=1000)
        closed(connection, "c2", media_type="voice", ended_at=NOON + timedelta(hours=12), talk_ms=3000)
        closed(connection, "c3", media_type="message", resolution=Status.RESOLVED)
        closed(connection, "c4", ended_at=NOON + timedelta(hours=12) - ms(0.001))

    by_media, by_day = report(services, "media").groups, report(services, "day").groups

    assert {key: figures.closed for key, figures in by_media.items()} == {"message": 1, "voice": 2, None: 1}
    assert [*by_media] == ["message", "voice", None]
    assert by_media["voice"].handle == Spread(count=2, p50=2000, p95=2900, p99=2980)
    assert by_media["message"].of_known(1) == 1.0
    assert {key: figures.closed for key, figures in by_day.items()} == {"2024-01-15": 3, "2024-01-16": 1}


def test_a_conversation_counts_in_each_of_its_queues_and_flows_and_once_in_all(services: Services) -> None:
    with services.database.write() as connection:
        crm = add_target(connection, "crm")
        closed(connection, "c1", queue_ids=("q1", "q2"), flow_ids=("f1",), talk_ms=1000)
        told(connection, "c1", after=ms(5))
        add_attempt(connection, add_delivery(connection, crm, "c1"), finished_at=NOON + ms(70))
        closed(connection, "c2", queue_ids=("q2",))

    by_queue, by_flow = report(services, "queue"), report(services, "flow")

    assert {key: figures.closed for key, figures in by_queue.groups.items()} == {"q1": 1, "q2": 2}
    assert {key: figures.closed for key, figures in by_flow.groups.items()} == {"f1": 1, None: 1}
    assert by_queue.total == by_flow.total == total(services) and by_queue.total.closed == 2
    for key in ("q1", "q2"):
        assert by_queue.groups[key].delivery == all_at(5)
        assert by_queue.groups[key].sync == {"crm": all_at(70)}
    as_told = by_queue.as_record()
    assert as_told["groups_overlap"] is True and isinstance(as_told["groups"], list)
    assert [group["queue"] for group in as_told["groups"] if isinstance(group, dict)] == ["q1", "q2"]
