"""Days on which something around the service fails: the database, a CRM, or the worker itself."""

import json
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import make_url

from crm_sync.sandbox.client import CRMControl
from tests.acceptance.harness import World, ask, webhook_target
from tests.acceptance.proxy import Proxy
from tests.acceptance.sender import Sender, conversation

HASTY = "[worker]\nlease_seconds = 3\npush_deadline_seconds = 2\n"
ID = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
ON_POSTGRESQL = pytest.mark.parametrize("migrated_url", ["postgresql"], indirect=True)
ON_SQLITE = pytest.mark.parametrize("migrated_url", ["sqlite"], indirect=True)


@pytest.fixture
def between(migrated_url: str) -> Iterator[tuple[Proxy, str]]:
    """A proxy before the database, and the database's URL through it."""
    url = make_url(migrated_url)
    # A server that was started for the tests listens at a socket in a folder, which the URL names as its host.
    host, port = str(url.query.get("host", url.host)), url.port or 5432

    def connect() -> socket.socket:
        if not host.startswith("/"):
            return socket.create_connection((host, port))
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(f"{host}/.s.PGSQL.{port}")
        return connection

    with Proxy(connect) as proxy:
        through = url.set(host="127.0.0.1", port=proxy.port, query={}).render_as_string(hide_password=False)
        yield proxy, through


def refused_for_now(sender: Sender, body: Any) -> bool:
    answer = sender.post(body)
    assert answer.status_code == 503, answer.text
    return int(answer.headers["Retry-After"]) > 0


@ON_POSTGRESQL
def test_while_postgresql_is_away_events_are_refused_for_now_and_nothing_needs_a_restart(
    world: World, between: tuple[Proxy, str]
) -> None:
    proxy, through = between
    crm = world.crm()
    world.settings = webhook_target(crm.url)
    web, worker = world.web(DATABASE_URL=through), world.worker(DATABASE_URL=through)
    with Sender(web.url) as sender:
        assert sender.status(conversation("before")) == "accepted"
        proxy.close()
        refused = [refused_for_now(sender, conversation(ID)) for _ in range(5)]
        health = [ask(f"{web.url}/{path}").status_code for path in ("healthz", "readyz")]
        stored = world.rows("SELECT conversation_id FROM events")
        proxy.open()
        world.until(lambda: ask(f"{web.url}/readyz").ok, "web is ready again")
        again = sender.status(conversation(ID))
    world.until(lambda: len(crm.records()) == 2, "both closures are in the CRM")

    assert refused == [True] * 5
    assert health == [200, 503]
    assert stored == [{"conversation_id": "before"}]
    assert again == "accepted"
    assert (web.process.poll(), worker.process.poll()) == (None, None)


@ON_POSTGRESQL
def test_when_postgresql_does_not_answer_in_time_the_event_may_be_sent_again(
    world: World, between: tuple[Proxy, str]
) -> None:
    proxy, through = between
    world.settings = "[receive]\ncommit_deadline_seconds = 1\n" + webhook_target("http://127.0.0.1:9")
    web = world.web(DATABASE_URL=through)
    with Sender(web.url) as sender:
        assert sender.status(conversation("before")) == "accepted"
        proxy.freeze()
        refused = refused_for_now(sender, conversation(ID))
        proxy.thaw()
        world.until(lambda: ask(f"{web.url}/readyz").ok, "web is ready again")
        again = world.until(
            lambda: (a := sender.post(conversation(ID))).status_code == 202 and a.json(), "it is stored"
        )

    assert refused
    assert again["status"] in ("accepted", "duplicate")
    assert world.counts() | {"events": 2, "closures": 2, "deliveries": 2} == world.counts()


@ON_SQLITE
def test_while_sqlite_is_locked_events_are_refused_for_now_and_reading_goes_on(world: World) -> None:
    web = world.web()
    token = world.token("reader")
    path = make_url(world.database_url).database or ""
    with Sender(web.url) as sender:
        assert sender.status(conversation("before")) == "accepted"
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            refused = refused_for_now(sender, conversation(ID))
            read = ask(f"{web.url}/api/v1/closures/before", token=token).status_code
            other.execute("ROLLBACK")
        stored = world.rows("SELECT conversation_id FROM events")
        again = sender.status(conversation(ID))

    assert refused
    assert read == 200
    assert stored == [{"conversation_id": "before"}]
    assert again == "accepted"


def test_a_worker_killed_in_the_middle_of_a_push_costs_no_closure_and_doubles_none(world: World) -> None:
    crm = world.crm()
    world.settings = HASTY + webhook_target(crm.url)
    web = world.web()
    worker = world.worker()
    crm.add_fault(kind="hang", seconds=1.5)
    with Sender(web.url) as sender:
        sender.status(conversation(ID))
    world.until(lambda: not crm.faults(), "the push has begun")
    worker.kill()
    held = world.rows("SELECT state, lease_until FROM deliveries")
    world.worker()
    world.until(lambda: delivery(world)["state"] == "delivered", "the push has come again")
    world.until(lambda: len(crm.effects()) == 2, "the first push has come to its end, too")

    assert [row["state"] for row in held] == ["pending"]
    assert held[0]["lease_until"] is not None
    assert len({effect["push_key"] for effect in crm.effects()}) == 1
    assert sorted(effect["effective"] for effect in crm.effects()) == [False, True]
    assert len(crm.records()) == 1


