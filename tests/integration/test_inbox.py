"""The one door in: what one transaction stores of an event, and what is thereby owed to whom."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import permutations

import pytest
from sqlalchemy import text

from crm_sync import clock
from crm_sync.errors import Unavailable
from crm_sync.resolution import ResolutionMap, Status
from crm_sync.store import bulk, inbox, targets
from crm_sync.store.inbox import Inbox
from tests.integration.builders import (
    CONVERSATION,
    ORGANIZATION,
    STARTED_MS,
    Store,
    agent_left,
    body,
    bot_succeeded,
    ended,
    enveloped,
    named,
    opened_store,
    parsed,
    started,
    wrapped_up,
)

LATER = clock.now().replace(microsecond=0) + timedelta(days=1)


@pytest.fixture
def store(migrated_url: str) -> Iterator[Store]:
    """A store with the targets `crm` and `other`."""
    with opened_store(migrated_url, names=("crm", "other")) as opened:
        yield opened


def database_ms(store: Store) -> int:
    """Return the database's clock in milliseconds."""
    with store.database.read() as connection:
        return int(connection.scalar(text(f"SELECT {bulk.now_ms_sql(connection)}")) or 0)


def test_an_event_its_closure_and_its_deliveries_are_stored_together(store: Store) -> None:
    (event,) = parsed(ended())
    answers = store.inbox.record([event])
    kept, closure = store.row("events"), store.row("closures")

    assert [(answer.event_id, str(answer.status)) for answer in answers] == [(event.event_id, "accepted")]
    assert (kept.event_id, kept.body, kept.conversation_id) == (event.event_id, ended(), CONVERSATION)
    assert (kept.received_at, kept.occurred_at) == (event.received_at, event.occurred_at)
    assert (closure.closed, closure.ended_at) == (True, clock.from_ms(STARTED_MS + 100_000))
    assert [(d.state, d.desired_version) for d in store.rows("deliveries")] == [("pending", closure.version)] * 2


def test_a_transaction_that_fails_leaves_none_of_them(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "LONGEST_SECONDS", -1.0)
    with pytest.raises(Unavailable):
        store.record(ended())

    assert [store.count(name) for name in ("events", "closures", "deliveries", "conversation_people")] == [0] * 4


def test_nothing_to_record_is_harmless(store: Store) -> None:
    assert store.inbox.record([]) == []


def test_a_repetition_is_a_duplicate_and_changes_nothing(store: Store) -> None:
    store.record(ended(), wrapped_up())
    before = store.rows("events"), store.rows("closures"), store.rows("deliveries")
    answers = store.record(wrapped_up(), ended(), enveloped(ended()))

    assert answers == ["duplicate"] * 3
    assert (store.rows("events"), store.rows("closures"), store.rows("deliveries")) == before


def test_it_does_not_matter_which_shape_of_an_event_came_first(store: Store) -> None:
    """A workflow passes on an event without its lists, EventBridge passes on all of it."""
    sparse, full = ended("sparse-first"), ended("sparse-first", conversationExternalContactIds=["c-1"])
    store.record(sparse)
    answers = store.record(full)
    store.record(ended("full-first", conversationExternalContactIds=["c-1"]))
    store.record(ended("full-first"))
    told = {row.conversation_id: row.external_contact_ids for row in store.rows("closures")}

    assert answers == ["duplicate"]
    assert told == {"sparse-first": ["c-1"], "full-first": ["c-1"]}


def test_a_repetition_within_one_body_is_a_duplicate(store: Store) -> None:
    assert store.record(ended(), ended(), wrapped_up()) == ["accepted", "duplicate", "accepted"]
    assert store.count("events") == 2


@pytest.mark.parametrize(
    ("odd", "status"),
    [
        (b"{", "quarantined"),
        (b"\xff\xfe", "quarantined"),
        (b'{"eventTime": 1, "participantId": "p"}', "quarantined"),
        (b'"hello"', "ignored"),
        (body("user.unheard.of", at=1), "ignored"),
    ],
)
def test_what_is_quarantined_or_ignored_is_kept_and_owes_nothing(store: Store, odd: bytes, status: str) -> None:
    assert store.record(odd) == [status]
    assert (store.row("events").status, store.row("events").body) == (status, odd)
    assert (store.count("closures"), store.count("deliveries")) == (0, 0)
    assert store.record(odd) == ["duplicate"]


def test_an_event_of_another_organization_is_kept_and_owes_nothing(store: Store) -> None:
    events = parsed(enveloped(ended()), organization_id="somebody else")

    assert [str(answer.status) for answer in store.inbox.record(events)] == ["quarantined"]
    assert (store.count("events"), store.count("deliveries")) == (1, 0)


def test_what_only_informs_owes_nothing_until_the_conversation_is_closed(store: Store) -> None:
    store.record(started(), agent_left(), bot_succeeded(), wrapped_up(at=90))
    informed = store.row("closures")
    owed_before = store.count("deliveries")
    store.record(ended())

    assert (informed.closed, informed.wrapup_notes, owed_before) == (False, "refund issued", 0)
    assert [d.desired_version for d in store.rows("deliveries")] == [store.row("closures").version] * 2


