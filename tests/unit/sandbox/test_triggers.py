"""Which events fire a trigger, and which bodies are one."""

from typing import Any

import pytest

from crm_sync.sandbox import criteria
from crm_sync.sandbox.problems import Problem
from crm_sync.sandbox.triggers import TriggerRules, Triggers

TOPIC = "v2.detail.events.conversation.{id}.customer.end"
EVENT = {
    "conversationId": "c-1",
    "eventTime": 1649237504949,
    "disconnectType": "CLIENT",
    "interactingDurationMs": 60000,
    "held": False,
    "conversationExternalContactIds": ["x-1", "x-2"],
    "attributes": {"order": "ORD-1"},
}


def body(**changes: Any) -> dict[str, Any]:
    return {
        "name": "crm-sync customer.end",
        "topicName": TOPIC,
        "enabled": True,
        "target": {"type": "Workflow", "id": "w-1", "workflowTargetSettings": {"dataFormat": "TopLevelPrimitives"}},
    } | changes


def criterion(path: str, operator: str, given: Any) -> dict[str, Any]:
    name = "values" if operator in ("In", "NotIn", "All") else "value"
    return {"jsonPath": path, "operator": operator, name: given}


@pytest.mark.parametrize(
    ("path", "operator", "met", "unmet"),
    [
        ("disconnectType", "Equal", "CLIENT", "PEER"),
        ("$.disconnectType", "Equal", "CLIENT", "client"),
        ("attributes.order", "Equal", "ORD-1", "ORD-2"),
        ("held", "Equal", False, 0),
        ("disconnectType", "NotEqual", "PEER", "CLIENT"),
        ("disconnectType", "In", ["PEER", "CLIENT"], ["PEER"]),
        ("disconnectType", "NotIn", ["PEER"], ["PEER", "CLIENT"]),
        ("interactingDurationMs", "GreaterThan", 59999, 60000),
        ("interactingDurationMs", "GreaterThanOrEqual", 60000, 60001),
        ("interactingDurationMs", "LessThan", 60001, 60000),
        ("interactingDurationMs", "LessThanOrEqual", 60000, 59999),
        ("interactingDurationMs", "GreaterThan", 1.5, "1"),
        ("disconnectType", "Contains", "LIE", "PEER"),
        ("conversationExternalContactIds", "Contains", "x-1", "x"),
        ("conversationExternalContactIds", "All", ["x-2", "x-1"], ["x-1", "x-3"]),
        ("conversationExternalContactIds", "Size", 2, 1),
        ("disconnectType", "Exists", True, False),
        ("queueId", "Exists", False, True),
    ],
)
def test_a_criterion_fires_on_what_meets_it_and_on_nothing_else(path: str, operator: str, met: Any, unmet: Any) -> None:
    triggers = Triggers()
    triggers.add(body(matchCriteria=[criterion(path, operator, met)]))
    triggers.add(body(matchCriteria=[criterion(path, operator, unmet)], target={"type": "Workflow", "id": "never"}))

    assert triggers.fires(TOPIC, EVENT) == ["w-1"]


@pytest.mark.parametrize("operator", ["NotIn", "NotEqual"])
def test_a_missing_field_differs_from_everything_unless_the_rules_say_otherwise(operator: str) -> None:
    triggers = Triggers()
    triggers.add(body(matchCriteria=[criterion("queueId", operator, ["q-1"] if operator == "NotIn" else "q-1")]))
    by_default = triggers.fires(TOPIC, EVENT)
    triggers.rules = TriggerRules(missing_differs=False)

    assert by_default == ["w-1"]
    assert triggers.fires(TOPIC, EVENT) == []


@pytest.mark.parametrize("operator", ["Equal", "In", "GreaterThan", "Contains", "All", "Size"])
def test_a_missing_field_meets_no_other_criterion(operator: str) -> None:
    given = ["q-1"] if operator in ("In", "All") else 0
    wanted = criterion("queueId", operator, given)

    assert not criteria.holds(wanted, EVENT, missing_differs=True)


def test_all_criteria_must_be_met_and_without_any_every_event_fires() -> None:
    triggers = Triggers()
    triggers.add(body())
    triggers.add(
        body(
            target={"type": "Workflow", "id": "w-2"},
            matchCriteria=[criterion("disconnectType", "Equal", "CLIENT"), criterion("held", "Equal", True)],
        )
    )

    assert triggers.fires(TOPIC, EVENT) == ["w-1"]


def test_a_disabled_trigger_and_one_of_another_topic_do_not_fire() -> None:
    triggers = Triggers()
    triggers.add(body(enabled=False))
    triggers.add(body(topicName="v2.detail.events.conversation.{id}.acw"))

    assert triggers.fires(TOPIC, EVENT) == []


def test_each_trigger_that_an_event_meets_fires_once() -> None:
    triggers = Triggers()
    triggers.add(body())
    triggers.add(body())

    assert triggers.fires(TOPIC, EVENT) == ["w-1", "w-1"]


@pytest.mark.parametrize(
    "changes",
    [
        {"name": " "},
        {"topicName": "v2.detail.events.conversation.c-1.customer.end"},
        {"topicName": None},
        {"enabled": None},
        {"enabled": "true"},
        {"target": None},
        {"target": {"type": "Lambda", "id": "w-1"}},
        {"target": {"type": "Workflow"}},
        {"target": {"type": "Workflow", "id": "w-1", "workflowTargetSettings": {"dataFormat": "XML"}}},
        {"target": {"type": "Workflow", "id": "w-1", "workflowTargetSettings": ["Json"]}},
        {"description": "x" * 513},
        {"eventTTLSeconds": 9},
        {"eventTTLSeconds": True},
        {"delayBySeconds": 59},
        {"delayBySeconds": 901},
        {"delayBySeconds": 60, "eventTTLSeconds": 10},
        {"matchCriteria": {}},
        {"matchCriteria": ["disconnectType"]},
        {"matchCriteria": [{"jsonPath": "$..x", "operator": "Equal", "value": 1}]},
        {"matchCriteria": [{"jsonPath": "x", "operator": "equals", "value": 1}]},
        {"matchCriteria": [{"jsonPath": "x", "operator": "Equal"}]},
        {"matchCriteria": [{"jsonPath": "x", "operator": "In", "value": 1, "values": [1]}]},
        {"matchCriteria": [{"jsonPath": "x", "operator": "In", "value": 1}]},
        {"matchCriteria": [{"jsonPath": "x", "operator": "Equal", "values": [1]}]},
    ],
)
def test_a_body_that_the_platform_would_not_take_is_refused_and_names_its_field(changes: dict[str, Any]) -> None:
    triggers = Triggers()

    with pytest.raises(Problem) as refused:
        triggers.add(body(**changes))

    assert refused.value.status == 400
    assert refused.value.params["field"] == next(iter(changes))
    assert triggers.all() == []


@pytest.mark.parametrize(
    "changes",
    [{"description": "x" * 512}, {"eventTTLSeconds": 10}, {"delayBySeconds": 60}, {"delayBySeconds": 900}],
)
def test_a_body_at_a_limit_is_taken(changes: dict[str, Any]) -> None:
    trigger = Triggers().add(body(**changes))

    assert trigger.as_object() == {
        **body(**changes),
        "id": trigger.id,
        "version": 1,
        "selfUri": f"/api/v2/processautomation/triggers/{trigger.id}",
    }


def test_what_is_null_is_as_if_it_were_absent() -> None:
    trigger = Triggers().add(body(description=None, matchCriteria=None, eventTTLSeconds=None, delayBySeconds=60))

    assert set(trigger.fields) == {*body(), "delayBySeconds"}
