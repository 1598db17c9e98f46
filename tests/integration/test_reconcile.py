"""Reconciliation against the pretend platform: what was lost comes back, and is named."""

import json
import random
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from crm_sync import clock, reconcile
from crm_sync.errors import AdapterFailure, SetupError
from crm_sync.genesys import events
from crm_sync.genesys.analytics import Window
from crm_sync.sandbox.detail_events import events_of
from crm_sync.sandbox.platform_queries import PlatformOptions
from crm_sync.sandbox.platform_world import WRAPUP_WORDS
from crm_sync.services import Services
from crm_sync.settings import ReconcileSettings, ResolutionSettings
from crm_sync.store import leases, reconciliations
from crm_sync.store.reconciliations import Noticed, Run
from tests.integration.pretend import PretendGenesys, pretend_genesys, process

QUERY = "/api/v2/analytics/conversations/details/query"
JOBS = "/api/v2/analytics/conversations/details/jobs"
NOW = clock.now()
WINDOW = Window(since=NOW - timedelta(days=2), until=NOW - timedelta(minutes=5))
MAPPED = ResolutionSettings.model_validate({"wrapup_codes": WRAPUP_WORDS})
COUNT = 60


@pytest.fixture
def genesys() -> Iterator[PretendGenesys]:
    with pretend_genesys(platform=PlatformOptions(data_lag=timedelta(0), job_polls=1)) as pretend:
        since, until = clock.to_text(WINDOW.since), clock.to_text(WINDOW.until)
        pretend.control.play(count=COUNT, seed=3, since=since, until=until, tell=False)
        yield pretend