def test_a_reopening_is_owed_to_those_who_were_told_and_to_nobody_else(store: Store) -> None:
    store.record(ended())
    with store.database.write() as connection:
        store.target_ids |= targets.sync(connection, named("crm", "other", "new"))
    store.record(started(at=200, session="second"))
    reopened = store.row("closures")
    owed_to = {d.target_id: d.desired_version for d in store.rows("deliveries")}

    assert reopened.closed is False
    assert owed_to == {store.target_ids[name]: reopened.version for name in ("crm", "other")}


def test_a_new_target_is_owed_what_closes_again(store: Store) -> None:
    store.record(ended())
    with store.database.write() as connection:
        targets.sync(connection, named("crm", "other", "new"))
    store.record(wrapped_up())

    assert store.count("deliveries") == 3


def test_a_retired_target_is_owed_no_new_conversation_but_hears_of_those_it_was_told_of(store: Store) -> None:
    store.record(ended("told"))
    store.change("targets", where={"name": "other"}, state="retired")
    store.record(ended("new"), wrapped_up("told"))
    told = store.row("closures", conversation_id="told")

    assert [d.target_id for d in store.rows("deliveries", conversation_id="new")] == [store.target_id]
    assert [d.desired_version for d in store.rows("deliveries", conversation_id="told")] == [told.version] * 2


def test_a_paused_target_goes_on_being_owed(store: Store) -> None:
    with store.database.write() as connection:
        targets.pause(connection, "other", "somebody must look")
    store.record(ended())

    assert store.delivery(target="other").state == "pending"


def test_a_version_lies_above_the_old_one_and_above_the_clock_of_the_database(store: Store) -> None:
    earliest = database_ms(store)
    store.record(ended())
    first = store.row("closures").version
    latest = database_ms(store)
    store.change("closures", version=latest + 1_000_000)
    store.record(wrapped_up())
    second = store.row("closures").version
    store.change("closures", version=5)
    store.record(agent_left())

    assert earliest <= first <= latest
    assert second == latest + 1_000_001
    assert latest <= store.row("closures").version <= database_ms(store), "as after a restore from a backup"


def test_a_version_rises_only_when_what_readers_see_has_changed(store: Store) -> None:
    store.record(ended(), wrapped_up())
    before, owed = store.row("closures"), store.rows("deliveries")
    store.record(body("wrapup", at=50, session="agent", wrapupCode="an older one"))
    after = store.row("closures")
    known = "facts"
    store.record(body("customer.start", at=-5, session="customer"))

    assert getattr(after, known) == getattr(before, known)
    assert (after.version, after.updated_at) == (before.version, before.updated_at)
    assert owed == [d for d in owed if d.desired_version == before.version]
    assert store.row("closures").version > before.version
    assert store.row("closures").updated_at > before.updated_at
    assert store.row("closures").created_at == before.created_at


def test_facts_that_show_nowhere_are_kept_without_a_new_version(store: Store) -> None:
    store.record(ended(), agent_left())
    before = store.row("closures")
    store.record(body("acd.end", at=60, session="acd", queueId="queue-1"))
    after = store.row("closures")

    assert after.facts != before.facts
    assert (after.version, after.updated_at) == (before.version, before.updated_at)
    assert {d.desired_version for d in store.rows("deliveries")} == {before.version}


def test_a_pending_delivery_keeps_its_due_time_or_an_update_would_defeat_its_back_off(store: Store) -> None:
    store.record(ended())
    store.change("deliveries", due_at=LATER, attempts=4, lost_leases=2)
    store.record(wrapped_up())
    delivery = store.delivery()

    assert (delivery.due_at, delivery.attempts, delivery.lost_leases) == (LATER, 4, 2)
    assert delivery.desired_version == store.row("closures").version


@pytest.mark.parametrize("state", ["delivered", "dead"])
def test_a_delivery_that_was_done_with_is_pending_due_and_has_all_its_attempts(store: Store, state: str) -> None:
    store.record(ended())
    store.change("deliveries", state=state, due_at=LATER, attempts=13, lost_leases=4)
    before = store.delivery()
    store.record(wrapped_up())
    delivery = store.delivery()

    assert (delivery.state, delivery.attempts, delivery.lost_leases) == ("pending", 0, 0)
    assert delivery.due_at < LATER
    assert delivery.desired_version > before.desired_version


def test_people_are_noted_by_what_they_can_be_found_by(store: Store) -> None:
    contact = "12456349-b5c7-4d8f-9eb4-f4df18bce9a9"
    store.record(
        ended("by phone", addressFrom="tel:+44 (20) 7946-0958"),
        ended("by mail", addressFrom="Somebody@Example.org", externalContactId=contact),
        ended("by mail", at=101, addressFrom="somebody@example.org"),
    )
    people = [(person.kind, person.value, person.conversation_id) for person in store.rows("conversation_people")]

    assert people == [
        ("contact", contact, "by mail"),
        ("email", "somebody@example.org", "by mail"),
        ("phone", "+442079460958", "by phone"),
    ]


