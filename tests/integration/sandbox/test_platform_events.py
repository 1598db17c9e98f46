"""The events of the platform's conversations over HTTP: their shapes, who is told, and every mood."""

import json
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
import requests

from tests.integration.sandbox.harness import Genesys, Receiver

SINCE = {"since": "2024-01-15T00:00:00Z", "until": "2024-01-16T00:00:00Z"}
TOPIC = "v2.detail.events.conversation."


def play(genesys: Genesys, **order: Any) -> list[dict[str, Any]]:
    played = genesys.control.play(**({"seed": 1} | SINCE | order))
    genesys.control.wait_until_posted()
    return played


def came(receiver: Receiver) -> list[Any]:
    return [json.loads(body) for body in receiver.bodies]


def test_a_bare_event_names_no_topic_and_shows_the_secret(genesys: Genesys, receiver: Receiver) -> None:
    genesys.control.listen(receiver.url, secret="hush-hush", shape="bare")
    (played,) = play(genesys, stories=["abandoned"], media=["message"])

    assert {body["conversationId"] for body in came(receiver)} == {played["id"]}
    assert not any("topicName" in body for body in came(receiver))
    assert len(receiver.bodies) == played["posts"] == 5
    assert {headers["X-Webhook-Secret"] for headers in receiver.headers} == {"hush-hush"}
    assert {headers["Content-Type"] for headers in receiver.headers} == {"application/json"}


def test_a_flat_event_has_the_topic_of_all_conversations_and_neither_lists_nor_objects(
    genesys: Genesys, receiver: Receiver
) -> None:
    genesys.control.listen(receiver.url, shape="flat")
    play(genesys, stories=["told_by_attribute"], media=["callback"])

    kinds = Counter(body["topicName"].removeprefix(f"{TOPIC}{{id}}.") for body in came(receiver))
    assert kinds == Counter(
        {"customer.start": 1, "customer.end": 1, "acd.start": 1, "acd.end": 1, "user.start": 1, "user.end": 1}
        | {"attributes": 2}
    )
    assert not [value for body in came(receiver) for value in body.values() if isinstance(value, list | dict)]
    assert "X-Webhook-Secret" not in receiver.headers[0]


def test_a_detail_wraps_the_event_under_its_own_topic(genesys: Genesys, receiver: Receiver) -> None:
    genesys.control.listen(receiver.url, shape="detail")
    (played,) = play(genesys, stories=["bot_success"])

    for body in came(receiver):
        assert set(body) == {"topicName", "version", "eventBody", "metadata", "timestamp"}
        assert body["topicName"].startswith(f"{TOPIC}{played['id']}.")
        assert body["eventBody"]["conversationId"] == played["id"]


def test_an_envelope_has_the_topic_of_all_conversations_around_that_of_one(
    genesys: Genesys, receiver: Receiver
) -> None:
    genesys.control.listen(receiver.url)
    (played,) = play(genesys, stories=["bot_success"])

    bodies = came(receiver)
    assert len({body["id"] for body in bodies}) == len({body["detail-type"] for body in bodies}) == len(bodies)
    for body in bodies:
        kind = body["detail-type"].removeprefix(f"{TOPIC}{{id}}.")
        assert body["detail"]["topicName"] == f"{TOPIC}{played['id']}.{kind}"
        assert body["source"].startswith("aws.partner/genesys.com/cloud/")


def test_an_array_holds_all_events_of_a_conversation(genesys: Genesys, receiver: Receiver) -> None:
    genesys.control.listen(receiver.url, shape="array")
    played = play(genesys, count=3, stories=["transfer"])

    batches = came(receiver)
    assert [one["posts"] for one in played] == [1, 1, 1]
    assert {batch[0]["conversationId"] for batch in batches} == {one["id"] for one in played}
    assert all(len({event["conversationId"] for event in batch}) == 1 for batch in batches)
    assert all(len(batch) > 10 for batch in batches)


def test_the_end_that_is_told_is_the_end_of_the_truth(genesys: Genesys, receiver: Receiver) -> None:
    genesys.control.listen(receiver.url, shape="array")
    played = play(genesys, count=20)

    ends: dict[str, int] = {}
    for batch in came(receiver):
        for event in batch:
            if "interactingDurationMs" in event and "userId" not in event:
                ends[event["conversationId"]] = max(event["eventTime"], ends.get(event["conversationId"], 0))
    told = {one["id"]: one["customer_left_at"] for one in played}
    assert ends == {name: round(datetime.fromisoformat(instant).timestamp() * 1000) for name, instant in told.items()}


def test_two_listeners_at_one_address_are_one_and_nobody_is_told_after_they_are_cleared(
    genesys: Genesys, receiver: Receiver
) -> None:
    genesys.control.listen(receiver.url, secret="old", shape="bare")
    genesys.control.listen(receiver.url, secret="new", shape="array")

    assert genesys.control.listeners() == [{"url": receiver.url, "shape": "array", "workflow_id": None}]
    (played,) = play(genesys)
    assert (played["posts"], receiver.headers[0]["X-Webhook-Secret"]) == (1, "new")
    genesys.control.clear_listeners()
    assert [one["posts"] for one in play(genesys, seed=2)] == [0]
    assert len(receiver.bodies) == 1


def test_a_listener_behind_a_workflow_is_told_nothing_without_a_trigger(genesys: Genesys, receiver: Receiver) -> None:
    genesys.control.listen(receiver.url, shape="flat", workflow_id="b008976c-e085-43b7-b27d-9c0efd5fbfb5")

    assert [one["posts"] for one in play(genesys)] == [0]


