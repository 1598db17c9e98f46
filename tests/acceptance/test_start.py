"""How processes start and end: refusals that tell the remedy before anything listens, and ends that leave no claim."""

import os
import signal
import socket
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest
from sqlalchemy import make_url

from tests.acceptance.harness import World, free_port, webhook_target
from tests.acceptance.sender import Sender, conversation

ID = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"


def listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
        return True
    return False


def test_every_fault_of_the_settings_is_told_at_once_and_nothing_listens(tmp_path: Path) -> None:
    wrong = {
        "DATABASE_URL": "oracle://somewhere",
        "WEBHOOK_SECRETS": "short",
        "GENESYS_REGION": "https://api.mypurecloud.com",
        "GENESYS_CLIENT_ID": "an id alone",
        "PUBLIC_URL": "crm.example.com",
        "LOG_FORMAT": "xml",
    }
    port = free_port()
    with World(tmp_path, wrong["DATABASE_URL"]) as world:
        world.settings = """
            [receive]
            max_body_bytes = "many"
            [worker]
            lease_seconds = 5
            push_deadline_seconds = 10
            [resolution]
            grace_minuts = 3
            [targets.crm]
            adapter = "webhook"
            url = "${NOT_SET}"
            [targets.crm.fields]
            Status = "resolutoin"
        """
        web, worker = (world.crm_sync(command, PORT=str(port), **wrong) for command in ("web", "worker"))
        assert not listens(port)

    for done in (web, worker):
        assert done.returncode == 1
        lines = done.stderr.splitlines()
        assert all(line.startswith("Error: ") for line in lines), done.stderr
        named = ["DATABASE_URL", "WEBHOOK_SECRETS", "GENESYS_REGION", "GENESYS_CLIENT_SECRET", "PUBLIC_URL",
                 "LOG_FORMAT", "max_body_bytes", "push_deadline_seconds", "grace_minutes", "NOT_SET",
                 "resolution"]  # fmt: skip
        assert [name for name in named if not any(name in line for line in lines)] == []
        assert "short" not in done.stderr.replace("shorter", "")


@pytest.mark.parametrize("command", [("worker",), ("web",), ("web", "--check")])
def test_an_adapter_that_is_not_there_or_set_up_wrongly_stops_every_process(
    command: tuple[str, ...], tmp_path: Path, migrated_url: str
) -> None:
    with World(tmp_path, migrated_url) as world:
        world.settings = '[targets.a]\nadapter = "salesfroce"\n[targets.b]\nadapter = "webhook"\nurl = "not a url"\n'
        done = world.crm_sync(*command, PORT=str(free_port()))
        # Web is who announces targets: what no worker can serve must not reach the other hosts.
        assert world.rows("SELECT name FROM targets") == []

    assert done.returncode == 1
    assert "[targets.a] there is no adapter 'salesfroce'" in done.stderr
    assert "[targets.b]" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_migration_refuses_the_start_and_names_the_command(tmp_path: Path, database_url: str) -> None:
    port = free_port()
    with World(tmp_path, database_url) as world:
        done = [world.crm_sync(command, PORT=str(port)) for command in ("web", "worker")]
        assert not listens(port)
        migrated = world.crm_sync("db", "upgrade")
        world.web()

    for refused in done:
        assert refused.returncode == 1
        assert "run crm-sync db upgrade" in refused.stderr
        assert "Traceback" not in refused.stderr
    assert migrated.returncode == 0, migrated.stderr


def test_a_newer_schema_is_a_warning_and_no_reason_to_stop(world: World) -> None:
    world.execute("UPDATE alembic_version SET version_num = 'of_a_newer_version'")
    web, worker = world.web(), world.worker()
    with Sender(web.url) as sender:
        assert sender.status(conversation(ID)) == "accepted"

    for process in (web, worker):
        assert "of_a_newer_version, which this version does not know" in process.said()