@pytest.fixture
def services(migrated_url: str, genesys: PretendGenesys, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    monkeypatch.setattr(reconcile, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(reconcile, "FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(reconcile, "LONGEST_WAIT_SECONDS", 0.02)
    with opened(migrated_url, genesys) as made:
        yield made


def opened(url: str, genesys: PretendGenesys, **settings: Any) -> Any:
    known: dict[str, Any] = {
        "registration": "none",
        "resolution": MAPPED,
        "reconcile": ReconcileSettings(page_size=20, job_page_size=20),
    }
    return process(url, genesys.url, **known | settings)


def run(services: Services, window: Window = WINDOW, **options: Any) -> Run:
    return reconcile.run(services.settings, services.database, services.genesys, window, **options)


def tell(services: Services, genesys: PretendGenesys, *, lost: int) -> set[str]:
    """Receive the events of all conversations but the first few, shuffled; return the ids of those that were lost."""
    played = genesys.state.platform.conversations.all()
    bodies = [event.body | {"topicName": event.topic} for one in played[lost:] for event in events_of(one)]
    random.Random(5).shuffle(bodies)
    context = events.Context(source="webhook", received_at=clock.now())
    (parsed, _) = events.parse(json.dumps(bodies).encode(), context)
    services.intake.record(parsed)
    return {one.id for one in played[:lost]}


def closures(services: Services) -> dict[str, tuple[bool, str, int]]:
    from crm_sync.store.tables import ClosureRow

    table = ClosureRow.metadata.tables["closures"]
    with services.database.read() as connection:
        return {
            row.conversation_id: (row.closed, row.resolution, row.version) for row in connection.execute(table.select())
        }


def drift(services: Services, run_id: int | None = None) -> list[Noticed]:
    with services.database.read() as connection:
        return reconciliations.drift(connection, since=None, run_id=run_id, limit=1000)


def truth(genesys: PretendGenesys) -> dict[str, tuple[bool, str]]:
    return {one["id"]: (True, one["resolution"]) for one in genesys.control.platform_conversations()}


@pytest.mark.parametrize("by_job", [False, True])
def test_what_was_lost_comes_back_and_the_drift_names_exactly_that(
    services: Services, genesys: PretendGenesys, by_job: bool
) -> None:
    lost = tell(services, genesys, lost=17)

    done = run(services, by_job=by_job)

    assert (done.state, done.conversations, done.missed, done.different) == ("done", COUNT, 17, 0)
    found = drift(services)
    assert {(one.conversation_id, one.what) for one in found} == {
        (conversation_id, "missed") for conversation_id in lost
    }
    assert {c: told[:2] for c, told in closures(services).items()} == truth(genesys)


@pytest.mark.parametrize("by_job", [False, True])
def test_a_second_run_changes_nothing_and_finds_nothing(
    services: Services, genesys: PretendGenesys, by_job: bool
) -> None:
    tell(services, genesys, lost=17)
    run(services, by_job=by_job)
    before = closures(services)

    again = run(services, Window(since=WINDOW.since, until=WINDOW.until - timedelta(seconds=1)), by_job=by_job)

    assert (again.state, again.missed, again.different) == ("done", 0, 0)
    assert closures(services) == before
    assert drift(services, again.id) == []


def test_a_lost_wrapup_is_a_difference_that_is_named(services: Services, genesys: PretendGenesys) -> None:
    (one,) = genesys.control.play(count=1, seed=1, stories=["agent"], since=clock.to_text(WINDOW.since),
                                  until=clock.to_text(WINDOW.until), tell=False)  # fmt: skip
    conversation = genesys.state.platform.conversations.find(one["id"])
    assert conversation is not None
    told = [event for event in events_of(conversation) if event.kind not in ("acw", "wrapup")]
    bodies = [event.body | {"topicName": event.topic} for event in told]
    context = events.Context(source="webhook", received_at=clock.now())
    services.intake.record(events.parse(json.dumps(bodies).encode(), context)[0])

    run(services)

    (found,) = [noticed for noticed in drift(services) if noticed.conversation_id == one["id"]]
    assert found.what == "different"
    assert found.fields == {"resolution": ["unknown", one["resolution"]], "wrapup_code": [None, one["wrapup_code"]]}


def test_a_run_that_is_cut_short_at_any_page_goes_on_there_and_asks_for_no_page_twice(
    services: Services, genesys: PretendGenesys
) -> None:
    stop = threading.Event()
    pages = 0

    def end_after_each_page(_: Run) -> None:
        nonlocal pages
        pages += 1
        stop.set()

    for _ in range(20):
        done = run(services, stop=stop, progress=end_after_each_page)
        if done.state == "done":
            break
        stop.clear()

    assert done.state == "done" and done.pages == pages == COUNT // 20 + 1
    assert genesys.calls("POST", QUERY) == pages
    assert {c: told[:2] for c, told in closures(services).items()} == truth(genesys)


def test_a_job_goes_on_by_its_cursor_and_is_not_asked_for_again(services: Services, genesys: PretendGenesys) -> None:
    stop = threading.Event()

    done = run(services, by_job=True, stop=stop, progress=lambda run: stop.set() if run.pages else None)
    assert done.state == "running" and done.pages == 1
    ended = run(services, by_job=True)

    assert (ended.id, ended.state, ended.pages, ended.conversations) == (done.id, "done", COUNT // 20, COUNT)
    assert genesys.calls("POST", JOBS) == 1


def test_a_job_that_is_lost_is_asked_for_again(services: Services, genesys: PretendGenesys) -> None:
    stop = threading.Event()
    begun = run(services, by_job=True, stop=stop, progress=lambda run: stop.set() if run.job_id else None)
    assert begun.job_id is not None
    with services.database.write() as connection:
        reconciliations.note(connection, begun.id, job_id="gone")

    ended = run(services, by_job=True)

    assert (ended.state, ended.missed) == ("done", COUNT)
    assert genesys.calls("POST", JOBS) == 2


def test_passing_trouble_is_waited_out(services: Services, genesys: PretendGenesys) -> None:
    genesys.control.add_fault(path=QUERY, status=500)
    genesys.control.add_fault(path=QUERY, status=503, times=4)
    genesys.control.expire_tokens()

    done = run(services)

    assert (done.state, done.error, done.missed) == ("done", None, COUNT)


def test_what_a_person_must_mend_ends_the_run_where_it_is_with_the_reason(
    services: Services, genesys: PretendGenesys
) -> None:
    genesys.control.add_fault(path=QUERY, status=403)

    with pytest.raises(AdapterFailure, match="HTTP 403"):
        run(services)

    with services.database.read() as connection:
        left = reconciliations.unfinished(connection)
    assert left is not None and left.error is not None and "HTTP 403" in left.error
    assert run(services).id == left.id


def test_one_process_at_a_time_reconciles(services: Services) -> None:
    with services.database.write() as connection:
        assert leases.acquire(connection, "reconcile", holder="another", seconds=30)

    with pytest.raises(reconcile.Lost, match="try again when"):
        run(services)


def test_without_credentials_it_says_what_to_set(services: Services) -> None:
    with pytest.raises(SetupError, match="GENESYS_CLIENT_ID"):
        reconcile.run(services.settings, services.database, None, WINDOW)


def test_the_tutorials_contract_is_reconciled_by_its_pages(migrated_url: str) -> None:
    with (
        pretend_genesys(page_size=5) as genesys,
        opened(migrated_url, genesys, registration="webhook", reconcile=ReconcileSettings(page_size=5)) as services,
    ):
        for number in range(12):
            body = {"to": [{"id": "bot"}], "from": {"id": f"user-{number}"}, "type": "chat"}
            genesys.state.conversations.start(body, at=NOW - timedelta(hours=1))
        ended = genesys.control.end_many(post=False, resolutionStatuses=["resolved", "half done"])

        done = run(services, Window(since=NOW - timedelta(days=1), until=clock.now() + timedelta(minutes=1)))

        assert (done.missed, done.pages) == (12, 3)
        assert {c: told[:2] for c, told in closures(services).items()} == {
            c: (True, ["resolved", "unknown"][place % 2]) for place, c in enumerate(ended)
        }


def test_a_schedule_runs_when_the_last_run_is_so_long_ago(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    stop, begun = threading.Event(), []

    def note(*_arguments: object, **_options: object) -> None:
        begun.append(True)
        stop.set()

    monkeypatch.setattr(reconcile, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(reconcile, "run", note)
    settings = services.settings.model_copy(update={"reconcile": ReconcileSettings(every_minutes=1)})
    with services.database.write() as connection:
        first = reconciliations.start(connection, since=WINDOW.since, until=WINDOW.until, parts=[])
        reconciliations.end(connection, first.id)
        assert reconciliations.is_due(connection, every_seconds=60) is False
        assert reconciliations.is_due(connection, every_seconds=-1) is True

    looking = threading.Thread(
        target=reconcile.run_when_due, args=(settings, services.database, services.genesys, stop), daemon=True
    )
    looking.start()
    looking.join(0.2)
    assert not begun
    with services.database.write() as connection:
        reconciliations.start(connection, since=WINDOW.since, until=WINDOW.until, parts=[])
    looking.join(10)

    assert begun == [True]
