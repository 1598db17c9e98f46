"""Who may be in a room with whom."""

from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from crm_sync.room import Room

NOW, LONG = 0.0, 20.0
ONE, OTHER, THIRD = object(), object(), object()


@pytest.fixture
def room() -> Room:
    """A room in which two lanes are."""
    room = Room()
    assert room.enter(ONE, NOW)
    assert room.enter(OTHER, NOW)
    return room


def waits_to_be_alone(pool: ThreadPoolExecutor, room: Room, lane: object, *, seen_by: object) -> "Future[bool]":
    """Let a lane ask to be alone, and return once another has been told."""
    asked = pool.submit(room.be_alone, lane, LONG)
    while not room.is_asked_to_leave(seen_by):
        pass
    return asked


def test_lanes_come_in_while_nobody_asks_to_be_alone(room: Room) -> None:
    assert room.enter(THIRD, NOW)
    assert not room.is_asked_to_leave(ONE)


def test_who_asks_to_be_alone_waits_until_the_last_other_has_left(room: Room) -> None:
    with ThreadPoolExecutor() as pool:
        asked = waits_to_be_alone(pool, room, ONE, seen_by=OTHER)
        is_early = asked.done()
        may_come = room.enter(THIRD, NOW)
        room.leave(OTHER)
        is_alone = asked.result(LONG)

    assert (is_early, may_come, is_alone) == (False, False, True)


def test_nobody_comes_in_before_who_is_alone_has_left(room: Room) -> None:
    room.leave(OTHER)
    is_alone = room.be_alone(ONE, NOW)
    while_alone = room.enter(OTHER, NOW)
    is_asked = room.is_asked_to_leave(ONE)
    room.leave(ONE)

    assert (is_alone, while_alone, is_asked, room.enter(OTHER, NOW)) == (True, False, False, True)


def test_two_that_ask_are_alone_one_after_the_other(room: Room) -> None:
    with ThreadPoolExecutor() as pool:
        first = waits_to_be_alone(pool, room, ONE, seen_by=OTHER)
        second = pool.submit(room.be_alone, OTHER, LONG)  # Which makes it leave, too.
        assert first.result(LONG)
        is_early = second.done()
        room.leave(ONE)
        is_alone = second.result(LONG)

    assert (is_early, is_alone) == (False, True)


def test_who_cannot_be_alone_in_time_is_outside_and_the_others_go_on(room: Room) -> None:
    is_alone = room.be_alone(ONE, NOW)
    may_come = room.enter(THIRD, NOW)
    room.leave(OTHER)
    room.leave(THIRD)

    assert (is_alone, may_come, room.be_alone(ONE, NOW)) == (False, True, True)


def test_a_lane_that_is_not_inside_may_be_said_to_leave(room: Room) -> None:
    room.leave(THIRD)
    room.leave(ONE)
    room.leave(ONE)

    assert room.be_alone(OTHER, NOW)
