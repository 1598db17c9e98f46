"""The pretend CRM over a real connection, with the signer of Standard Webhooks as its client."""

from datetime import timedelta
from typing import Any

import pytest
import requests

from crm_sync.sandbox.client import CRMControl
from crm_sync.sandbox.crm import SANDBOX_SECRET, CRMState, create_crm
from crm_sync.sandbox.server import serve
from tests.integration.sandbox.pushing import push

OTHER = "whsec_b3RoZXIgc2VjcmV0IG9mIHRoZSB0ZXN0cw=="


def effects(crm: CRMControl) -> list[tuple[str, int, str]]:
    return [(effect["push_key"], effect["version"], effect["outcome"]) for effect in crm.effects()]


def test_a_push_creates_and_then_updates_and_says_where_the_record_is(crm: CRMControl) -> None:
    created = push(crm).json()
    updated = push(crm, "c-1.2.def", version=2, resolution="escalated").json()

    record = crm.record("c-1")
    assert (created["outcome"], updated["outcome"]) == ("created", "updated")
    assert created["id"] == updated["id"]
    assert record is not None
    assert record["data"] == {"conversation_id": "c-1", "version": 2, "resolution": "escalated"}
    page = requests.get(created["url"], timeout=10)
    assert page.status_code == 200
    assert "escalated" in page.text


def test_a_push_key_takes_effect_once(crm: CRMControl) -> None:
    outcomes = [push(crm).json()["outcome"] for _ in range(3)]

    assert outcomes == ["created", "unchanged", "unchanged"]
    assert [effect["effective"] for effect in crm.effects()] == [True, False, False]


def test_an_older_version_is_skipped(crm: CRMControl) -> None:
    push(crm, "new", version=2, resolution="resolved")

    assert push(crm, "old", version=1, resolution="unknown").json()["outcome"] == "skipped"
    assert effects(crm) == [("new", 2, "created"), ("old", 1, "skipped")]


def test_a_wrong_signature_or_an_old_one_changes_nothing(crm: CRMControl) -> None:
    answers = [push(crm, secret=OTHER), push(crm, age=timedelta(minutes=6)), push(crm, age=-timedelta(minutes=6))]

    assert [answer.status_code for answer in answers] == [401, 401, 401]
    assert (crm.records(), crm.effects()) == ([], [])


def test_both_secrets_are_accepted_during_a_rotation() -> None:
    with serve(create_crm(CRMState((SANDBOX_SECRET, OTHER)))) as server, CRMControl(server.url) as crm:
        assert push(crm, "one").status_code == 200
        assert push(crm, "two", secret=OTHER).status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ("{", 400, None),
        ("[]", 400, None),
        ("{}", 422, "conversation_id"),
        ('{"data": 5}', 422, "data"),
        ('{"data": {"conversation_id": ""}}', 422, "conversation_id"),
        ('{"data": {"conversation_id": "c", "version": "1"}}', 422, "version"),
    ],
)
def test_an_authentic_body_that_makes_no_sense_is_refused(
    crm: CRMControl, body: str, status: int, field: str | None
) -> None:
    answer = push(crm, body=body)

    assert (answer.status_code, answer.json().get("field")) == (status, field)
    assert crm.effects() == []


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ({"kind": "refuse", "field": "Status"}, 422),
        ({"kind": "throttle", "retry_after": 7}, 429),
        ({"kind": "fail"}, 500),
        ({"kind": "gone"}, 410),
        ({"kind": "unauthorized"}, 401),
        ({"kind": "html"}, 200),
    ],
)
def test_a_refusal_keeps_nothing_and_the_next_push_is_stored(
    crm: CRMControl, fault: dict[str, Any], status: int
) -> None:
    crm.add_fault(**fault)
    answer = push(crm)

    assert answer.status_code == status
    assert answer.headers.get("Retry-After") == ("7" if status == 429 else None)
    assert ("html" in answer.headers["Content-Type"]) == (fault["kind"] == "html")
    assert status != 422 or answer.json()["field"] == "Status"
    assert crm.effects() == []
    assert push(crm).json()["outcome"] == "created"


def test_a_lost_answer_leaves_the_record_stored_and_a_second_push_harmless(crm: CRMControl) -> None:
    crm.add_fault(kind="lose_answer")

    with pytest.raises(requests.ConnectionError):
        push(crm)

    assert push(crm).json()["outcome"] == "unchanged"
    assert effects(crm) == [("c-1.1.abc", 1, "created"), ("c-1.1.abc", 1, "unchanged")]


def test_a_failure_may_come_after_the_work_was_done(crm: CRMControl) -> None:
    crm.add_fault(kind="apply_then_fail")

    assert push(crm).status_code == 500
    assert crm.record("c-1") is not None


def test_a_hanging_crm_outlasts_a_client_in_a_hurry_and_still_does_its_work(crm: CRMControl) -> None:
    crm.add_fault(kind="hang", seconds=0.5)

    with pytest.raises(requests.ReadTimeout):
        push(crm, timeout=0.1)
    while not crm.effects():
        pass

    assert push(crm).json()["outcome"] == "unchanged"


def test_dropped_records_are_answered_as_if_they_were_kept(crm: CRMControl) -> None:
    crm.add_fault(kind="drop", times=2)

    assert push(crm).json()["outcome"] == "created"
    assert push(crm, "c-2.1.abc", conversation_id="c-2").json()["outcome"] == "created"
    assert crm.records() == []
    assert push(crm).json()["outcome"] == "created"
    assert [outcome for _, _, outcome in effects(crm)] == ["dropped", "dropped", "created"]


def test_altered_records_are_answered_as_if_they_were_kept(crm: CRMControl) -> None:
    crm.add_fault(kind="alter")
    outcome = push(crm).json()["outcome"]

    record = crm.record("c-1")
    assert outcome == "created"
    assert record is not None
    assert record["data"]["resolution"] == "altered"


def test_a_fault_can_be_meant_for_one_conversation(crm: CRMControl) -> None:
    crm.add_fault(kind="refuse", conversation_id="c-2", times=None)

    assert push(crm).status_code == 200
    assert [push(crm, f"k{n}", conversation_id="c-2").status_code for n in range(2)] == [422, 422]
    crm.clear_faults()
    assert push(crm, "k3", conversation_id="c-2").status_code == 200


def test_an_unauthentic_push_uses_up_no_fault(crm: CRMControl) -> None:
    crm.add_fault(kind="fail")
    push(crm, secret=OTHER)

    assert [fault["kind"] for fault in crm.faults()] == ["fail"]


def test_an_unknown_fault_is_refused(crm: CRMControl) -> None:
    with pytest.raises(requests.HTTPError, match="400"):
        crm.add_fault(kind="explode")


def test_an_unknown_record_is_none_and_its_page_missing(crm: CRMControl) -> None:
    assert crm.record("un/known") is None
    assert requests.get(f"{crm.url}/records/unknown", timeout=10).status_code == 404


def test_a_page_shows_hostile_text_as_text(crm: CRMControl) -> None:
    address = push(crm, resolution="<script>alert(1)</script>").json()["url"]

    assert "<script>" not in requests.get(address, timeout=10).text


def test_the_traffic_is_counted(crm: CRMControl) -> None:
    push(crm)
    push(crm, secret=OTHER)

    assert [(row["path"], row["status"], row["count"]) for row in crm.traffic()] == [
        ("/records", 200, 1),
        ("/records", 401, 1),
    ]
