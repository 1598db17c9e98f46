"""What the pretend CRM remembers of every push, and how it is made slow, throttling or angry."""

import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from crm_sync.sandbox.client import CRMControl
from tests.integration.sandbox.pushing import push

OTHER = "whsec_b3RoZXIgc2VjcmV0IG9mIHRoZSB0ZXN0cw=="
COMMAND = [sys.executable, "-c", "from crm_sync.cli.sandbox import sandbox; sandbox()"]


def took(pushed: dict[str, Any]) -> timedelta:
    return datetime.fromisoformat(pushed["answered_at"]) - datetime.fromisoformat(pushed["arrived_at"])


def test_every_push_is_remembered_whatever_came_of_it(crm: CRMControl) -> None:
    crm.add_fault(kind="drop", conversation_id="c-4")
    push(crm, "created")
    push(crm, "created")
    push(crm, "older", version=0)
    push(crm, "unauthentic", secret=OTHER)
    push(crm, "senseless", body="{")
    push(crm, "dropped", conversation_id="c-4")
    pushes = crm.pushes()

    told = [(p["push_key"], p["conversation_id"], p["version"], p["status"], p["outcome"]) for p in pushes]
    assert told == [
        ("created", "c-1", 1, 200, "created"),
        ("created", "c-1", 1, 200, "unchanged"),
        ("older", "c-1", 0, 200, "skipped"),
        ("unauthentic", None, None, 401, None),
        ("senseless", None, None, 400, None),
        ("dropped", "c-4", 1, 200, "dropped"),
    ]
    assert [p["number"] for p in pushes if p["effective"]] == [1]
    assert all(took(p) >= timedelta(0) for p in pushes)
    assert crm.pushes_under_way() == 0


@pytest.mark.parametrize(
    ("fault", "status", "outcome"),
    [
        ({"kind": "fail"}, 500, None),
        ({"kind": "throttle"}, 429, None),
        ({"kind": "html"}, 200, None),
        ({"kind": "apply_then_fail"}, 500, "created"),
    ],
)
def test_a_push_that_met_a_fault_is_remembered_with_it(
    crm: CRMControl, fault: dict[str, Any], status: int, outcome: str | None
) -> None:
    crm.add_fault(**fault)
    push(crm)

    assert [(p["status"], p["outcome"]) for p in crm.pushes()] == [(status, outcome)]


def test_a_push_whose_answer_was_lost_has_no_status(crm: CRMControl) -> None:
    crm.add_fault(kind="lose_answer")
    with pytest.raises(requests.ConnectionError):
        push(crm)
    while crm.pushes_under_way():
        pass

    assert [(p["status"], p["outcome"]) for p in crm.pushes()] == [(None, "created")]


def test_a_push_whose_sender_dies_before_its_end_is_answered_to_nobody_and_changes_nothing(crm: CRMControl) -> None:
    with socket.create_connection(("127.0.0.1", urlsplit(crm.url).port)) as sender:
        sender.sendall(b"POST /records HTTP/1.1\r\nHost: x\r\nwebhook-id: k\r\nContent-Length: 100\r\n\r\n{")
    while not crm.pushes() or crm.pushes_under_way():
        pass

    assert [(p["push_key"], p["status"], p["outcome"]) for p in crm.pushes()] == [("k", 400, None)]
    assert crm.records() == []


def test_pushes_are_read_in_pages(crm: CRMControl) -> None:
    for number in range(5):
        push(crm, f"k{number}")
    page = requests.get(f"{crm.url}/sandbox/pushes?after=1&limit=3", timeout=10).json()
    beyond = requests.get(f"{crm.url}/sandbox/pushes?after=5", timeout=10).json()

    assert [p["push_key"] for p in page["pushes"]] == ["k1", "k2", "k3"]
    assert (page["total"], page["under_way"]) == (5, 0)
    assert beyond["pushes"] == []


def test_a_slow_crm_takes_as_long_as_it_was_told_and_says_what_is_under_way(crm: CRMControl) -> None:
    crm.behave(latency_seconds=0.5)
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(push, crm)
        while not crm.pushes_under_way():
            pass
        under_way = crm.pushes()
        pending.result()

    assert [(p["status"], p["answered_at"], p["outcome"]) for p in under_way] == [(None, None, None)]
    assert took(crm.pushes()[0]) >= timedelta(seconds=0.5)


def test_a_throttling_crm_takes_a_burst_and_tells_the_others_when_to_come_again(crm: CRMControl) -> None:
    crm.behave(rate=0.1, burst=2)
    answers = [push(crm, f"k{number}", conversation_id=f"c-{number}") for number in range(4)]
    held = [record["conversation_id"] for record in crm.records()]
    crm.behave()
    again = push(crm, "k2", conversation_id="c-2").status_code

    assert [answer.status_code for answer in answers] == [200, 200, 429, 429]
    assert {answer.headers.get("Retry-After") for answer in answers[2:]} == {"10"}
    assert held == ["c-0", "c-1"]
    assert again == 200


def test_an_angry_crm_fails_every_third_push(crm: CRMControl) -> None:
    crm.add_fault(kind="fail", every=3, times=None)

    assert [push(crm, f"k{n}").status_code for n in range(6)] == [200, 200, 500, 200, 200, 500]


def test_a_throttled_push_uses_up_no_fault(crm: CRMControl) -> None:
    crm.behave(rate=0.1)
    push(crm)
    crm.add_fault(kind="fail")

    assert push(crm).status_code == 429
    assert [fault["kind"] for fault in crm.faults()] == ["fail"]


@pytest.mark.parametrize("manner", [{"rate": 0}, {"latency": 1}])
def test_an_unknown_manner_is_refused_and_the_old_one_stays(crm: CRMControl, manner: dict[str, Any]) -> None:
    crm.behave(latency_seconds=0.25)
    with pytest.raises(requests.HTTPError, match="400"):
        crm.behave(**manner)

    kept = requests.get(f"{crm.url}/sandbox/manner", timeout=10).json()
    assert kept == {"latency_seconds": 0.25, "rate": None, "burst": 1}


def test_the_command_starts_a_crm_of_the_manner_that_was_asked_for() -> None:
    options = ("--latency", "0.01", "--rate", "0.1", "--burst", "3", "--fail-every", "2")
    process = subprocess.Popen([*COMMAND, "crm", "--port", "0", *options], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        _, url = process.stdout.readline(), process.stdout.readline().split()[-1]
        with CRMControl(url) as crm:
            statuses = [push(crm, f"k{number}").status_code for number in range(4)]
            pushes = crm.pushes()
        process.terminate()

    assert statuses == [200, 500, 200, 429]
    assert all(took(p) >= timedelta(seconds=0.01) for p in pushes[:3])
