"""Registration: whoever starts, and how often, exactly one webhook is left, and it is the one we want."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from structlog.testing import capture_logs

from crm_sync import register
from crm_sync.errors import AdapterFailure, NotFound, SetupError, Unavailable
from crm_sync.genesys import webhooks
from crm_sync.genesys.signature import sign
from crm_sync.services import Services
from crm_sync.store import leases
from tests.integration.pretend import PUBLIC_URL, SECRET, PretendGenesys, pretend_genesys, process

WEBHOOKS = "/api/v2/integrations/webhooks"
OURS = {"name": "CRM Termination Sync", "url": f"{PUBLIC_URL}/webhooks/genesys", "events": ["conversation:ended"]}


@pytest.fixture
def start(migrated_url: str) -> Iterator[Callable[..., Services]]:
    """Start one more process on the same database."""
    with ExitStack() as stack:
        yield lambda genesys, **settings: stack.enter_context(process(migrated_url, genesys.url, **settings))


Start = Callable[..., Services]


def test_ten_processes_that_start_at_once_leave_one_registration(genesys: PretendGenesys, start: Start) -> None:
    processes = [start(genesys) for _ in range(10)]
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(_until_registered, processes))

    (webhook,) = genesys.control.webhooks()
    assert webhook == OURS | {"id": webhook["id"]}
    assert genesys.calls("POST", WEBHOOKS) == 1
    assert genesys.state.webhooks.get(webhook["id"]).secret == SECRET
    assert {register.status(services).state for services in processes} == {"registered"}


def test_starting_again_writes_nothing(genesys: PretendGenesys, start: Start) -> None:
    assert register.register(start(genesys)).action == "created"
    assert register.register(start(genesys)).action == "unchanged"

    assert genesys.calls("POST", WEBHOOKS) == 1
    assert genesys.calls("PUT", f"{WEBHOOKS}/<webhook_id>") == 0


@pytest.mark.parametrize(
    "change",
    [
        {"secret": "another secret that is long enough"},
        {"public_url": "https://moved.example.test"},
        {"name": "Another Name"},
    ],
)
def test_what_differs_is_updated_and_nothing_is_added(
    genesys: PretendGenesys, start: Start, change: dict[str, str]
) -> None:
    first = register.register(start(genesys))
    changed = start(genesys, **change)
    assert register.register(changed).action == "updated"
    assert register.register(changed).action == "unchanged"

    (webhook,) = genesys.control.webhooks()
    assert webhook["id"] == first.steps[0].id
    assert webhook["name"] == change.get("name", OURS["name"])
    assert webhook["url"] == change.get("public_url", PUBLIC_URL) + webhooks.OUR_PATH
    assert genesys.state.webhooks.get(webhook["id"]).secret == change.get("secret", SECRET)


def test_a_webhook_that_somebody_else_made_for_us_gets_our_secret(genesys: PretendGenesys, start: Start) -> None:
    genesys.state.webhooks.add(OURS | {"secret": "unknown to us"})

    assert register.register(start(genesys)).action == "updated"

    (webhook,) = genesys.control.webhooks()
    assert sign(genesys.state.webhooks.get(webhook["id"]).secret.encode(), b"x") == sign(SECRET.encode(), b"x")


def test_webhooks_of_others_are_left_alone(genesys: PretendGenesys, start: Start) -> None:
    other = {"name": "Theirs", "url": "https://theirs.test/hook", "events": ["conversation:ended"], "secret": "theirs"}
    theirs = genesys.state.webhooks.add(other)

    register.register(start(genesys))

    assert genesys.state.webhooks.get(theirs.id) == theirs
    assert len(genesys.control.webhooks()) == 2


def test_another_installation_with_our_name_keeps_its_webhook(genesys: PretendGenesys, start: Start) -> None:
    theirs = genesys.state.webhooks.add(OURS | {"url": "https://production.test/webhooks/genesys", "secret": "theirs"})

    assert register.register(start(genesys)).action == "created"
    assert genesys.state.webhooks.get(theirs.id) == theirs


def test_duplicates_from_before_are_told_of_and_not_added_to(genesys: PretendGenesys, start: Start) -> None:
    before = [genesys.state.webhooks.add(OURS).id for _ in range(2)]
    services = start(genesys)
    planned = register.plan(services)
    with capture_logs() as lines:
        register.until_registered(services)

    assert planned.action == "updated"
    assert [one["id"] for one in genesys.control.webhooks()] == before
    (remark,) = planned.remarks
    assert all(one in remark for one in before)
    assert [line["remark"] for line in lines if line["event"] == "registration_remark"] == [remark]


def test_a_webhook_that_was_removed_is_made_again(genesys: PretendGenesys, start: Start) -> None:
    services = start(genesys)
    genesys.state.webhooks.remove(register.register(services).steps[0].id or "")

    assert register.register(services).action == "created"


def test_a_lost_answer_leaves_one_registration(genesys: PretendGenesys, start: Start) -> None:
    genesys.control.add_fault(path=WEBHOOKS, method="POST", lose_answer=True)
    services = start(genesys)

    assert register.register(services).action == "created"
    assert register.register(services).action == "unchanged"

    (webhook,) = genesys.control.webhooks()
    assert genesys.state.webhooks.get(webhook["id"]).secret == SECRET


def test_without_a_list_the_webhook_is_remembered_and_posted_again_only_on_a_difference(start: Start) -> None:
    with pretend_genesys(webhook_list=False) as genesys:
        services = start(genesys)
        actions = [register.register(one).action for one in (services, services, start(genesys))]
        assert actions == ["created", "unchanged", "unchanged"]
        assert genesys.calls("POST", WEBHOOKS) == 1

        assert register.register(start(genesys, secret="another secret that is long enough")).action == "created"
        assert genesys.calls("POST", WEBHOOKS) == 2


def test_a_failure_is_told_and_later_success_clears_it(genesys: PretendGenesys, start: Start) -> None:
    services = start(genesys)
    assert register.status(services).state == "pending"
    genesys.control.add_fault(path=WEBHOOKS, status=403, times=2)
    since = set()
    for _ in range(2):
        with pytest.raises(AdapterFailure, match="integrations:write"):
            register.register(services)
        state = register.status(services)
        assert state.state == "failed" and "integrations:write" in (state.error or "")
        since.add(state.since)
    assert len(since) == 1

    register.register(services)
    assert (register.status(services).state, register.status(services).error) == ("registered", None)


def test_a_failure_does_not_forget_what_was_registered(start: Start) -> None:
    with pretend_genesys(webhook_list=False) as genesys:
        services = start(genesys)
        register.register(services)
        genesys.control.add_fault(path=WEBHOOKS, status=500)
        with pytest.raises(AdapterFailure):
            register.register(services)

        assert register.register(services).action == "unchanged"
        assert register.status(services).state == "registered"
        assert genesys.calls("POST", WEBHOOKS) == 1


def test_it_is_tried_with_growing_waits_until_it_succeeds(genesys: PretendGenesys, start: Start) -> None:
    genesys.control.add_fault(path="/oauth/token", status=500, times=3)
    waits: list[float] = []

    register.until_registered(start(genesys), sleep=waits.append, dice=lambda: 0.5)

    assert waits == [3.75, 7.5, 15.0]
    assert len(genesys.control.webhooks()) == 1


def test_waits_stay_below_five_minutes(genesys: PretendGenesys, start: Start) -> None:
    genesys.control.add_fault(path=WEBHOOKS, status=403, times=9)
    waits: list[float] = []

    register.until_registered(start(genesys), sleep=waits.append, dice=lambda: 1.0)

    assert waits == [5, 10, 20, 40, 80, 160, 300, 300, 300]


def test_a_wait_is_as_long_as_genesys_asks(genesys: PretendGenesys, start: Start) -> None:
    genesys.control.add_fault(path=WEBHOOKS, status=429, retry_after=40)

    def wait(seconds: float) -> None:
        raise StopIteration(seconds)

    with pytest.raises(StopIteration) as stopped:
        register.until_registered(start(genesys), sleep=wait)
    assert 30 < stopped.value.value <= 40


def test_a_process_whose_work_another_does_waits_and_then_finds_it_done(genesys: PretendGenesys, start: Start) -> None:
    services, other = start(genesys), start(genesys)
    with other.database.write() as connection:
        leases.acquire(connection, "webhook", holder="other", seconds=60)
    with pytest.raises(Unavailable, match="Another process"):
        register.register(services)

    with other.database.write() as connection:
        leases.release(connection, "webhook", holder="other")
    assert register.register(other).action == "created"
    assert register.register(services).action == "unchanged"


def test_a_missing_setting_is_told_and_ends_the_tries(genesys: PretendGenesys, start: Start) -> None:
    services = start(genesys, public_url=None)
    register.until_registered(services, sleep=lambda _: pytest.fail("waiting cannot help"))

    state = register.status(services)
    assert state.state == "failed" and "PUBLIC_URL" in (state.error or "")
    with pytest.raises(SetupError, match="WEBHOOK_SECRETS"):
        register.register(start(genesys, webhook_secrets=()))


def test_where_no_registration_is_wanted_nothing_is_done(genesys: PretendGenesys, start: Start) -> None:
    services = start(genesys, registration="none")

    assert register.run_in_background(services) is None
    assert genesys.control.traffic() == []
    assert register.status(services).state == "not_configured"


def test_in_the_background_it_ends_when_it_is_done(genesys: PretendGenesys, start: Start) -> None:
    thread = register.run_in_background(start(genesys))

    assert thread is not None and thread.daemon
    thread.join(30)
    assert not thread.is_alive()
    assert len(genesys.control.webhooks()) == 1


def test_our_webhook_is_shown_and_removed(genesys: PretendGenesys, start: Start) -> None:
    services = start(genesys)
    outcome = register.register(services)
    state, listed = register.show(services)
    assert state.state == "registered" and [one.id for one in listed or []] == [outcome.steps[0].id]

    assert register.remove(services) == [outcome.steps[0].id]
    assert genesys.control.webhooks() == []
    assert register.status(services).state == "pending"
    for unknown in (None, "no-such-id"):
        with pytest.raises(NotFound):
            register.remove(services, unknown)


def _until_registered(services: Services) -> None:
    register.until_registered(services, sleep=lambda _: time.sleep(0.02))