def delivery(world: World) -> dict[str, Any]:
    (row,) = world.rows("SELECT * FROM deliveries")
    return row


@pytest.fixture
def crm(world: World) -> CRMControl:
    """A pretend CRM, with web and worker that push to it."""
    crm = world.crm()
    world.settings = HASTY + webhook_target(crm.url)
    world.web()
    world.worker()
    return crm


def test_a_crm_that_is_in_trouble_in_every_way_holds_in_the_end_what_is_true(world: World, crm: CRMControl) -> None:
    kinds = ("hang", "fail", "lose_answer", "apply_then_fail")
    for kind in kinds:
        crm.add_fault(kind=kind, conversation_id=f"c-{kind}", seconds=4)
    with Sender(world.web_url) as sender:
        for kind in kinds:
            sender.status(conversation(f"c-{kind}"))
    world.until(
        lambda: [row["state"] for row in world.rows("SELECT state FROM deliveries")] == ["delivered"] * len(kinds),
        "everything is delivered in the end",
    )
    attempts = world.rows(
        "SELECT d.conversation_id, a.outcome, a.kind FROM delivery_attempts AS a"
        " JOIN deliveries AS d ON d.id = a.delivery_id WHERE a.outcome = 'failed'"
    )

    assert {row["conversation_id"] for row in attempts} == {f"c-{kind}" for kind in kinds}
    records = {record["conversation_id"]: record["data"]["resolution"] for record in crm.records()}
    assert records == {f"c-{kind}": "resolved" for kind in kinds}
    effective = [effect["push_key"] for effect in crm.effects() if effect["effective"]]
    assert len(effective) == len(set(effective)) == len(kinds)


def test_a_refused_record_is_dead_with_the_name_of_the_field_until_new_data_comes_and_harms_no_other(
    world: World, crm: CRMControl
) -> None:
    crm.add_fault(kind="refuse", field="resolution", conversation_id=ID)
    token = world.token("reader")

    def told(conversation_id: str) -> dict[str, Any]:
        answer = ask(f"{world.web_url}/api/v1/closures/{conversation_id}", token=token).json()
        return dict(answer["deliveries"][0])

    with Sender(world.web_url) as sender:
        sender.status(conversation(ID, resolutionStatus="odd"))
        sender.status(conversation("another"))
        world.until(lambda: told(ID)["state"] == "dead" and told("another")["state"] == "delivered", "both are settled")
        dead, held = told(ID), [record["conversation_id"] for record in crm.records()]
        sender.status(conversation(ID, endTime="2024-01-15T10:40:00Z"))
    world.until(lambda: told(ID)["state"] == "delivered", "the newer version is pushed")

    assert "resolution" in dead["last_error"]
    assert dead["attempts"] == 1
    assert held == ["another"]
    assert (crm.record(ID) or {})["data"]["resolution"] == "resolved"


def test_a_throttling_crm_is_left_alone_for_as_long_as_it_asks(world: World, crm: CRMControl) -> None:
    crm.add_fault(kind="throttle", retry_after=600, times=None)
    with Sender(world.web_url) as sender:
        sender.status(conversation(ID))
        before = datetime.now(UTC)
        held = world.until(lambda: world.rows("SELECT not_before FROM targets")[0]["not_before"], "the target is held")
        sender.status(conversation("another"))
    time.sleep(2.5)  # Two polls of the worker, in which it could push although it must not.
    pushes = sum(call["count"] for call in crm.traffic() if call["path"] == "/records")
    attempts = world.rows("SELECT attempts FROM deliveries")
    crm.clear_faults()
    resumed = world.crm_sync("target", "resume", "crm")
    world.until(lambda: len(crm.records()) == 2, "both are pushed once the target is resumed")

    assert timedelta(seconds=590) < held - before < timedelta(seconds=610)
    assert pushes <= 2  # One for each of the target's two lanes.
    assert {row["attempts"] for row in attempts} == {0}
    assert resumed.returncode == 0, resumed.stderr


def test_a_crm_that_refuses_our_credentials_pauses_its_target_until_a_person_resumes_it(
    world: World, crm: CRMControl
) -> None:
    crm.add_fault(kind="unauthorized", times=None)

    def listed() -> dict[str, Any]:
        (target,) = json.loads(world.crm_sync("target", "list", "--json").stdout)
        return dict(target)

    with Sender(world.web_url) as sender:
        for number in range(5):
            sender.status(conversation(f"c-{number}"))
    world.until(lambda: world.rows("SELECT state FROM targets") == [{"state": "paused"}], "the target is paused")
    paused = listed()
    ready = ask(f"{world.web_url}/readyz").json()
    crm.clear_faults()
    resumed = world.crm_sync("target", "resume", "crm")
    world.until(lambda: len(crm.records()) == 5, "everything is pushed once the target is resumed")

    assert (paused["state"], paused["owed"], paused["dead"]) == ("paused", 5, 0)
    assert paused["paused_reason"]
    assert ready["targets_paused"] == ["crm"]
    assert resumed.returncode == 0, resumed.stderr
    assert listed()["state"] == "live"
