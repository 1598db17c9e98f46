"""The pretend CRM's records: one effect per push key, and versions that never go down."""

from datetime import UTC, datetime
from typing import Any

from crm_sync.sandbox.crm_records import Records

AT = datetime(2024, 1, 15, 10, 30, tzinfo=UTC)


def push(records: Records, key: str, *, keep: bool = True, **data: Any) -> str:
    full = {"conversation_id": "c-1"} | data
    return records.apply(key, full, at=AT, stored=full if keep else None).told


def test_a_new_conversation_is_created_and_a_newer_version_updates_it() -> None:
    records = Records()

    assert push(records, "k1", version=1, resolution="unknown") == "created"
    assert push(records, "k2", version=2, resolution="resolved") == "updated"
    assert [record.data["resolution"] for record in records.all()] == ["resolved"]


def test_the_same_push_key_takes_effect_once() -> None:
    records = Records()
    push(records, "k1", version=1)

    assert push(records, "k1", version=1) == "unchanged"
    assert [effect.outcome for effect in records.effects()] == ["created", "unchanged"]


def test_a_push_key_met_again_after_a_newer_version_is_unchanged() -> None:
    records = Records()
    push(records, "k1", version=1)
    push(records, "k2", version=2)

    assert push(records, "k1", version=1) == "unchanged"
    assert records.all()[0].version == 2


def test_an_older_version_is_skipped() -> None:
    records = Records()
    push(records, "k2", version=2, resolution="resolved")

    assert push(records, "k1", version=1, resolution="unknown") == "skipped"
    assert records.all()[0].data["resolution"] == "resolved"


def test_the_same_data_under_another_key_change_nothing() -> None:
    records = Records()
    push(records, "k1", version=1)

    assert push(records, "k1.r1", version=1) == "unchanged"


def test_a_dropped_push_leaves_no_trace_and_can_be_made_again() -> None:
    records = Records()

    assert push(records, "k1", keep=False, version=1) == "created"
    assert records.all() == []
    assert push(records, "k1", version=1) == "created"
    assert [effect.outcome for effect in records.effects()] == ["dropped", "created"]


def test_a_record_keeps_its_id() -> None:
    records = Records()

    for number in range(3):
        push(records, f"k{number}", version=number)

    assert {effect.record_id for effect in records.effects()} == {"CRM-000001"}
