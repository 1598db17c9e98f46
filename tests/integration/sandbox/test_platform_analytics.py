"""The platform's conversations over HTTP: the object, the details query with its quirks, details by id, jobs."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import requests

from crm_sync import clock
from crm_sync.sandbox.oauth import OAuthClient
from crm_sync.sandbox.platform_queries import PlatformOptions
from tests.integration.sandbox.harness import Genesys

ANALYTICS = "/api/v2/analytics/conversations"
QUERY, JOBS = f"{ANALYTICS}/details/query", f"{ANALYTICS}/details/jobs"
DAY = {"since": "2024-01-15T00:00:00Z", "until": "2024-01-16T00:00:00Z"}
OF_DAY = {"interval": "2024-01-15T00:00:00.000Z/2024-01-16T00:00:00.000Z"}


def predicate(dimension: str, operator: str = "matches", **more: Any) -> dict[str, Any]:
    return {"type": "dimension", "dimension": dimension, "operator": operator} | more


def all_of(*predicates: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"type": "and", "predicates": list(predicates)}]


def query(genesys: Genesys, **body: Any) -> dict[str, Any]:
    answer = genesys.call("POST", QUERY, OF_DAY | body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def ids(answer: dict[str, Any]) -> list[str]:
    return [record["conversationId"] for record in answer.get("conversations", [])]


def has_attributes(record: dict[str, Any]) -> bool:
    return any("attributes" in participant for participant in record["participants"])


def submit(genesys: Genesys, **body: Any) -> str:
    answer = genesys.call("POST", JOBS, OF_DAY | body)
    assert answer.status_code == 202
    return str(answer.json()["jobId"])


def results(genesys: Genesys, job_id: str, **parameters: Any) -> dict[str, Any]:
    while genesys.call("GET", f"{JOBS}/{job_id}").json()["state"] != "FULFILLED":
        pass
    return dict(genesys.call("GET", f"{JOBS}/{job_id}/results", params=parameters).json())


def test_the_object_of_a_conversation_of_the_platform_is_read_beside_the_tutorials(genesys: Genesys) -> None:
    (played,) = genesys.control.play(stories=["late_wrapup"], **DAY)
    started = genesys.start()

    told = genesys.call("GET", f"/api/v2/conversations/{played['id']}").json()

    assert (told["id"], told["endTime"]) == (played["id"], played["customer_left_at"])
    assert "state" not in told
    assert told["participants"][-1]["wrapup"]["code"] == played["wrapup_code"]
    assert genesys.call("GET", f"/api/v2/conversations/{started}").json()["state"] == "active"
    assert genesys.call("GET", "/api/v2/conversations/unknown").status_code == 404


def test_a_query_returns_the_records_of_the_interval_without_attributes(genesys: Genesys) -> None:
    played = genesys.control.play(count=10, seed=1, **DAY)

    answer = query(genesys)

    assert sorted(ids(answer)) == sorted(one["id"] for one in played)
    assert answer["totalHits"] == 10
    assert not any(map(has_attributes, answer["conversations"]))


def test_pages_show_everything_once_and_the_one_after_the_last_has_no_conversations(genesys: Genesys) -> None:
    played = genesys.control.play(count=30, seed=1, **DAY)
    pages = [query(genesys, paging={"pageSize": 20, "pageNumber": number}) for number in (1, 2, 3)]

    assert [len(ids(page)) for page in pages] == [20, 10, 0]
    assert "conversations" not in pages[2]
    assert len({*ids(pages[0]), *ids(pages[1])}) == len(played)
    assert len(ids(query(genesys))) == 25


def test_a_conversation_that_arrives_between_two_pages_shifts_them(genesys: Genesys) -> None:
    genesys.control.play(count=4, seed=1, **DAY)
    first = query(genesys, paging={"pageSize": 2, "pageNumber": 1})
    genesys.control.play(stories=["agent"], **(DAY | {"until": "2024-01-15T00:30:00Z"}))
    second = query(genesys, paging={"pageSize": 2, "pageNumber": 2})

    assert ids(second)[0] == ids(first)[1]
    assert second["totalHits"] == 5


def test_without_a_match_there_is_no_list(genesys: Genesys) -> None:
    assert query(genesys) == {"totalHits": 0}


def test_records_come_in_the_order_that_was_asked_for(genesys: Genesys) -> None:
    played = genesys.control.play(count=20, seed=1, **DAY)
    by_start = [one["id"] for one in sorted(played, key=lambda one: str(one["started_at"]))]
    by_end = [one["id"] for one in sorted(played, key=lambda one: str(one["ended_at"]))]

    assert ids(query(genesys)) == by_start
    assert ids(query(genesys, order="desc")) == by_start[::-1]
    assert ids(query(genesys, orderBy="conversationEnd")) == by_end
    assert ids(query(genesys, order="desc", orderBy="conversationEnd")) == by_end[::-1]


def test_only_what_began_on_a_day_of_the_interval_is_found_but_a_job_finds_what_was_active(genesys: Genesys) -> None:
    (over_midnight,) = genesys.control.play(
        stories=["reopened"], media=["message"], seed=3, since="2024-01-14T23:59:59Z", until="2024-01-14T23:59:59Z"
    )
    assert over_midnight["ended_at"] > "2024-01-15T00:02:00Z"
    after_midnight = "2024-01-15T00:01:00Z/2024-01-15T01:00:00Z"

    assert ids(query(genesys, interval=after_midnight)) == []
    assert ids(query(genesys, interval="2024-01-14T23:59:00Z/2024-01-15T01:00:00Z")) == [over_midnight["id"]]
    assert ids(results(genesys, submit(genesys, interval=after_midnight))) == [over_midnight["id"]]
    assert ids(results(genesys, submit(genesys, interval=after_midnight, startOfDayIntervalMatching=True))) == []


def test_what_ended_before_the_interval_on_its_day_is_not_found(genesys: Genesys) -> None:
    genesys.control.play(count=5, since="2024-01-15T00:00:00Z", until="2024-01-15T01:00:00Z")

    assert ids(query(genesys, interval="2024-01-15T02:00:00Z/2024-01-15T03:00:00Z")) == []


def test_filters_choose_conversations_and_segments(genesys: Genesys) -> None:
    bots = {one["id"] for one in genesys.control.play(count=2, seed=1, stories=["bot_success"], **DAY)}
    open_ones = {one["id"] for one in genesys.control.play(count=2, seed=2, stories=["going_on"], **DAY)}
    (lost,) = genesys.control.play(seed=3, stories=["connection_lost"], media=["voice"], **DAY)
    wanted = predicate("conversationId", value=lost["id"])
    by_bot = predicate("purpose", value="botflow")

    def found(**filters: Any) -> set[str]:
        return set(ids(query(genesys, **filters)))

    assert found(conversationFilters=all_of(wanted)) == {lost["id"]}
    assert found(conversationFilters=all_of(predicate("conversationEnd", "exists"))) == bots | {lost["id"]}
    assert found(conversationFilters=all_of(predicate("conversationEnd", "notExists"))) == open_ones
    assert found(segmentFilters=all_of(predicate("flowOutcomeValue", value="SUCCESS"))) == bots
    assert found(segmentFilters=all_of(predicate("disconnectType", value="transportFailure"))) == {lost["id"]}
    either = [{"type": "or", "predicates": [by_bot, predicate("disconnectType", value="transportFailure")]}]
    assert found(segmentFilters=either) >= {lost["id"]}
    clauses = [{"type": "and", "predicates": [wanted], "clauses": [{"type": "or", "predicates": [wanted]}]}]
    assert found(conversationFilters=clauses) == {lost["id"]}
    # One segment must meet all of it: the customer's connection was lost, not the agent's.
    both = all_of(predicate("disconnectType", value="transportFailure"), predicate("purpose", value="agent"))
    assert found(segmentFilters=both) == set()


@pytest.mark.parametrize(
    "changes",
    [
        {"interval": None},
        {"interval": "2024-01-15T00:00:00Z"},
        {"interval": "2024-01-16T00:00:00Z/2024-01-15T00:00:00Z"},
        {"interval": "2024-01-01T00:00:00Z/2024-02-02T00:00:00Z"},
        {"paging": {"pageSize": 25}},
        {"paging": {"pageNumber": 1}},
        {"paging": {"pageSize": 101, "pageNumber": 1}},
        {"paging": {"pageSize": 25, "pageNumber": 0}},
        {"order": "up"},
        {"orderBy": "duration"},
        {"conversationFilters": all_of(predicate("conversationId", "equals", value="x"))},
        {"conversationFilters": all_of(predicate("conversationId"))},
        {"conversationFilters": all_of(predicate("purpose", value="agent"))},
        {"conversationFilters": [{"type": "and", "predicates": []}]},
        {"conversationFilters": [{"predicates": [predicate("conversationEnd", "exists")]}]},
        {"conversationFilters": {}, "segmentFilters": "all"},
        {"segmentFilters": all_of({"type": "metric", "metric": "tTalk"})},
        {"surveyFilters": all_of(predicate("surveyId", "exists"))},
    ],
)
def test_a_query_that_makes_no_sense_is_refused(genesys: Genesys, changes: dict[str, Any]) -> None:
    assert genesys.call("POST", QUERY, OF_DAY | changes).status_code == 400


def test_a_query_with_neither_an_interval_nor_dates_is_refused(genesys: Genesys) -> None:
    assert genesys.call("POST", QUERY, {}).status_code == 400


def test_the_limits_are_those_of_the_options(make_genesys: Callable[..., Genesys]) -> None:
    options = PlatformOptions(max_page_size=200, longest_interval=timedelta(hours=1), ids_at_once=1)
    genesys = make_genesys(platform=options)
    hour = {"interval": "2024-01-15T00:00:00Z/2024-01-15T01:00:00Z", "paging": {"pageSize": 200, "pageNumber": 1}}

    assert genesys.call("POST", QUERY, hour).status_code == 200
    assert genesys.call("POST", QUERY, OF_DAY).status_code == 400
    assert genesys.call("GET", f"{ANALYTICS}/details?id=a,b").status_code == 400


def test_details_of_one_and_of_some_are_read_by_id(genesys: Genesys) -> None:
    first, second = genesys.control.play(count=2, seed=1, stories=["agent"], **DAY)
    one = genesys.call("GET", f"{ANALYTICS}/{first['id']}/details").json()
    some = genesys.call("GET", f"{ANALYTICS}/details", params={"id": f"{second['id']},unknown,{first['id']}"}).json()

    assert (one["conversationId"], one["conversationEnd"]) == (first["id"], first["ended_at"])
    assert ids(some) == [second["id"], first["id"]]
    assert some["conversations"][1] == one
    assert not has_attributes(one)
    assert genesys.call("GET", f"{ANALYTICS}/unknown/details").status_code == 404
    assert genesys.call("GET", f"{ANALYTICS}/details").status_code == 400
    assert genesys.call("GET", f"{ANALYTICS}/details?id={','.join('x' * 51)}").status_code == 400


def test_a_job_is_queued_then_done_and_tells_attributes_page_by_page(genesys: Genesys) -> None:
    played = genesys.control.play(count=5, seed=1, **DAY)
    job_id = submit(genesys)
    early = genesys.call("GET", f"{JOBS}/{job_id}/results")
    states = [genesys.call("GET", f"{JOBS}/{job_id}").json()["state"] for _ in range(3)]
    first = results(genesys, job_id, pageSize=3)
    second = results(genesys, job_id, pageSize=3, cursor=first["cursor"])

    assert early.status_code == 400
    assert states == ["QUEUED", "PENDING", "FULFILLED"]
    assert sorted(ids(first) + ids(second)) == sorted(one["id"] for one in played)
    assert "cursor" not in second
    assert all(map(has_attributes, first["conversations"]))


def test_a_job_keeps_to_what_there_was_when_it_was_submitted(genesys: Genesys) -> None:
    genesys.control.play(count=2, seed=1, **DAY)
    job_id = submit(genesys)
    genesys.control.play(count=2, seed=2, **DAY)

    assert len(ids(results(genesys, job_id))) == 2
    assert len(ids(results(genesys, submit(genesys, limit=3)))) == 3


def test_a_job_that_found_nothing_has_no_list(genesys: Genesys) -> None:
    answer = results(genesys, submit(genesys))

    assert set(answer) == {"dataAvailabilityDate"}


def test_a_job_can_be_deleted(genesys: Genesys) -> None:
    job_id = submit(genesys)

    assert genesys.call("DELETE", f"{JOBS}/{job_id}").status_code == 204
    assert genesys.call("GET", f"{JOBS}/{job_id}").status_code == 404
    assert genesys.call("DELETE", f"{JOBS}/{job_id}").status_code == 404


def test_jobs_lag_behind_and_say_how_far(make_genesys: Callable[..., Genesys]) -> None:
    genesys = make_genesys(platform=PlatformOptions(data_lag=timedelta(hours=6), job_polls=0))
    now = clock.now()
    recent = {"since": clock.to_text(now - timedelta(hours=2)), "until": clock.to_text(now)}
    old = {"since": clock.to_text(now - timedelta(hours=10)), "until": clock.to_text(now - timedelta(hours=8))}
    genesys.control.play(count=3, seed=1, **recent)
    known = genesys.control.play(count=3, seed=2, **old)
    day = f"{clock.to_text(now - timedelta(hours=20))}/{clock.to_text(now + timedelta(hours=1))}"

    available = genesys.call("GET", f"{JOBS}/availability").json()["dataAvailabilityDate"]
    answer = results(genesys, submit(genesys, interval=day))

    assert clock.to_text(now - timedelta(hours=6)) <= available < clock.to_text(now - timedelta(hours=5))
    assert sorted(ids(answer)) == sorted(one["id"] for one in known)
    assert answer["dataAvailabilityDate"] >= available


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", JOBS, OF_DAY | {"paging": {"pageSize": 25, "pageNumber": 1}}),
        ("POST", JOBS, OF_DAY | {"limit": 0}),
        ("POST", JOBS, {}),
        ("GET", f"{JOBS}/JOB/results?pageSize=0", None),
        ("GET", f"{JOBS}/JOB/results?pageSize=many", None),
        ("GET", f"{JOBS}/JOB/results?cursor=rubbish", None),
        ("GET", f"{JOBS}/JOB/results?cursor=YS8x", None),
    ],
)
def test_a_job_call_that_makes_no_sense_is_refused(
    make_genesys: Callable[..., Genesys], method: str, path: str, body: Any
) -> None:
    genesys = make_genesys(platform=PlatformOptions(job_polls=0))
    job_id = submit(genesys)
    results(genesys, job_id)

    assert genesys.call(method, path.replace("JOB", job_id), body).status_code == 400


@pytest.mark.parametrize(
    ("method", "path", "permission"),
    [
        ("POST", QUERY, "analytics:conversationDetail:view"),
        ("GET", f"{ANALYTICS}/ID/details", "analytics:conversationDetail:view"),
        ("GET", f"{ANALYTICS}/details?id=ID", "analytics:conversationDetail:view"),
        ("POST", JOBS, "analytics:conversationDetail:view"),
        ("GET", f"{JOBS}/availability", "analytics:conversationDetail:view"),
        ("GET", "/api/v2/conversations/ID", "conversation:communication:view"),
    ],
)
def test_every_call_needs_a_token_and_its_permission(
    make_genesys: Callable[..., Genesys], method: str, path: str, permission: str
) -> None:
    genesys = make_genesys(client=OAuthClient(permissions=frozenset({permission})))
    poor = make_genesys(client=OAuthClient(permissions=frozenset({"processautomation:trigger:view"})))

    def ask(where: Genesys, **options: Any) -> requests.Response:
        (played,) = where.control.play(seed=1, **DAY)
        return where.call(method, path.replace("ID", played["id"]), OF_DAY if method == "POST" else None, **options)

    assert ask(genesys).status_code in (200, 202)
    assert ask(genesys, headers={"Authorization": "Bearer wrong"}).status_code == 401
    refused = ask(poor)
    assert (refused.status_code, refused.json()["code"]) == (403, "missing.permissions")
    assert refused.json()["messageParams"] == {"permissions": permission}


@pytest.mark.parametrize(
    "order",
    [
        {"count": 0},
        {"media": ["fax"]},
        {"media": ["voice"], "stories": ["reopened"]},
        {"since": "2100-01-01T00:00:00Z"},
    ],
)
def test_an_order_to_play_that_makes_no_sense_is_refused(genesys: Genesys, order: dict[str, Any]) -> None:
    with pytest.raises(requests.HTTPError, match="400"):
        genesys.control.play(**order)


def test_the_truth_names_every_conversation_and_the_same_seed_makes_the_same_ones(genesys: Genesys) -> None:
    played = genesys.control.play(count=5, seed=1, **DAY)
    again = genesys.control.play(count=5, seed=1, **DAY)
    truth = genesys.control.platform_conversations()

    assert played == again
    assert truth == sorted(played, key=lambda one: (one["started_at"], one["id"]))
