"""What the retry arithmetic promises, for any throw of the dice."""

from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_sync.retry import SCHEDULE, clamp_pause, next_wait

ATTEMPTS = st.integers(min_value=1, max_value=len(SCHEDULE))
DICE = st.floats(min_value=0, max_value=1, exclude_max=True)


@given(attempts=ATTEMPTS, random=DICE)
def test_a_retry_waits_no_longer_than_its_step(attempts: int, random: float) -> None:
    wait = next_wait(attempts, random=random)

    assert wait is not None
    assert timedelta() <= wait <= SCHEDULE[attempts - 1]


@given(attempts=ATTEMPTS, low=DICE, high=DICE)
def test_a_larger_throw_never_waits_less(attempts: int, low: float, high: float) -> None:
    low, high = sorted((low, high))
    sooner, later = (next_wait(attempts, random=random) for random in (low, high))

    assert sooner is not None and later is not None
    assert sooner <= later


def test_the_jitter_fills_the_whole_step() -> None:
    assert next_wait(3, random=0.0) == timedelta()
    assert next_wait(3, random=0.5) == timedelta(minutes=1)


def test_each_step_may_wait_longer_than_the_one_before() -> None:
    assert all(earlier < later for earlier, later in pairwise(SCHEDULE))


def test_the_whole_schedule_lasts_three_days_and_a_bit() -> None:
    assert len(SCHEDULE) == 12
    assert SCHEDULE[0] == timedelta(seconds=5)
    assert sum(SCHEDULE, timedelta()) == timedelta(days=3, hours=4, minutes=42, seconds=35)


@given(attempts=st.integers(min_value=0, max_value=10_000), random=DICE)
def test_a_delivery_is_dead_exactly_after_the_last_step(attempts: int, random: float) -> None:
    is_dead = next_wait(attempts, random=random) is None

    assert is_dead is (attempts > len(SCHEDULE))


def test_an_attempt_that_was_given_back_waits_like_the_first() -> None:
    assert next_wait(0, random=0.5) == next_wait(1, random=0.5)


@pytest.mark.parametrize(
    ("asked", "waited"),
    [
        (timedelta(days=-36_500), timedelta(seconds=1)),
        (timedelta(0), timedelta(seconds=1)),
        (timedelta(milliseconds=1_001), timedelta(milliseconds=1_001)),
        (timedelta(minutes=59), timedelta(minutes=59)),
        (timedelta(hours=1, microseconds=1), timedelta(hours=1)),
        (timedelta(seconds=10**9), timedelta(hours=1)),
    ],
)
def test_a_wish_to_wait_is_honoured_between_a_second_and_an_hour(asked: timedelta, waited: timedelta) -> None:
    assert clamp_pause(asked) == waited
