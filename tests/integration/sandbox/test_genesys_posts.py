"""The webhooks that the pretend Genesys Cloud posts: signed, at least once, repeated, shuffled, given up."""

import hashlib
import hmac
import json
import socket
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from crm_sync.sandbox.poster import Manner
from crm_sync.sandbox.server import serve
from tests.integration.sandbox.harness import QUICK, Genesys, Receiver


def test_the_end_is_told_as_the_full_signed_conversation(genesys: Genesys, receiver: Receiver) -> None:
    genesys.register(receiver.url, secret="0123456789abcdef")
    conversation_id = genesys.start(routing={"queueId": "human-support-queue"})
    ended = genesys.control.end(conversation_id, "resolved", endTime="2099-01-15T10:34:12.250Z")
    genesys.control.wait_until_posted()

    (body,), (headers,) = receiver.bodies, receiver.headers
    assert json.loads(body) == ended
    assert (ended["id"], ended["state"], ended["resolutionStatus"]) == (conversation_id, "closed", "resolved")
    assert ended["endTime"] == "2099-01-15T10:34:12.250Z"
    assert ended["attributes"] == {"order_id": "ORD-998877"}
    assert ended["routing"] == {"queueId": "human-support-queue"}
    expected = hmac.new(b"0123456789abcdef", body, hashlib.sha256).hexdigest()
    assert headers["X-Hub-Signature-256"] == f"sha256={expected}"
    assert headers["Content-Type"] == "application/json"


def test_a_webhook_without_a_secret_is_not_signed(genesys: Genesys, receiver: Receiver) -> None:
    genesys.register(receiver.url)
    genesys.control.end(genesys.start())
    genesys.control.wait_until_posted()

    assert "X-Hub-Signature-256" not in receiver.headers[0]


def test_a_post_is_repeated_until_it_is_taken_and_every_attempt_is_told(genesys: Genesys, receiver: Receiver) -> None:
    receiver.answers = [503, 429, 500]
    genesys.register(receiver.url)
    conversation_id = genesys.start()
    genesys.control.end(conversation_id)
    counts = genesys.control.wait_until_posted()

    told = genesys.control.conversation(conversation_id)
    assert counts == {"pending": 0, "delivered": 1, "given_up": 0}
    assert (told["statuses"], told["posted"]) == ([503, 429, 500, 202], 4)
    assert len(set(receiver.bodies)) == 1


@pytest.mark.parametrize("status", [400, 401, 404, 413, 302])
def test_a_post_that_is_refused_is_given_up(genesys: Genesys, receiver: Receiver, status: int) -> None:
    receiver.answers = [status]
    genesys.register(receiver.url)
    genesys.control.end(genesys.start())

    assert genesys.control.wait_until_posted() == {"pending": 0, "delivered": 0, "given_up": 1}
    assert len(receiver.bodies) == 1


def test_a_post_that_times_out_is_repeated(make_genesys: Callable[..., Genesys]) -> None:
    hurried = Manner(timeout_seconds=0.1, first_wait_seconds=0.01, attempts=2)
    genesys = make_genesys(manner=hurried)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        genesys.register(f"http://127.0.0.1:{silent.getsockname()[1]}/")
        conversation_id = genesys.start()
        genesys.control.end(conversation_id)
        counts = genesys.control.wait_until_posted()

    (post,) = genesys.control.conversation(conversation_id)["posts"]
    assert counts["given_up"] == 1
    assert [attempt["error"] for attempt in post["attempts"]] == ["timeout", "timeout"]


def test_a_receiver_that_comes_back_is_told_what_it_missed(genesys: Genesys) -> None:
    taken: list[str] = []
    app = Flask("late receiver", static_folder=None)
    app.add_url_rule("/", view_func=lambda: taken.append("one") or "", methods=["POST"])
    with serve(app) as server:
        port = server.port
    genesys.register(f"http://127.0.0.1:{port}/")
    conversation_id = genesys.start()
    genesys.control.end(conversation_id)
    while not genesys.control.conversation(conversation_id)["statuses"]:
        pass
    with serve(app, port=port):
        genesys.control.wait_until_posted()

    assert taken == ["one"]
    assert genesys.control.conversation(conversation_id)["statuses"][0] is None


