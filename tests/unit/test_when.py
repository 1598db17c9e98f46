"""Which conversations a target is owed."""

from typing import Any

import pytest

from crm_sync.when import AMONG_OURSELVES, DIRECTIONS, MEDIA, When

QUEUE = "5f3a1c9e-0b7d-4c55-8f5e-2a6d9b1c7e40"
OTHER = "0d9c8b7a-6f5e-4d3c-8b2a-1f0e9d8c7b6a"
KNOWN: dict[str, Any] = {
    "media_type": "voice", "direction": "inbound", "queue_ids": [QUEUE], "division_ids": ["home"],
}  # fmt: skip


def chooses(when: When, **known: Any) -> bool:
    """Ask about a conversation that is known like this."""
    return when.chooses(**KNOWN | known)


@pytest.mark.parametrize("media", [None, "unknown", *MEDIA])
def test_by_default_all_is_owed_but_what_has_no_customer(media: str | None) -> None:
    assert {"internalmessage", "screenmonitoring"} == AMONG_OURSELVES
    assert chooses(When(), media_type=media) == (media not in AMONG_OURSELVES)


@pytest.mark.parametrize("media", sorted(AMONG_OURSELVES))
def test_media_without_a_customer_are_owed_to_a_target_that_names_them(media: str) -> None:
    assert chooses(When(media=(media,)), media_type=media)
    assert not chooses(When(media=(media,)), media_type="voice")


@pytest.mark.parametrize(
    ("when", "fits", "differs", "is_unknown"),
    [
        ({"media": ("voice", "email")}, {"media_type": "email"}, {"media_type": "chat"}, {"media_type": None}),
        ({"direction": ("outbound",)}, {"direction": "outbound"}, {"direction": "inbound"}, {"direction": None}),
        ({"queue": (QUEUE, "q")}, {"queue_ids": ["x", QUEUE]}, {"queue_ids": [OTHER]}, {"queue_ids": []}),
        ({"division": ("d", "home")}, {"division_ids": ["d"]}, {"division_ids": ["e"]}, {"division_ids": []}),
    ],
    ids=["media", "direction", "queue", "division"],
)
def test_each_list_asks_for_one_of_its_values(
    when: dict[str, Any], fits: dict[str, Any], differs: dict[str, Any], is_unknown: dict[str, Any]
) -> None:
    assert chooses(When(**when), **fits)
    assert not chooses(When(**when), **differs)
    assert not chooses(When(**when), **is_unknown)


@pytest.mark.parametrize(
    "missed", [{"media_type": "chat"}, {"direction": "outbound"}, {"queue_ids": []}, {"division_ids": []}], ids=str
)
def test_all_lists_must_be_met(missed: dict[str, Any]) -> None:
    when = When(media=("voice",), direction=("inbound",), queue=(QUEUE,), division=("home",))

    assert chooses(when)
    assert not chooses(when, **missed)


def test_a_list_of_queues_does_not_bring_back_media_without_a_customer() -> None:
    assert not chooses(When(queue=(QUEUE,)), media_type="internalmessage")


@pytest.mark.parametrize(("column", "name"), [("queue_ids", "queue"), ("division_ids", "division")])
def test_a_uuid_is_the_same_however_it_is_spelled_and_another_id_is_not(column: str, name: str) -> None:
    assert chooses(When(**{name: (QUEUE.upper(),)}), **{column: [QUEUE]})
    assert chooses(When(**{name: (QUEUE,)}), **{column: [QUEUE.upper()]})
    assert not chooses(When(**{name: ("Sales",)}), **{column: ["sales"]})


@pytest.mark.parametrize("when", [When(), When(media=MEDIA, direction=DIRECTIONS, queue=(QUEUE, "q"), division=("d",))])
def test_what_is_stored_is_what_comes_back(when: When) -> None:
    assert When.from_record(when.as_record()) == when  # type: ignore[arg-type]  # JSON, as the database gives it
    assert all(isinstance(values, list) and values for values in when.as_record().values())


def test_without_a_record_it_is_the_default() -> None:
    assert When.from_record(None) == When.from_record({}) == When()