LONG = "a word and another " * 1_600


@pytest.mark.parametrize(
    ("sent", "kept", "is_altered"),
    [
        ("\N{PILE OF POO} and \N{FAMILY} \U0001f469\u200d\U0001f4bb", None, False),
        ("\u202egnp.exe\u2069 \u200b", None, False),
        ("nul \0 within", "nul \N{REPLACEMENT CHARACTER} within", True),
        ("quotes ' \" \\ $1 :name %s ? {}", None, False),
        ("\x01\x1f\x7f\u2028\n\t", None, False),
        (LONG, None, False),
        ("o" + "\u0301" * 10_000, None, False),
    ],
    ids=["emoji", "bidi", "nul", "quotes", "controls", "30 kB", "combining"],
)
def test_odd_text_is_stored_alike_on_both_engines(store: Store, sent: str, kept: str | None, is_altered: bool) -> None:
    posted = wrapped_up(wrapupNotes=sent, addressFrom=sent[:100])
    store.record(ended(), posted)
    closure = store.row("closures")

    assert (closure.wrapup_notes, closure.text_altered) == (kept or sent, is_altered)
    assert store.row("events", kind="wrapup").body == posted


@pytest.mark.parametrize("posted", [b"\xff\x00\xfe", b"{\0}", b"", b"\xef\xbb\xbf{}", '"\u2028"'.encode()])
def test_bytes_that_are_no_text_are_stored_alike_on_both_engines(store: Store, posted: bytes) -> None:
    store.record(posted, ended())

    assert posted in [bytes(event.body) for event in store.rows("events")]
    assert store.record(posted) == ["duplicate"]


def test_every_kind_of_value_is_stored_alike_on_both_engines(store: Store) -> None:
    attributes = {
        "text": "\N{SNOWMAN}", "number": 2**53 - 1, "negative": -1.5, "flag": False, "list": [1, "two", None],
        "object": {"inner": {"empty": {}}}, "blank": "", "\N{SNOWMAN} key": "k",
    }  # fmt: skip
    store.record(ended(), body("attributes", at=50, attributes=attributes))
    closure = store.row("closures")

    assert closure.attributes == attributes
    assert [type(closure.attributes[name]) for name in ("number", "negative", "flag")] == [int, float, bool]
    assert closure.awaiting_until == clock.from_ms(STARTED_MS + 700_000)
    assert (closure.agent_ids, closure.duration_ms, closure.wrapup_code) == ([], None, None)
    assert isinstance(closure.updated_at, datetime) and closure.updated_at.utcoffset() == timedelta(0)


def test_the_database_takes_rows_in_one_order_by_bytes(store: Store) -> None:
    names = ["b", "A", "a-b", "ab", "\N{SNOWMAN}", "B", "a b", "10", "9"]
    types = {"name": inbox.ClosureRow.__table__.c.conversation_id.type}
    with store.database.read() as connection:
        source, parameters = bulk.typed_rows(connection, types, [{"name": name} for name in names])
        found = list(connection.scalars(text(f"SELECT r.name FROM {source} ORDER BY r.name"), parameters))
        if store.database.is_postgresql:
            collation = connection.scalar(text(f"SELECT pg_collation_for(r.name) FROM {source} LIMIT 1"), parameters)
            assert collation == '"C"'

    assert found == sorted(names)


def test_no_order_of_the_events_of_a_conversation_changes_what_is_stored(store: Store) -> None:
    five = parsed(enveloped(ended()), wrapped_up(), agent_left(), bot_succeeded(), started())
    found = []
    for order in permutations(five):
        for event in order:
            store.inbox.record([event])
        closure = store.row("closures")._asdict()
        assert closure.pop("version") == {d.desired_version for d in store.rows("deliveries")}.pop()
        for name in ("created_at", "updated_at"):
            closure.pop(name)
        found.append(closure)
        with store.database.write() as connection:
            for table in ("deliveries", "closures", "conversation_people", "events"):
                connection.execute(text(f"DELETE FROM {table}"))

    assert len(found) == 120
    assert all(closure == found[0] for closure in found)
    assert (found[0]["resolution"], found[0]["closed"]) == ("resolved", True)


def test_replaying_merges_again_and_reads_by_the_map_of_today(store: Store) -> None:
    unexplained = Inbox(store.database, ResolutionMap())
    unexplained.record(parsed(ended(), wrapped_up()))
    before = store.row("closures")
    store.inbox.record(parsed(wrapped_up()), again=True)
    after = store.row("closures")

    assert (before.resolution, after.resolution) == (Status.UNKNOWN, Status.RESOLVED)
    assert after.version > before.version
    assert {d.desired_version for d in store.rows("deliveries")} == {after.version}


def test_the_organization_of_an_envelope_is_kept_with_the_event(store: Store) -> None:
    store.record(enveloped(ended()))

    assert store.row("events").organization_id == ORGANIZATION