def test_an_event_is_posted_as_often_as_it_was_asked_for(
    make_genesys: Callable[..., Genesys], receiver: Receiver
) -> None:
    genesys = make_genesys(manner=Manner(repeat=3))
    genesys.register(receiver.url)
    genesys.control.end(genesys.start())
    genesys.control.end(genesys.start(), repeat=1)
    genesys.control.wait_until_posted()

    assert sorted(receiver.bodies.count(body) for body in set(receiver.bodies)) == [1, 3]


def test_every_registered_webhook_is_told(genesys: Genesys, receiver: Receiver) -> None:
    genesys.register(receiver.url, name="one")
    genesys.register(receiver.url, name="two")
    genesys.control.end(genesys.start())

    assert genesys.control.wait_until_posted()["delivered"] == 2


@pytest.mark.parametrize(
    ("wrapper", "beside"), [("conversation", "event"), ("data", "type"), ("eventBody", "topicName")]
)
def test_the_conversation_comes_wrapped_on_demand(
    genesys: Genesys, receiver: Receiver, wrapper: str, beside: str
) -> None:
    genesys.register(receiver.url)
    ended = genesys.control.end(genesys.start(), wrapper=wrapper)
    genesys.control.wait_until_posted()

    assert json.loads(receiver.bodies[0]) == {beside: "conversation:ended", wrapper: ended}


def test_many_ends_come_shuffled_on_demand_and_each_of_them_once(
    make_genesys: Callable[..., Genesys], receiver: Receiver
) -> None:
    genesys = make_genesys(seed=4, poster_threads=1, manner=Manner(shuffle_seconds=0.3))
    genesys.register(receiver.url)
    started = [genesys.start() for _ in range(8)]
    ended = genesys.control.end_many(shuffle=True, resolutionStatuses=["resolved", "escalated"])
    genesys.control.wait_until_posted()

    came = [json.loads(body) for body in receiver.bodies]
    assert ended == started
    assert sorted(body["id"] for body in came) == sorted(started)
    assert [body["id"] for body in came] != started
    assert sorted(body["resolutionStatus"] for body in came) == ["escalated"] * 4 + ["resolved"] * 4


def test_the_oldest_are_ended_first_and_no_more_than_asked_for(genesys: Genesys) -> None:
    started = [genesys.start() for _ in range(3)]

    assert genesys.control.end_many(count=2) == started[:2]
    assert [told["state"] for told in genesys.control.conversations()] == ["closed", "closed", "active"]


def test_an_end_can_be_kept_from_the_receiver(genesys: Genesys, receiver: Receiver) -> None:
    genesys.register(receiver.url)
    conversation_id = genesys.start()
    genesys.control.end(conversation_id, None, post=False)

    told = genesys.control.conversation(conversation_id)
    assert (told["state"], told["posts"], receiver.bodies) == ("closed", [], [])
    assert "resolutionStatus" not in told


def test_a_repeated_post_goes_to_the_address_and_with_the_secret_of_now(
    make_genesys: Callable[..., Genesys], receiver: Receiver
) -> None:
    genesys = make_genesys(manner=Manner(first_wait_seconds=0.2, longest_wait_seconds=0.2))
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nowhere = f"http://127.0.0.1:{closed.getsockname()[1]}/"
    made: dict[str, Any] = genesys.register(nowhere, secret="old")
    genesys.control.end(genesys.start())
    genesys.call(
        "PUT",
        f"/api/v2/integrations/webhooks/{made['id']}",
        {"name": made["name"], "url": receiver.url, "events": made["events"], "secret": "new"},
    )
    genesys.control.wait_until_posted()

    expected = hmac.new(b"new", receiver.bodies[0], hashlib.sha256).hexdigest()
    assert receiver.headers[0]["X-Hub-Signature-256"] == f"sha256={expected}"


def test_a_deleted_webhook_is_told_nothing_more(make_genesys: Callable[..., Genesys]) -> None:
    genesys = make_genesys(manner=QUICK)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nowhere = f"http://127.0.0.1:{closed.getsockname()[1]}/"
    made = genesys.register(nowhere)
    conversation_id = genesys.start()
    genesys.control.end(conversation_id)
    genesys.call("DELETE", f"/api/v2/integrations/webhooks/{made['id']}")
    counts = genesys.control.wait_until_posted()

    (post,) = genesys.control.conversation(conversation_id)["posts"]
    assert counts["given_up"] == 1
    assert post["attempts"][-1]["error"] == "unregistered"
