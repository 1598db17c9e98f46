"""What breaker and rate promise as arithmetic, whoever claims, gives back, and whatever the clock does."""

from collections import defaultdict
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from crm_sync.pace import FAILURES_TO_OPEN, FIRST_REST, LONGEST_REST, Breaker, Rate

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LEASE = timedelta(seconds=60)
NOTHING = timedelta()
OPEN = Breaker(failures=5, trips=1, open_until=NOW + FIRST_REST)

PER_SECOND = st.one_of(st.floats(0.001, 100_000), st.sampled_from([0.001, 0.5, 1.0, 3.0, 10.0, 100_000.0]))
RATES = st.builds(Rate, per_second=PER_SECOND, burst=st.one_of(st.integers(1, 4), st.integers(1, 50)))
ONWARDS = st.one_of(st.just(0.0), st.sampled_from([1.0, 100.0]), st.floats(0, 60))
BACK_TOO = st.one_of(st.sampled_from([-1.0, -100.0]), st.floats(-2, 60))
Move = tuple[float, str, int, int, float]


def moves(intervals: st.SearchStrategy[float], *does: str) -> st.SearchStrategy[list[Move]]:
    """Return what workers may do: after so many intervals, what, which worker, how many records, and the sent part."""
    return st.lists(
        st.tuples(intervals, st.sampled_from(does), st.integers(0, 2), st.integers(1, 60),
                  st.sampled_from([0.0, 0.5, 1.0])),
        max_size=25,
    )  # fmt: skip


def tried(breaker: Breaker, *, times: int = 1, was_probe: bool = False) -> Breaker:
    """Return the breaker after so many calls that failed."""
    for _ in range(times):
        breaker = breaker.failed(NOW, was_probe=was_probe)
    return breaker


def rests(trips: int) -> timedelta:
    """Return how long the breaker rests after the last of so many trips in a row."""
    breaker = tried(Breaker(), times=FAILURES_TO_OPEN)
    return tried(breaker, times=trips - 1, was_probe=True).rest


def given_back(rate: Rate, tat: datetime | None, now: datetime, count: int, taken_at: datetime) -> datetime:
    """Give back so many permits that were taken then."""
    return rate.given_back(tat, now, count, age=now - taken_at)


def keep_to(rate: Rate, moves: list[Move]) -> None:
    """Let three workers claim, send a part at once and give back the rest when they like: no window sees too much."""
    tat, now = None, NOW
    unsent: dict[int, list[tuple[int, datetime]]] = defaultdict(list)
    sent: list[tuple[datetime, int]] = []
    for intervals, move, worker, count, share in moves:
        now += intervals * rate.interval
        if move == "claim" and (taken := min(count, rate.permits(tat, now))):
            tat, used = rate.taken(tat, now, taken), round(taken * share)
            sent += [(now, used)] if used else []
            unsent[worker].append((taken - used, now))
        elif move == "give back" and unsent[worker]:
            tat = given_back(rate, tat, now, *unsent[worker].pop(0))

        for first in range(len(sent)):
            instants = [at for at, _ in sent[first:]]
            records = sum(many for _, many in sent[first:])
            assert records * rate.interval <= max(instants) - min(instants) + rate.burst * rate.interval


@settings(max_examples=500)
@example(  # What was claimed long ago has come back by itself: it cannot be given back as well.
    rate=Rate(per_second=1.0, burst=10),
    moves=[(0.0, "claim", 0, 5, 0.0), (100.0, "claim", 1, 5, 1.0), (0.0, "give back", 0, 1, 0.0),
           (0.0, "claim", 2, 10, 1.0)],
)  # fmt: skip
@given(rate=RATES, moves=moves(ONWARDS, "claim", "give back"))
def test_no_window_sees_more_than_the_rate_and_one_burst(rate: Rate, moves: list[Move]) -> None:
    keep_to(rate, moves)


@given(rate=RATES, moves=moves(BACK_TOO, "claim"))
def test_a_clock_that_goes_back_lets_no_more_records_go(rate: Rate, moves: list[Move]) -> None:
    keep_to(rate, moves)