@pytest.mark.parametrize("migrated_url", ["sqlite"], indirect=True)
def test_a_port_that_is_taken_ends_web_with_a_failure(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        web = world.web(port=int(taken.getsockname()[1]), wait=False)
        assert web.wait() != 0


@pytest.mark.parametrize("migrated_url", ["sqlite"], indirect=True)
def test_on_sqlite_web_is_one_process_whatever_is_asked_for(world: World) -> None:
    assert len(world.children(world.web(WEB_CONCURRENCY="4"))) == 1


@pytest.mark.parametrize("migrated_url", ["postgresql"], indirect=True)
def test_on_postgresql_web_has_as_many_processes_as_are_asked_for(world: World) -> None:
    web = world.web(WEB_CONCURRENCY="3")
    world.until(lambda: len(world.children(web)) == 3, "three processes serve")


@pytest.mark.parametrize(
    ("migrated_url", "number"),
    [("sqlite", signal.SIGTERM), ("postgresql", signal.SIGTERM), ("sqlite", signal.SIGINT)],
    indirect=["migrated_url"],
)
def test_a_worker_that_is_asked_to_end_finishes_its_push_and_leaves_no_claim(world: World, number: int) -> None:
    crm = world.crm()
    world.settings = webhook_target(crm.url)
    crm.add_fault(kind="hang", seconds=1.5)
    web, worker = world.web(), world.worker()
    with Sender(web.url) as sender:
        sender.status(conversation(ID))
    world.until(lambda: not crm.faults(), "the push has begun")
    worker.signal(number)
    code = worker.wait()

    assert code == 0
    claimed = world.rows("SELECT state, claim_token, lease_until FROM deliveries")
    assert claimed == [{"state": "delivered", "claim_token": None, "lease_until": None}]
    assert [effect["outcome"] for effect in crm.effects()] == ["created"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("migrated_url", ["sqlite"], indirect=True)
def test_a_web_process_that_is_asked_to_end_answers_what_it_has_begun(world: World, number: int) -> None:
    web = world.web()
    path = make_url(world.database_url).database or ""
    with Sender(web.url) as sender, ThreadPoolExecutor(1) as pool:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            asked = pool.submit(sender.status, conversation(ID))
            world.until(lambda: "Booting worker" in web.said() and asked.running(), "the request is under way")
            web.signal(number)
            other.execute("ROLLBACK")
        answer = asked.result()
    assert answer == "accepted"
    assert web.wait() == 0
    assert world.counts()["events"] == 1


def test_web_ends_cleanly_and_can_be_started_again_at_the_same_port(world: World) -> None:
    web = world.web()
    port = int(web.url.rpartition(":")[2])
    with Sender(web.url) as sender:
        assert sender.status(conversation(ID)) == "accepted"
        children = world.children(web)
        assert web.stop() == 0
    assert not listens(port)
    assert children and not world.children(web)
    with Sender(world.web(port=port).url) as sender:
        assert sender.status(conversation(ID)) == "duplicate"


def test_run_migrates_and_starts_both_and_ends_both(tmp_path: Path, database_url: str) -> None:
    with World(tmp_path, database_url) as world:
        crm = world.crm()
        world.settings = webhook_target(crm.url)
        port = free_port()
        run = world.spawn("run", PORT=str(port))
        run.url = f"http://127.0.0.1:{port}"
        world.until_answers(run)
        with Sender(run.url) as sender:
            sender.status(conversation(ID))
        world.until(crm.records, "the closure is in the CRM")
        code = run.stop()

        assert code == 0
        assert not listens(port)
        assert world.rows("SELECT claim_token FROM deliveries") == [{"claim_token": None}]


def test_run_starts_a_worker_again_that_was_killed(tmp_path: Path, database_url: str) -> None:
    with World(tmp_path, database_url) as world:
        crm = world.crm()
        world.settings = webhook_target(crm.url)
        port = free_port()
        run = world.spawn("run", PORT=str(port))
        run.url = f"http://127.0.0.1:{port}"
        world.until_answers(run)
        world.until(lambda: run.said().count("worker_started") == 1, "the worker has started")
        worker = max(world.children(run))
        os.kill(worker, signal.SIGKILL)
        world.until(lambda: run.said().count("worker_started") == 2, "another worker has started")
        with Sender(run.url) as sender:
            sender.status(conversation(ID))
        world.until(lambda: crm.records(), "the closure is in the CRM")

    assert "process_killed" in run.said()
