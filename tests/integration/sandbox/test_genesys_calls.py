"""What the pretend Genesys Cloud does when all is well: start, count, evaluate, register, report."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.sandbox.harness import PAYLOAD, Genesys

WEBHOOKS = "/api/v2/integrations/webhooks"
QUERY = "/api/v2/analytics/conversations/details/query"
WINDOW = {"dateFrom": "2020-01-01T00:00:00Z", "dateTo": "2100-01-01T00:00:00Z"}


def test_a_conversation_starts_active_and_is_read_as_it_was_sent(genesys: Genesys) -> None:
    routing = {"queueId": "human-support-queue"}
    started = genesys.call("POST", "/api/v2/conversations", PAYLOAD | {"routing": routing}).json()

    read = genesys.call("GET", f"/api/v2/conversations/{started['id']}").json()

    assert read == started
    assert {name: started[name] for name in PAYLOAD} == PAYLOAD
    assert (started["state"], started["routing"]) == ("active", routing)
    assert "endTime" not in started


def test_the_active_conversations_of_a_bot_are_counted(genesys: Genesys) -> None:
    ended, active, _ = genesys.start(), genesys.start(), genesys.start(to=[{"id": "another-bot"}])
    genesys.control.end(ended)

    answer = genesys.call("GET", "/api/v2/conversations?to.id=bot-id-123&state=active").json()

    assert answer["total"] == 1
    assert [conversation["id"] for conversation in answer["entities"]] == [active]
    assert genesys.call("GET", "/api/v2/conversations?state=closed").json()["total"] == 1
    assert genesys.call("GET", "/api/v2/conversations").json()["total"] == 3
    assert genesys.call("GET", "/api/v2/conversations?state=open").status_code == 400


def test_a_message_is_evaluated_as_documented(genesys: Genesys) -> None:
    answer = genesys.call(
        "POST",
        "/api/v2/conversations/message/evaluate",
        {"text": "I want to cancel my recent order", "botId": "bot-id-123"},
    )

    assert answer.json() == {"intentConfidence": 0.87, "sentimentScore": -0.2, "intentName": "CancelOrder"}


@pytest.mark.parametrize(
    "body", [{"text": "hello"}, {"botId": "b"}, {"text": " ", "botId": "b"}, {"text": 5, "botId": "b"}]
)
def test_a_message_without_text_or_bot_is_not_evaluated(genesys: Genesys, body: dict[str, Any]) -> None:
    assert genesys.call("POST", "/api/v2/conversations/message/evaluate", body).status_code == 400


def test_a_webhook_is_listed_read_replaced_and_deleted_and_its_secret_never_shown(genesys: Genesys) -> None:
    made = genesys.register("http://127.0.0.1:9/a", secret="hush-hush")
    changed = {"name": "Other", "url": "http://127.0.0.1:9/b", "events": ["conversation:ended"], "secret": "hush-2"}

    assert genesys.call("GET", WEBHOOKS).json() == {"entities": [made]}
    assert genesys.call("GET", f"{WEBHOOKS}/{made['id']}").json() == made
    replaced = genesys.call("PUT", f"{WEBHOOKS}/{made['id']}", changed).json()
    assert replaced == {"id": made["id"], "name": "Other", "url": "http://127.0.0.1:9/b", "events": changed["events"]}
    assert "hush" not in f"{made} {replaced} {genesys.control.webhooks()}"
    assert genesys.call("DELETE", f"{WEBHOOKS}/{made['id']}").status_code == 204
    assert genesys.call("DELETE", f"{WEBHOOKS}/{made['id']}").status_code == 404
    assert genesys.control.webhooks() == []


def test_two_registrations_make_two_webhooks(genesys: Genesys) -> None:
    genesys.register("http://127.0.0.1:9/")
    genesys.register("http://127.0.0.1:9/")

    assert len(genesys.control.webhooks()) == 2


@pytest.mark.parametrize(
    "changes",
    [{"name": ""}, {"url": "ftp://127.0.0.1/"}, {"url": "http://[/"}, {"events": []}, {"events": ["x"]}, {"secret": 5}],
)
def test_a_webhook_that_makes_no_sense_is_refused(genesys: Genesys, changes: dict[str, Any]) -> None:
    body = {"name": "n", "url": "http://127.0.0.1:9/", "events": ["conversation:ended"]} | changes

    answer = genesys.call("POST", WEBHOOKS, body)

    assert answer.status_code == 400
    assert answer.json()["messageParams"]["field"] == next(iter(changes))


def test_without_the_extension_there_is_only_the_registration(make_genesys: Callable[..., Genesys]) -> None:
    genesys = make_genesys(webhook_list=False)
    made = genesys.register("http://127.0.0.1:9/")

    assert genesys.call("GET", WEBHOOKS).status_code == 405
    assert genesys.call("GET", f"{WEBHOOKS}/{made['id']}").status_code == 404
    assert genesys.call("DELETE", f"{WEBHOOKS}/{made['id']}").status_code == 404


def test_analytics_report_the_selected_fields_of_one_conversation(genesys: Genesys) -> None:
    conversation_id = genesys.start()
    genesys.start()
    ended = genesys.control.end(conversation_id, "resolved", endTime="2099-01-01T00:00:00.250Z")
    fields = ["conversationId", "startTime", "endTime", "resolutionStatus", "duration"]
    wanted = [{"dimension": "conversationId", "operator": "equals", "value": conversation_id}]

    answer = genesys.call("POST", QUERY, WINDOW | {"filter": wanted, "select": fields}).json()

    (row,) = answer["data"]
    assert "nextPageToken" not in answer
    assert list(row) == fields
    assert (row["startTime"], row["endTime"]) == (ended["startTime"], "2099-01-01T00:00:00.250Z")
    assert row["resolutionStatus"] == "resolved"
    assert row["duration"] > 70 * 365 * 86_400_000


@pytest.mark.parametrize("where", ["body", "query"])
def test_analytics_come_in_pages_that_show_everything_once(make_genesys: Callable[..., Genesys], where: str) -> None:
    genesys = make_genesys(page_size=2)
    started = {genesys.start() for _ in range(5)}
    pages, token = [], None
    while token or not pages:
        body = WINDOW | ({"nextPageToken": token} if token and where == "body" else {})
        params = {"nextPageToken": token} if token and where == "query" else None
        answer = genesys.call("POST", QUERY, body, params=params).json()
        pages.append([row["conversationId"] for row in answer["data"]])
        token = answer.get("nextPageToken")
        genesys.start()

    seen = [conversation_id for page in pages for conversation_id in page]
    assert all(len(page) == 2 for page in pages[:-1])
    assert len(seen) == len(set(seen))
    assert started <= set(seen)


def test_analytics_leave_out_what_lies_outside_the_window(genesys: Genesys) -> None:
    genesys.start()

    answer = genesys.call("POST", QUERY, {"dateFrom": "2020-01-01T00:00:00Z", "dateTo": "2020-02-01T00:00:00Z"}).json()

    assert answer == {"data": []}


@pytest.mark.parametrize(
    "changes",
    [
        {"dateFrom": None},
        {"dateTo": "2019-01-01T00:00:00Z"},
        {"dateTo": "2100-01-01T00:00:00"},
        {"filter": [{"dimension": "conversationId", "operator": "matches", "value": "x"}]},
        {"filter": [{"dimension": ["x"], "operator": "equals"}]},
        {"select": ["secret"]},
        {"select": []},
        {"pageSize": 101},
        {"nextPageToken": "rubbish"},
    ],
)
def test_an_analytics_query_that_makes_no_sense_is_refused(genesys: Genesys, changes: dict[str, Any]) -> None:
    assert genesys.call("POST", QUERY, WINDOW | changes).status_code == 400


def test_the_control_api_counts_every_call_but_its_own(genesys: Genesys) -> None:
    genesys.start()
    genesys.control.conversations()

    counted = {(row["method"], row["path"], row["status"]): row["count"] for row in genesys.control.traffic()}

    assert counted == {("POST", "/oauth/token", 200): 1, ("POST", "/api/v2/conversations", 201): 1}
