"""What a target is owed: what its row chooses, from the moment at which it fits, and for ever after."""

from collections.abc import Iterator
from typing import Any

import pytest

from crm_sync.store import targets
from tests.integration.builders import Store, body, ended, named, opened_store, paid, started, wrapped_up

QUEUE = "5f3a1c9e-0b7d-4c55-8f5e-2a6d9b1c7e40"
DIVISION = "0d9c8b7a-6f5e-4d3c-8b2a-1f0e9d8c7b6a"


@pytest.fixture
def store(migrated_url: str) -> Iterator[Store]:
    """A store with the target `crm`, which chooses nothing by itself."""
    with opened_store(migrated_url) as opened:
        yield opened


def choose(store: Store, **when: Any) -> None:
    """Start a process whose settings choose this for the target `crm`."""
    with store.database.write() as connection:
        targets.sync(connection, named("crm", when=when))


def owed(store: Store) -> list[str]:
    """Return which conversations are owed."""
    return sorted(row.conversation_id for row in store.rows("deliveries"))


def version(store: Store, conversation: str) -> int:
    """Return the newest version of a closure."""
    return int(store.row("closures", conversation_id=conversation).version)


def queued(conversation: str, queue: str, *, at: int = 101) -> bytes:
    """Return an event that tells through which queue a conversation went."""
    told = {"userId": "agent-1", "queueId": queue, "interactingDurationMs": 48_000, "heldDurationMs": 0}
    return body("user.end", conversation, at=at, session="agent", **told)


def test_by_default_everything_is_owed_but_what_has_no_customer(store: Store) -> None:
    media = ["VOICE", "EMAIL", "MESSAGE", "INTERNALMESSAGE", "SCREENMONITORING", "SOMETHINGNEW"]
    store.record(*(ended(each, mediaType=each) for each in media))

    assert owed(store) == ["EMAIL", "MESSAGE", "SOMETHINGNEW", "VOICE"]


@pytest.mark.parametrize(
    ("when", "chosen"),
    [
        ({"media": ["voice", "internalmessage"]}, ["internal", "voice"]),
        ({"direction": ["outbound"]}, ["outbound"]),
        ({"queue": [QUEUE.upper(), "another"]}, ["queue"]),
        ({"division": [DIVISION.upper()]}, ["division"]),
        ({"media": ["voice"], "direction": ["outbound"]}, []),
    ],
    ids=["media", "direction", "queue", "division", "two lists"],
)
def test_each_list_chooses(store: Store, when: dict[str, list[str]], chosen: list[str]) -> None:
    choose(store, **when)
    store.record(
        ended("plain"),
        ended("voice", mediaType="VOICE"),
        ended("internal", mediaType="INTERNALMESSAGE"),
        ended("outbound", direction="OUTBOUND"),
        ended("queue"),
        queued("queue", QUEUE),
        ended("division", divisionId=DIVISION),
    )

    assert owed(store) == chosen


def test_what_has_not_ended_is_owed_to_nobody(store: Store) -> None:
    store.record(started("a"), queued("b", QUEUE))

    assert owed(store) == []


def test_what_turns_out_to_be_chosen_after_its_end_is_owed_from_then(store: Store) -> None:
    choose(store, queue=[QUEUE])
    store.record(ended("a"), ended("b"))
    before = owed(store)
    store.record(wrapped_up("a", queueId=QUEUE), wrapped_up("b", queueId="another"))

    assert before == []
    assert owed(store) == ["a"]
    assert store.delivery("a").desired_version == version(store, "a")
    assert [claim.closure.conversation_id for claim in store.claim()] == ["a"]


def test_what_was_once_owed_stays_owed_when_the_choice_changes(store: Store) -> None:
    store.record(ended("a"))
    choose(store, media=["voice"])
    store.record(wrapped_up("a"), ended("b"))

    assert owed(store) == ["a"]
    assert store.delivery("a").desired_version == version(store, "a")


def test_what_was_once_owed_stays_owed_when_it_fits_no_more(store: Store) -> None:
    choose(store, direction=["inbound"])
    store.record(ended("a"))
    store.record(ended("a", at=200, direction="OUTBOUND"))
    closure = store.row("closures", conversation_id="a")

    assert closure.direction == "outbound"
    assert store.delivery("a").desired_version == closure.version


def test_a_reopening_of_what_is_owed_is_owed_and_of_anything_else_is_not(store: Store) -> None:
    choose(store, queue=[QUEUE])
    store.record(ended("a"), queued("a", QUEUE), ended("b"))
    store.record(*(started(name, at=200, session="second") for name in ("a", "b")))

    assert owed(store) == ["a"]
    assert store.delivery("a").desired_version == version(store, "a")


def test_a_wider_choice_owes_what_ends_or_changes_from_then_on(store: Store) -> None:
    choose(store, media=["voice"])
    store.record(ended("past"), ended("changed"))
    choose(store)
    store.record(ended("new"), wrapped_up("changed"))

    assert owed(store) == ["changed", "new"]


def test_hosts_with_other_settings_owe_the_same(store: Store, migrated_url: str) -> None:
    choose(store, media=["voice"])
    with opened_store(migrated_url, names=()) as host:
        host.record(ended("a"), ended("b", mediaType="VOICE"))
        first = owed(store)
        choose(host, media=["message"])
        store.record(ended("c"), ended("d", mediaType="VOICE"))
        host.record(ended("e"), ended("f", mediaType="VOICE"))

    assert first == ["b"]
    assert owed(store) == ["b", "c", "e"]


def test_a_row_without_a_choice_chooses_by_default(store: Store) -> None:
    store.change("targets", owed_when=None)
    store.record(ended("a"), ended("b", mediaType="INTERNALMESSAGE"))

    assert owed(store) == ["a"]


def test_each_target_is_owed_by_its_own_choice(migrated_url: str) -> None:
    with opened_store(migrated_url, names=("crm", "other")) as store:
        choose(store, media=["voice"])
        store.record(ended("a"), ended("b", mediaType="VOICE"))
        pairs = {(row.target_id, row.conversation_id) for row in store.rows("deliveries")}

    crm, other = store.target_ids["crm"], store.target_ids["other"]
    assert pairs == {(other, "a"), (other, "b"), (crm, "b")}


def test_a_retired_target_is_owed_what_it_was_owed_and_nothing_new(store: Store) -> None:
    store.record(ended("a"))
    store.settle(*map(paid, store.claim()))
    store.change("targets", state="retired")
    store.record(ended("b"), wrapped_up("a"))

    assert owed(store) == ["a"]
    assert (store.delivery("a").state, store.delivery("a").desired_version) == ("pending", version(store, "a"))
