"""Triggers: what counts as a difference, and how the pages of a list are followed."""

from typing import Any

import pytest

from crm_sync.errors import AdapterFailure
from crm_sync.genesys import paging, triggers
from tests.unit.genesys.fakes import answer, client

PATH = "/api/v2/processautomation/triggers"
WANTED = triggers.describe(
    "customer.end", prefix="crm-sync", workflow_id="w-1", data_format="TopLevelPrimitives", leave_out_transfers=True
)
PLAIN = triggers.describe("acw", prefix="ours", workflow_id="w-1", data_format="Json", leave_out_transfers=True)


def as_listed(wanted: triggers.Description, **changes: Any) -> dict[str, Any]:
    return {"id": "t-1", "name": wanted.name, "topicName": wanted.topic, "version": 3, **wanted.fields} | changes


def listed(*entities: Any) -> list[triggers.Trigger]:
    asking, _ = client(answer(body={"entities": list(entities)}))
    return triggers.listed(asking, [WANTED.topic])


def test_names_and_topics_follow_the_kind() -> None:
    assert (PLAIN.name, PLAIN.topic) == ("ours acw", "v2.detail.events.conversation.{id}.acw")


def test_only_the_end_of_the_customers_leg_has_criteria() -> None:
    assert "matchCriteria" in WANTED.fields
    assert "matchCriteria" not in PLAIN.fields


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"eventTTLSeconds": None, "delayBySeconds": None},
        {"dateCreated": "2026-01-01T00:00:00Z", "selfUri": "/somewhere"},
        {"target": {"type": "Workflow", "id": "w-1", "name": "Post", "workflowTargetSettings": {"dataFormat": "Json"}}},
        {"matchCriteria": None},
        {"matchCriteria": []},
    ],
    ids=str,
)
def test_what_is_absent_is_null_and_what_the_platform_adds_is_no_difference(changes: dict[str, Any]) -> None:
    (trigger,) = listed(as_listed(PLAIN, **changes))

    assert triggers.differences(trigger, PLAIN) == {}


def test_a_criterion_with_a_null_beside_its_values_is_the_same() -> None:
    criteria: Any = WANTED.fields["matchCriteria"]
    (trigger,) = listed(as_listed(WANTED, matchCriteria=[criteria[0] | {"value": None}]))

    assert triggers.differences(trigger, WANTED) == {}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("enabled", False),
        ("enabled", None),
        ("description", None),
        ("eventTTLSeconds", 10),
        ("delayBySeconds", 60),
        ("matchCriteria", None),
        ("matchCriteria", [{"jsonPath": "disconnectType", "operator": "In", "values": ["TRANSFER"]}]),
        ("target", {"type": "Workflow", "id": "w-2", "workflowTargetSettings": {"dataFormat": "TopLevelPrimitives"}}),
        ("target", {"type": "Workflow", "id": "w-1", "workflowTargetSettings": {"dataFormat": "Json"}}),
        ("target", {"type": "Workflow", "id": "w-1"}),
        ("target", None),
    ],
)
def test_every_other_change_is_a_difference_of_that_field(field: str, value: Any) -> None:
    (trigger,) = listed(as_listed(WANTED, **{field: value}))

    assert triggers.differences(trigger, WANTED) == {field: (trigger.fields.get(field), WANTED.fields.get(field))}


def test_the_first_by_id_comes_first_and_what_is_no_trigger_is_left_out() -> None:
    found = listed(as_listed(WANTED, id="t-2"), as_listed(WANTED, id="t-1"), {"id": "t-0"}, "rubbish", None)

    assert [trigger.id for trigger in found] == ["t-1", "t-2"]


def test_the_next_page_is_asked_at_our_own_host_and_with_its_whole_query() -> None:
    following = f"https://elsewhere.test{PATH}?topicName=a%2Cb&after=x%3D%3D&pageSize=200"
    pages = [{"entities": ["a"], "nextUri": following}, {"entities": ["b"], "nextUri": None}]
    asking, sender = client(*(answer(body=page) for page in pages))

    assert paging.entities(asking, PATH, what="a list", topicName="a,b") == ["a", "b"]
    first, second = (sent.url for sent in sender.sent)
    assert first.endswith(f"{PATH}?topicName=a%2Cb&pageSize=200")
    assert second == first.partition("?")[0] + following.partition(PATH)[2]


@pytest.mark.parametrize(
    "page",
    [
        [],
        {},
        {"entities": {}},
        {"entities": [], "nextUri": f"{PATH}?pageSize=200"},
        {"entities": [], "nextUri": "@elsewhere.test/api/v2"},
        {"entities": [], "nextUri": "http://[broken/api/"},
        {"entities": [], "nextUri": 3},
    ],
    ids=str,
)
def test_a_list_that_is_none_or_leads_nowhere_is_not_understood(page: Any) -> None:
    asking, _ = client(answer(body=page))

    with pytest.raises(AdapterFailure, match="a list in a form"):
        paging.entities(asking, PATH, what="a list")


def test_pages_without_an_end_are_given_up() -> None:
    endless = [answer(body={"entities": [], "nextUri": f"{PATH}?after={number}"}) for number in range(1000)]
    asking, sender = client(*endless)

    with pytest.raises(AdapterFailure, match="a list in a form"):
        paging.entities(asking, PATH, what="a list")
    assert len(sender.sent) == paging.MOST_PAGES


@pytest.mark.parametrize(
    ("flow", "told"),
    [
        ({"type": "WORKFLOW", "active": True, "publishedVersion": {"id": "3.0"}, "deleted": False}, None),
        ({"type": "WORKFLOW", "active": True, "publishedVersion": {"id": "3.0"}}, None),
        ({"type": "BOT", "active": True, "publishedVersion": {"id": "3.0"}}, "is no workflow"),
        ({"type": "WORKFLOW", "active": True}, "is not published"),
        ({"type": "WORKFLOW", "active": False, "publishedVersion": {"id": "3.0"}}, "is not active"),
        ({"type": "WORKFLOW", "active": True, "publishedVersion": {"id": "3.0"}, "deleted": True}, "is deleted"),
    ],
)
def test_a_workflow_is_named_with_what_it_lacks(flow: dict[str, Any], told: str | None) -> None:
    asking, _ = client(answer(body=flow))
    fault = triggers.workflow_fault(asking, "w-1")

    assert fault is None if told is None else fault is not None and "w-1" in fault and told in fault
