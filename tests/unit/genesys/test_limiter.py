"""The limit of an OAuth client is kept in every minute, and the calls go round among several clients."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_sync.genesys.limiter import Limiter, OAuthClient, OAuthClients
from tests.unit.genesys.fakes import FakeSender, Ticks, token, tokens


@given(
    per_minute=st.integers(min_value=1, max_value=400),
    pauses=st.lists(st.floats(min_value=0, max_value=20), min_size=1, max_size=400),
)
def test_no_minute_ever_holds_more_calls_than_are_allowed(per_minute: int, pauses: list[float]) -> None:
    ticks = Ticks()
    limiter = Limiter(per_minute, monotonic=ticks)
    taken = []
    for pause in pauses:
        ticks.move(pause)
        ticks.move(limiter.take(1e9))
        taken.append(ticks.seconds)

    for place, first in enumerate(taken):
        # Less what floating point may be off by after so many steps.
        within = [instant for instant in taken[place:] if instant < first + 60 - 1e-6]
        assert len(within) <= per_minute


def test_a_tenth_of_a_minute_goes_at_once_and_the_rest_evenly() -> None:
    limiter = Limiter(300, monotonic=Ticks())

    waits = [limiter.take(1e9) for _ in range(33)]

    assert waits[:30] == [0.0] * 30
    assert waits[30:] == pytest.approx([60 / 270, 2 * 60 / 270, 3 * 60 / 270])


def test_who_has_no_patience_takes_no_permit() -> None:
    limiter = Limiter(60, monotonic=Ticks())
    for _ in range(6):
        limiter.take(0)

    assert limiter.take(0.5) == limiter.take(0.5) > 0.5


def test_a_rest_is_kept_also_by_one_that_asks_for_less() -> None:
    ticks = Ticks()
    limiter = Limiter(300, monotonic=ticks)

    limiter.rest(7)
    limiter.rest(2)

    assert limiter.wait() == 7
    ticks.move(7)
    assert limiter.wait() == 0


def test_calls_go_round_and_pass_by_who_rests() -> None:
    ticks = Ticks()
    made = [OAuthClient(tokens=tokens(FakeSender([token()])), limiter=Limiter(300, monotonic=ticks)) for _ in range(3)]
    clients = OAuthClients(made)
    made[1].limiter.rest(60)

    order = [made.index(clients.take(0)[0]) for _ in range(5)]

    assert order == [0, 2, 0, 2, 0]
    assert clients.wait() == 0
