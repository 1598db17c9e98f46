"""The triggers of the pretend Genesys Cloud over a real connection: versions, pages, tests and permissions."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from crm_sync.sandbox.oauth import OAuthClient
from tests.integration.sandbox.harness import Genesys

TRIGGERS = "/api/v2/processautomation/triggers"
END, ACW = (f"v2.detail.events.conversation.{{id}}.{kind}" for kind in ("customer.end", "acw"))
WORKFLOW, DRAFT = "b008976c-e085-43b7-b27d-9c0efd5fbfb5", "4c1f6f0e-8d0a-4f5e-9c57-2f1f3b6a7d10"
EVENT = {"conversationId": "c-1", "eventTime": 1649237504949, "disconnectType": "CLIENT"}


def body(**changes: Any) -> dict[str, Any]:
    return {
        "name": "crm-sync customer.end",
        "topicName": END,
        "enabled": True,
        "target": {"type": "Workflow", "id": WORKFLOW},
        "matchCriteria": [{"jsonPath": "disconnectType", "operator": "NotIn", "values": ["TRANSFER"]}],
    } | changes


def make(genesys: Genesys, **changes: Any) -> dict[str, Any]:
    answer = genesys.call("POST", TRIGGERS, body(**changes))
    answer.raise_for_status()
    return dict(answer.json())


def listed(genesys: Genesys, path: str) -> list[Any]:
    found, following = [], path
    while following:
        page = genesys.call("GET", following).json()
        found += page["entities"]
        following = page.get("nextUri")
    return found


def test_a_trigger_is_made_read_replaced_and_deleted(genesys: Genesys) -> None:
    made = make(genesys)
    replaced = genesys.call("PUT", f"{TRIGGERS}/{made['id']}", body(enabled=False, version=made["version"])).json()

    assert made == {**body(), "id": made["id"], "version": 1, "selfUri": f"{TRIGGERS}/{made['id']}"}
    assert replaced == made | {"enabled": False, "version": 2}
    assert genesys.call("GET", made["selfUri"]).json() == replaced
    assert genesys.call("DELETE", made["selfUri"]).status_code == 204
    for method in ("GET", "PUT", "DELETE"):
        assert genesys.call(method, made["selfUri"], body(version=2)).status_code == 404


def test_a_stale_version_is_refused_with_409_and_changes_nothing(genesys: Genesys) -> None:
    made = make(genesys)
    current = genesys.call("PUT", made["selfUri"], body(version=1, name="Second")).json()

    stale = genesys.call("PUT", made["selfUri"], body(version=1, name="Third"))

    assert (stale.status_code, stale.json()["code"]) == (409, "conflict")
    assert genesys.call("GET", made["selfUri"]).json() == current


@pytest.mark.parametrize("changes", [{}, {"version": "1"}, {"version": 1, "topicName": ACW}])
def test_a_change_needs_its_version_and_leaves_the_topic_alone(genesys: Genesys, changes: dict[str, Any]) -> None:
    made = make(genesys)

    assert genesys.call("PUT", made["selfUri"], body(**changes)).status_code == 400
    assert genesys.call("GET", made["selfUri"]).json() == made


def test_two_triggers_may_have_one_name(genesys: Genesys) -> None:
    first, second = make(genesys), make(genesys)

    assert first["id"] != second["id"]
    assert len(listed(genesys, TRIGGERS)) == 2


def test_the_list_is_chosen_by_topics_and_state_and_comes_in_pages(make_genesys: Callable[..., Genesys]) -> None:
    genesys = make_genesys(page_size=2)
    ends = {make(genesys)["id"] for _ in range(5)}
    acw = make(genesys, topicName=ACW, enabled=False)["id"]
    outbound = make(genesys, topicName=END.replace("customer.end", "outbound"), delayBySeconds=60)["id"]

    def ids(query: str) -> list[str]:
        return [trigger["id"] for trigger in listed(genesys, f"{TRIGGERS}{query}")]

    assert sorted(ids("")) == sorted({*ends, acw, outbound})
    assert set(ids(f"?topicName={END}&pageSize=3")) == ends
    assert set(ids(f"?topicName={END},{ACW}")) == {*ends, acw}
    assert ids("?enabled=false") == [acw]
    assert ids("?hasDelayBy=true") == [outbound]
    assert genesys.call("GET", f"{TRIGGERS}?enabled=yes").status_code == 400
    assert genesys.call("GET", f"{TRIGGERS}?pageSize=201").status_code == 400


def test_a_page_leads_forward_and_back(make_genesys: Callable[..., Genesys]) -> None:
    genesys = make_genesys(page_size=3)
    first = genesys.call("GET", f"{TRIGGERS}/topics").json()
    second = genesys.call("GET", first["nextUri"]).json()
    back = genesys.call("GET", second["previousUri"]).json()

    assert "previousUri" not in first
    assert back["entities"] == first["entities"]
    assert not set(first["entities"]) & set(second["entities"])


def test_the_topics_are_those_of_the_organisation(make_genesys: Callable[..., Genesys]) -> None:
    genesys = make_genesys(page_size=5)
    usual = listed(genesys, f"{TRIGGERS}/topics")
    genesys.control.set_trigger_rules(topics=[ACW])

    assert len(usual) == len(set(usual)) == 13
    assert {END, ACW} <= set(usual)
    assert listed(genesys, f"{TRIGGERS}/topics") == [ACW]
    assert genesys.call("POST", TRIGGERS, body()).status_code == 400


@pytest.mark.parametrize("as_text", [False, True])
def test_a_trigger_is_tested_with_an_event_that_is_an_object_or_a_text(genesys: Genesys, as_text: bool) -> None:
    made = make(genesys, enabled=False)
    event = json.dumps(EVENT) if as_text else EVENT

    told = genesys.call("POST", f"{made['selfUri']}/test", event).json()

    assert told["triggerMatches"] is True
    assert all(told[f"{step}Validation"]["matches"] for step in ("schema", "target", "jsonPath"))
    (detail,) = told["jsonPathValidation"]["details"]
    assert detail["jsonPathExtraction"] == [{"value": "CLIENT", "path": "disconnectType"}]
    assert detail["match"] is True


@pytest.mark.parametrize(
    ("workflow", "event", "step"),
    [
        (DRAFT, EVENT, "targetValidation"),
        ("unknown", EVENT, "targetValidation"),
        ("12aeeeff-c0af-4f8b-b647-7a350630419f", EVENT, "targetValidation"),
        (WORKFLOW, EVENT | {"eventTime": "now"}, "schemaValidation"),
        (WORKFLOW, {"eventTime": 1}, "schemaValidation"),
        (WORKFLOW, EVENT | {"disconnectType": "TRANSFER"}, "jsonPathValidation"),
    ],
)
def test_a_test_tells_which_step_failed(genesys: Genesys, workflow: str, event: Any, step: str) -> None:
    made = make(genesys, target={"type": "Workflow", "id": workflow})

    told = genesys.call("POST", f"{made['selfUri']}/test", event).json()

    assert told.pop("triggerMatches") is False
    assert [name for name, told_step in told.items() if not told_step["matches"]] == [step]
    assert told[step]["details"]


@pytest.mark.parametrize("event", ["rubbish", None, [], "[]"])
def test_a_test_without_an_event_is_refused(genesys: Genesys, event: Any) -> None:
    made = make(genesys)

    answer = genesys.call(
        "POST", f"{made['selfUri']}/test", data=json.dumps(event), headers={"Content-Type": "application/json"}
    )

    assert answer.status_code == 400


def test_a_topic_is_tested_against_all_its_triggers(genesys: Genesys) -> None:
    met, unmet = (
        make(genesys)["id"],
        make(genesys, matchCriteria=[{"jsonPath": "disconnectType", "operator": "Equal", "value": "PEER"}])["id"],
    )
    make(genesys, topicName=ACW)

    told = genesys.call("POST", f"{TRIGGERS}/topics/{END}/test", EVENT).json()["triggerMatchValidation"]

    assert [trigger["id"] for trigger in told["matchedTriggers"]] == [met]
    assert [trigger["id"] for trigger in told["unmatchedTriggers"]] == [unmet]
    assert genesys.call("POST", f"{TRIGGERS}/topics/unknown/test", EVENT).status_code == 404


VIEW = "processautomation:trigger:view, processautomation:trigger:edit"


@pytest.mark.parametrize(
    ("method", "path", "permissions"),
    [
        ("GET", "", VIEW),
        ("GET", "/topics", VIEW),
        ("GET", "/t-1", VIEW),
        ("POST", "", "processautomation:trigger:add"),
        ("PUT", "/t-1", "processautomation:trigger:edit"),
        ("DELETE", "/t-1", "processautomation:trigger:delete"),
        ("POST", "/t-1/test", "processautomation:trigger:test"),
        ("POST", f"/topics/{END}/test", "processautomation:trigger:test"),
    ],
)
def test_every_call_needs_a_token_and_one_of_its_permissions(
    make_genesys: Callable[..., Genesys], method: str, path: str, permissions: str
) -> None:
    others = frozenset(f"processautomation:trigger:{verb}" for verb in ("view", "add", "edit", "delete", "test"))
    without = make_genesys(client=OAuthClient(permissions=others - set(permissions.split(", "))))
    having = make_genesys(client=OAuthClient(permissions=frozenset(permissions.split(", ")[-1:])))

    refused = without.call(method, TRIGGERS + path, {})

    assert (refused.status_code, refused.json()["messageParams"]) == (403, {"permissions": permissions})
    assert having.call(method, TRIGGERS + path, {}).status_code in (200, 204, 400, 404)
    assert without.session.request(method, f"{without.url}{TRIGGERS}{path}", json={}).status_code == 401