@given(per_second=PER_SECOND)
def test_an_interval_is_never_shorter_than_the_rate_allows(per_second: float) -> None:
    interval = Rate(per_second=per_second, burst=1).interval

    assert interval.total_seconds() * per_second >= 1 - 1e-9


@example(rate=Rate(per_second=0.001, burst=1), ahead=1e-9, count=1)
@given(rate=RATES, ahead=st.floats(-100, 100), count=st.integers(1, 200))
def test_after_the_wait_so_many_records_may_go_and_not_long_before(rate: Rate, ahead: float, count: int) -> None:
    tat = NOW + ahead * rate.interval
    wait = rate.wait(tat, NOW, count)
    wanted = min(count, rate.burst)

    assert rate.permits(tat, NOW + wait) >= wanted
    assert (wait == NOTHING) == (rate.permits(tat, NOW) >= wanted)
    if wait > rate.interval:
        assert rate.permits(tat, NOW + wait - rate.interval) < wanted


@given(rate=RATES, ahead=st.floats(-100, 100))
def test_a_target_that_was_never_pushed_to_may_have_its_burst_at_once_and_nobody_more(rate: Rate, ahead: float) -> None:
    assert rate.permits(None, NOW) == rate.burst
    assert rate.wait(None, NOW, 10**6) == NOTHING
    assert 0 <= rate.permits(NOW + ahead * rate.interval, NOW) <= rate.burst


@given(rate=RATES, ahead=st.floats(-100, 100), count=st.integers(1, 60))
def test_what_is_given_back_at_once_was_never_taken(rate: Rate, ahead: float, count: int) -> None:
    tat = NOW + ahead * rate.interval
    back = rate.given_back(rate.taken(tat, NOW, count), NOW, count, age=NOTHING)

    assert rate.permits(back, NOW) == rate.permits(tat, NOW)


@given(rate=RATES, count=st.integers(1, 60), intervals=st.floats(-100, 0))
def test_a_clock_that_has_gone_back_gives_back_no_more_than_was_taken(rate: Rate, count: int, intervals: float) -> None:
    tat = rate.taken(None, NOW, count)

    assert rate.given_back(tat, NOW, count, age=intervals * rate.interval) == NOW


@given(rate=RATES, count=st.integers(1, 100))
def test_what_was_sent_beyond_the_permits_is_waited_for(rate: Rate, count: int) -> None:
    tat = rate.taken(rate.taken(None, NOW, rate.burst), NOW, count)

    assert rate.permits(tat, NOW) == 0
    assert rate.wait(tat, NOW, 1) == (count + 1) * rate.interval


def test_a_breaker_opens_after_five_failures_in_a_row() -> None:
    almost = tried(Breaker(), times=FAILURES_TO_OPEN - 1)

    assert FAILURES_TO_OPEN == 5
    assert (almost.failures, almost.trips, almost.is_closed()) == (4, 0, True)
    assert tried(almost) == OPEN
    assert not OPEN.is_closed()


def test_a_failed_probe_doubles_the_rest_up_to_ten_minutes() -> None:
    seconds = [rests(trips).total_seconds() for trips in (1, 2, 3, 4, 5, 6, 7, 500)]

    assert seconds == [30, 60, 120, 240, 480, 600, 600, 600]
    assert timedelta(minutes=10) == LONGEST_REST


def test_a_rest_begins_when_the_call_has_failed() -> None:
    later = NOW + timedelta(minutes=5)

    assert OPEN.failed(later, was_probe=True).open_until == later + 2 * FIRST_REST


@pytest.mark.parametrize("breaker", [OPEN, OPEN.probing(NOW + LEASE)], ids=["open", "half open"])
def test_what_fails_while_it_is_open_tells_nothing_new(breaker: Breaker) -> None:
    assert tried(breaker, times=7) == breaker


def test_a_probe_keeps_everybody_else_waiting_and_forgets_nothing() -> None:
    assert OPEN.probing(NOW + LEASE) == Breaker(failures=5, trips=1, open_until=NOW + LEASE)


def test_a_probe_that_fails_after_the_breaker_was_closed_counts_as_any_call() -> None:
    assert tried(Breaker(), was_probe=True) == Breaker(failures=1)


def test_a_closed_breaker_does_not_rest() -> None:
    assert tried(Breaker(), times=4).rest == NOTHING
