"""`crm-sync report`, alone and beside a pretend Genesys Cloud: what is missing is counted and named."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from click.testing import Result
from sqlalchemy import update

from crm_sync import clock, compare, reconcile
from crm_sync.errors import SetupError
from crm_sync.genesys import events
from crm_sync.genesys.analytics import Window
from crm_sync.resolution import Status
from crm_sync.sandbox.detail_events import events_of
from crm_sync.sandbox.platform_queries import PlatformOptions
from crm_sync.sandbox.platform_world import WRAPUP_WORDS
from crm_sync.services import Services
from crm_sync.settings import ReconcileSettings, ResolutionSettings
from crm_sync.store import reports
from crm_sync.store.reports import Figures, Spread
from crm_sync.store.tables import ClosureRow
from tests.integration.pretend import PretendGenesys, pretend_genesys, process
from tests.integration.readers import add_attempt, add_closure, add_delivery, add_event, add_target, service

Command = Callable[..., Result]

NOW = clock.now()
WINDOW = Window(since=NOW - timedelta(days=1), until=NOW - timedelta(minutes=5))
MAPPED = ResolutionSettings.model_validate({"wrapup_codes": WRAPUP_WORDS})
OF_PAGES = ReconcileSettings(page_size=10)
COUNT = 35


@pytest.fixture
def genesys() -> Iterator[PretendGenesys]:
    """A platform on which so many conversations ended in the window, and five before it."""
    with pretend_genesys(platform=PlatformOptions(data_lag=timedelta(0))) as pretend:
        since, until = clock.to_text(WINDOW.since), clock.to_text(WINDOW.until)
        before = clock.to_text(WINDOW.since - timedelta(hours=12))
        pretend.control.play(count=5, seed=1, since=before, until=since, tell=False)
        pretend.control.play(count=COUNT, seed=2, since=since, until=until, tell=False)
        yield pretend


@pytest.fixture
def services(migrated_url: str, genesys: PretendGenesys) -> Iterator[Services]:
    with process(migrated_url, genesys.url, registration="none", reconcile=OF_PAGES, resolution=MAPPED) as made:
        yield made


def compared(services: Services, window: Window = WINDOW) -> compare.Comparison:
    return compare.with_analytics(services.settings.reconcile, services.database, services.genesys, window)


def test_all_are_missing_before_a_reconciliation_and_none_after_it(services: Services) -> None:
    before = compared(services)
    reconcile.run(services.settings, services.database, services.genesys, WINDOW)
    after = compared(services)

    assert (before.known, before.in_analytics, before.missing) == (0, COUNT, COUNT)
    assert len(before.missing_ids) == len(set(before.missing_ids)) == compare.MOST_NAMED
    assert (after.known, after.in_analytics, after.missing, after.missing_ids) == (COUNT, COUNT, 0, ())


def test_what_a_platform_tells_gives_every_latency_of_every_conversation(
    services: Services, genesys: PretendGenesys
) -> None:
    for one in genesys.state.platform.conversations.all():
        for event in events_of(one):
            body = event.body | {"topicName": event.topic}
            received_at = clock.from_ms(body["eventTime"]) + timedelta(milliseconds=250)
            context = events.Context(source="webhook", received_at=received_at)
            services.intake.record(events.parse(json.dumps(body).encode(), context)[0])
    before = report(services)
    reconcile.run(services.settings, services.database, services.genesys, WINDOW)
    after = report(services)

    assert before.delivery == after.delivery == Spread(count=COUNT, p50=250, p95=250, p99=250)
    assert (before.told_by_event, before.termination.count, after.termination.count) == (COUNT, 0, COUNT)
    assert after.termination.p50 is not None and after.termination.p50 >= 0
    assert after.handle.count > 0 and 0 < after.resolved_without_agent < after.resolutions["resolved"]


def report(services: Services) -> Figures:
    with services.database.read() as connection:
        return reports.resolution(connection, since=WINDOW.since, until=NOW).total


def test_one_that_we_hold_but_not_as_closed_is_missing(services: Services) -> None:
    missing = compared(services).missing_ids
    reconcile.run(services.settings, services.database, services.genesys, WINDOW)
    with services.database.write() as connection:
        reopened = ClosureRow.conversation_id == missing[3]
        connection.execute(update(ClosureRow).where(reopened).values(closed=False))

    found = compared(services)

    assert (found.known, found.missing, found.missing_ids) == (COUNT - 1, 1, (missing[3],))


def test_only_what_analytics_has_had_time_to_note_is_compared(services: Services) -> None:
    found = compared(services, Window(since=WINDOW.since, until=NOW + timedelta(days=1)))

    assert found.until <= clock.now() - timedelta(minutes=5)
    with pytest.raises(SetupError, match="5 minutes"):
        compared(services, Window(since=clock.now(), until=NOW + timedelta(days=1)))


def test_the_tutorials_contract_is_compared_by_its_pages(migrated_url: str) -> None:
    soon = ReconcileSettings(page_size=5, lag_minutes=1)
    with (
        pretend_genesys(page_size=5) as genesys,
        process(migrated_url, genesys.url, registration="webhook", reconcile=soon) as services,
    ):
        for number in range(12):
            body = {"to": [{"id": "bot"}], "from": {"id": f"user-{number}"}, "type": "chat"}
            genesys.state.conversations.start(body, at=NOW - timedelta(hours=1))
        genesys.control.end_many(post=False)
        # They have ended just now: analytics is asked when it has had time to note it.
        later = clock.now() + timedelta(minutes=10)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(compare.clock, "now", lambda: later)
            found = compared(services, Window(since=NOW - timedelta(days=1), until=NOW + timedelta(days=1)))

    assert (found.in_analytics, found.missing, len(found.missing_ids)) == (12, 12, 12)


def test_the_command_names_what_is_missing_and_what_to_run(
    services: Services, genesys: PretendGenesys, crm_sync: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("ID", "sandbox"), ("SECRET", "sandbox-secret")):
        monkeypatch.setenv(f"GENESYS_CLIENT_{name}", value)
    monkeypatch.setenv("GENESYS_API_URL", genesys.url)
    window = ("--since", clock.to_text(WINDOW.since), "--until", clock.to_text(WINDOW.until))

    told = crm_sync("report", "--check", *window)
    as_json = crm_sync("report", "--check", "--json", *window)
    reconcile.run(services.settings, services.database, services.genesys, WINDOW)
    after = crm_sync("report", "--check", *window)

    assert told.exit_code == as_json.exit_code == 1
    assert f"analytics has {COUNT} conversations that ended, of which {COUNT} are missing here" in told.stdout
    assert told.stderr == f"Error: {COUNT} conversations are missing: run crm-sync reconcile {' '.join(window)}.\n"
    check = json.loads(as_json.stdout)["check"]
    assert (check["closed"], check["ended_in_analytics"], check["missing"]) == (0, COUNT, COUNT)
    assert all(conversation_id in told.stdout for conversation_id in check["missing_ids"])
    assert (after.exit_code, after.stderr) == (0, "") and "of which 0 are missing here" in after.stdout


def test_the_command_tells_rates_and_latencies(migrated_url: str, crm_sync: Command) -> None:
    at = NOW - timedelta(hours=1)
    with service(migrated_url) as services, services.database.write() as connection:
        crm = add_target(connection, "crm")
        for name, word in (("c1", "resolved"), ("c2", "escalated"), ("c3", "unknown")):
            add_closure(connection, name, closed=True, ended_at=at, resolution=Status(word), media_type="voice")
        add_event(
            connection, "e1", "c1", received_at=at + timedelta(milliseconds=120), occurred_at=at, kind="customer.end"
        )
        add_attempt(connection, add_delivery(connection, crm, "c1"), finished_at=at + timedelta(milliseconds=450))

    lines = [line.split("\t") for line in crm_sync("report", "--by", "media").stdout.splitlines()]
    as_json = json.loads(crm_sync("report", "--json").stdout)

    assert ["all", "3", "1", "0", "1", "0", "0", "1", "50.0 %", "50.0 %"] in lines
    assert ["media voice", "3", "1", "0", "1", "0", "0", "1", "50.0 %", "50.0 %"] in lines
    assert ["all", "delivery", "1", "120", "120", "120"] in lines
    assert ["all", "sync crm", "1", "450", "450", "450"] in lines
    assert ["media voice", "handle", "0", "-", "-", "-"] in lines
    assert as_json["all"]["closed"] == 3 and "check" not in as_json


def test_without_credentials_the_check_says_what_to_set(migrated_url: str, crm_sync: Command) -> None:
    told = crm_sync("report", "--check")

    assert told.exit_code == 1
    assert "GENESYS_CLIENT_ID and GENESYS_CLIENT_SECRET are not set" in told.stderr


@pytest.mark.parametrize("given", [("--by", "agent"), ("--since", "9000-01-01"), ("--since", "soon")])
def test_a_window_or_key_that_makes_no_sense_is_a_usage_error(
    migrated_url: str, crm_sync: Command, given: tuple[str, str]
) -> None:
    assert crm_sync("report", *given).exit_code == 2