def test_nothing_is_told_unless_it_is_asked_for(genesys: Genesys, receiver: Receiver) -> None:
    genesys.control.listen(receiver.url)

    assert [(one["posts"], one["lost"]) for one in play(genesys, tell=False)] == [(0, False)]
    assert receiver.bodies == []


def test_a_post_of_an_event_is_repeated_until_it_is_taken(genesys: Genesys, receiver: Receiver) -> None:
    receiver.answers = [503, 429]
    genesys.control.listen(receiver.url, shape="array")
    play(genesys)

    assert len(receiver.bodies) == 3
    assert len(set(receiver.bodies)) == 1


def test_a_lost_conversation_is_told_nothing_of_and_named(genesys: Genesys, receiver: Receiver) -> None:
    genesys.control.listen(receiver.url, shape="bare")
    genesys.control.be(lose=0.3, seed=5)
    played = play(genesys, count=40)

    lost = {one["id"] for one in played if one["lost"]}
    assert 0 < len(lost) < 40
    assert {body["conversationId"] for body in came(receiver)} == {one["id"] for one in played} - lost
    assert {one["id"] for one in genesys.control.platform_conversations() if one["lost"]} == lost
    assert all((one["posts"] == 0) == one["lost"] for one in played)


def test_what_is_lost_depends_on_the_seed_and_on_nothing_else(make_genesys: Callable[..., Genesys]) -> None:
    def lost(seed: int, **order: Any) -> set[str]:
        genesys = make_genesys()
        genesys.control.be(lose=0.5, seed=seed)
        return {one["id"] for one in play(genesys, count=30, **order) if one["lost"]}

    assert lost(5) == lost(5)
    assert lost(5) != lost(6)


def test_a_lost_conversation_can_be_told_again(genesys: Genesys, receiver: Receiver) -> None:
    genesys.control.listen(receiver.url)
    genesys.control.be(lose=1)
    play(genesys)
    genesys.control.be()
    (again,) = play(genesys)

    assert (again["lost"], len(receiver.bodies)) == (False, again["posts"])


def test_doubled_events_come_twice_and_alike(genesys: Genesys, receiver: Receiver) -> None:
    genesys.control.listen(receiver.url)
    genesys.control.be(double=1)
    play(genesys, count=3)

    assert set(Counter(receiver.bodies).values()) == {2}


def test_shuffled_events_come_out_of_order_and_none_is_missing(
    make_genesys: Callable[..., Genesys], receiver: Receiver
) -> None:
    genesys = make_genesys(poster_threads=1)
    genesys.control.listen(receiver.url, shape="bare")
    genesys.control.be(shuffle_seconds=0.3)
    (played,) = play(genesys, stories=["transfer"])

    times = [body["eventTime"] for body in came(receiver)]
    assert times != sorted(times)
    assert len(times) == played["posts"]


def test_a_delay_keeps_events_waiting(genesys: Genesys, receiver: Receiver) -> None:
    genesys.control.listen(receiver.url)
    genesys.control.be(delay_seconds=60)
    (played,) = genesys.control.play(seed=1)

    assert genesys.control.posts()["pending"] == played["posts"] > 0
    assert receiver.bodies == []


def test_tokens_end_every_so_many_calls(genesys: Genesys) -> None:
    headers = {"Authorization": f"Bearer {genesys.token()}"}
    genesys.control.be(expire_tokens_every=3)

    statuses = [genesys.call("GET", "/api/v2/conversations", headers=headers).status_code for _ in range(4)]

    assert statuses == [200, 200, 401, 401]
    assert genesys.call("GET", "/api/v2/conversations").status_code == 200


def test_a_share_of_calls_is_refused_by_the_same_chance_each_time(genesys: Genesys) -> None:
    def statuses(seed: int) -> list[int]:
        genesys.control.be(rate_limited_share=0.3, failing_share=0.3, seed=seed)
        answers = [genesys.call("GET", "/api/v2/conversations") for _ in range(30)]
        assert all(answer.headers.get("Retry-After") == "1" for answer in answers if answer.status_code == 429)
        return [answer.status_code for answer in answers]

    first = statuses(1)
    assert set(first) == {200, 429, 500, 503}
    assert statuses(1) == first
    assert statuses(2) != first


def test_moods_trouble_neither_tokens_nor_the_control_api(genesys: Genesys) -> None:
    genesys.control.be(failing_share=1)

    assert genesys.token()
    assert genesys.control.platform_conversations() == []
    assert genesys.call("GET", "/api/v2/conversations").status_code in (500, 503)
    assert genesys.control.be()["failing_share"] == 0
    assert genesys.call("GET", "/api/v2/conversations").status_code == 200


@pytest.mark.parametrize("moods", [{"lose": 1.5}, {"double": -1}, {"shuffle_seconds": -1}, {"angry": True}])
def test_moods_that_make_no_sense_are_refused(genesys: Genesys, moods: dict[str, Any]) -> None:
    with pytest.raises(requests.HTTPError, match="400"):
        genesys.control.be(**moods)


@pytest.mark.parametrize("listener", [{"url": "nowhere"}, {"url": "http://127.0.0.1:9/", "shape": "round"}])
def test_a_listener_that_makes_no_sense_is_refused(genesys: Genesys, listener: dict[str, Any]) -> None:
    with pytest.raises(requests.HTTPError, match="400"):
        genesys.control.listen(**listener)
