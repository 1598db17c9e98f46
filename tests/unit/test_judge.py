"""What each kind of fault means for a debt and for its target."""

from datetime import UTC, datetime, timedelta

import pytest

from crm_sync.errors import Fault, Kind
from crm_sync.retry import DEFAULT_PAUSE, SCHEDULE, Verdict, judge

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def verdict(kind: Kind, *, attempts: int = 1, retry_at: datetime | None = None) -> Verdict:
    """Judge a fault of this kind, the dice showing a half."""
    fault = Fault(kind=kind, code="code", message="It failed.", retry_at=retry_at)
    return judge(fault, attempts=attempts, now=NOW, random=0.5)


@pytest.mark.parametrize("kind", [Kind.DATA, Kind.GONE])
def test_what_can_never_succeed_is_dead_at_once_and_harms_nothing_else(kind: Kind) -> None:
    assert verdict(kind) == Verdict(wait=None)


@pytest.mark.parametrize("kind", [Kind.AUTH, Kind.CONFIG])
def test_what_a_person_must_mend_pauses_the_target_and_costs_no_attempt(kind: Kind) -> None:
    assert verdict(kind) == Verdict(wait=timedelta(), gives_back=True, pauses=True)


@pytest.mark.parametrize("kind", [Kind.RATE_LIMITED, Kind.QUOTA])
def test_a_busy_crm_is_left_alone_for_as_long_as_it_asks_and_at_no_cost(kind: Kind) -> None:
    asked = timedelta(seconds=90)

    assert verdict(kind, retry_at=NOW + asked) == Verdict(wait=timedelta(), gives_back=True, rest=asked)
    assert verdict(kind) == Verdict(wait=timedelta(), gives_back=True, rest=DEFAULT_PAUSE)
    assert verdict(kind, retry_at=NOW + timedelta(days=400)).rest == timedelta(hours=1)


@pytest.mark.parametrize("kind", [Kind.RETRYABLE, Kind.CONFLICT, Kind.AMBIGUOUS])
def test_what_may_pass_is_tried_again_by_the_schedule_until_that_is_used_up(kind: Kind) -> None:
    assert verdict(kind, attempts=1) == Verdict(wait=SCHEDULE[0] / 2)
    assert verdict(kind, attempts=len(SCHEDULE)) == Verdict(wait=SCHEDULE[-1] / 2)
    assert verdict(kind, attempts=len(SCHEDULE) + 1) == Verdict(wait=None)


def test_every_kind_has_a_verdict() -> None:
    for kind in Kind:
        assert (verdict(kind).wait is None) == kind.is_permanent
