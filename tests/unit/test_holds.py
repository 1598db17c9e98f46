"""How long a lane may use what it holds, by the clock of its own process."""

from collections.abc import Callable
from typing import Any, cast

import pytest

from crm_sync import clock
from crm_sync.closure import Closure
from crm_sync.holds import GRACE_SECONDS, Hold, Holds
from crm_sync.settings import WorkerSettings
from crm_sync.store.outbox import Claim

NO_DATABASE = cast(Any, None)


@pytest.fixture
def pass_by(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """A clock that begins at 0 and only goes when it is told to."""
    at = [0.0]
    monkeypatch.setattr(clock, "monotonic", lambda: at[0])
    return lambda seconds: at.__setitem__(0, at[0] + seconds)


def hold(*, ends_at: float = 60) -> Hold:
    """Return a hold whose calls may take 20 seconds."""
    claim = Claim(
        delivery_id=1, token="t" * 32, closure=Closure(conversation_id="a"), version=1, attempts=1, lost_leases=0,
        payload_hash=None, push_again=False, redelivery=0, crm_record_id=None,
    )  # fmt: skip
    return Hold([claim], ends_at=ends_at, push_seconds=20)


def test_a_call_may_begin_while_it_surely_ends_before_the_lease(pass_by: Callable[[float], None]) -> None:
    held = hold()
    pass_by(40)
    in_time = held.may_call()
    pass_by(0.1)

    assert (in_time, held.may_call()) == (True, False)


def test_a_lease_that_was_extended_has_room_for_more_calls(pass_by: Callable[[float], None]) -> None:
    held = hold()
    pass_by(50)
    too_late = held.may_call()
    held.ends_at = 110

    assert (too_late, held.may_call()) == (False, True)


def test_under_a_claim_that_is_lost_no_call_begins() -> None:
    held = hold(ends_at=10**9)
    held.is_lost = True

    assert not held.may_call()


def test_each_call_has_its_own_time_and_some_grace(pass_by: Callable[[float], None]) -> None:
    held, seen = hold(ends_at=1000), []
    for _ in range(3):
        for seconds in (20, GRACE_SECONDS, 0.1):
            pass_by(seconds)
            seen.append(held.is_overdue())
        held.may_call()

    assert seen == [False, False, True] * 3


def test_what_comes_before_the_first_call_has_its_time_too(pass_by: Callable[[float], None]) -> None:
    pass_by(100)
    held = hold(ends_at=1000)
    at_first = held.is_overdue()
    pass_by(20 + GRACE_SECONDS + 0.1)

    assert (at_first, held.is_overdue()) == (False, True)


def test_a_heartbeat_without_anything_to_extend_asks_no_database(pass_by: Callable[[float], None]) -> None:
    holds = Holds(WorkerSettings(lease_seconds=60, push_deadline_seconds=20))
    with holds.keep(hold()):
        pass_by(15)
        holds.extend(NO_DATABASE)
        pass_by(20 + GRACE_SECONDS)
        holds.extend(NO_DATABASE)
    with holds.keep(hold()):
        pass_by(16)
        with pytest.raises(AttributeError):
            holds.extend(NO_DATABASE)
    holds.extend(NO_DATABASE)
