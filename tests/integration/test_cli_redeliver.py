"""`crm-sync redeliver`: says how many first, asks, goes on where it was stopped."""

import fcntl
import json
import os
import pty
import shlex
import signal
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from crm_sync import redeliver as stage
from crm_sync.store import repairs
from crm_sync.store.engine import Database
from tests.integration.builders import opened_store
from tests.integration.readers import add_closure, add_delivery, add_target

Command = Callable[..., Result]
PROJECT = Path(__file__).parents[2]
DEAD = ("c1", "c2", "c3", "it's 4")


@pytest.fixture
def filled_url(migrated_url: str) -> str:
    """A database in which `sales` and the retired `old` have dead deliveries, `sales` a delivered one too."""
    database = Database(migrated_url)
    with database.write() as connection:
        sales, old = add_target(connection, "sales"), add_target(connection, "old", "retired")
        for conversation_id in ("c0", *DEAD):
            add_closure(connection, conversation_id, closed=True)
            add_delivery(connection, sales, conversation_id, state="dead" if conversation_id in DEAD else "delivered")
        add_delivery(connection, old, "c1", state="dead")
    database.close()
    return migrated_url


def redelivered(url: str) -> dict[tuple[str, str], int]:
    """Return how often each delivery that is due again was redelivered, by target and conversation."""
    with opened_store(url, names=()) as store:
        names = {row.id: row.name for row in store.rows("targets")}
        due = store.rows("deliveries", state="pending")
        return {(names[row.target_id], row.conversation_id): row.redelivery for row in due}


def test_a_dry_run_tells_how_many_and_changes_nothing(filled_url: str, crm_sync: Command) -> None:
    told = crm_sync("redeliver", "--dry-run")
    as_json = json.loads(crm_sync("redeliver", "--dry-run", "--json").stdout)

    assert told.stdout.splitlines() == [
        "TARGET\tSTATE\tDELIVERIES",
        "old\tdead\t1",
        "sales\tdead\t4",
        "Target old is retired: it is pushed to again once a running process has it in its settings.",
    ]
    assert as_json["wanted"] == [
        {"target": "old", "target_state": "retired", "state": "dead", "count": 1},
        {"target": "sales", "target_state": "live", "state": "dead", "count": 4},
    ]
    assert as_json["redelivered"] == 0
    assert redelivered(filled_url) == {}


def test_all_that_are_dead_are_due_again(filled_url: str, crm_sync: Command) -> None:
    done = crm_sync("redeliver", "--yes")

    assert (done.exit_code, done.stdout.splitlines()[-1]) == (0, "5 deliveries are due again.")
    assert redelivered(filled_url) == {("old", "c1"): 1} | {("sales", each): 1 for each in DEAD}


def test_a_choice_is_redelivered_and_nothing_else(filled_url: str, crm_sync: Command) -> None:
    done = crm_sync("redeliver", "c0", "c1", "--target", "sales", "--state", "dead", "--state", "delivered", "--yes",
                    "--json")  # fmt: skip

    assert json.loads(done.stdout)["redelivered"] == 2
    assert redelivered(filled_url) == {("sales", "c0"): 1, ("sales", "c1"): 1}


@pytest.mark.parametrize("many", [20, 21])
def test_a_handful_goes_at_once_and_more_in_the_background(migrated_url: str, crm_sync: Command, many: int) -> None:
    with opened_store(migrated_url) as store:
        with store.database.write() as connection:
            for number in range(many):
                add_closure(connection, f"c{number}", closed=True)
                add_delivery(connection, store.target_id, f"c{number}", state="dead")
        crm_sync("redeliver", "--yes")

        assert {row.in_background for row in store.rows("deliveries")} == {many > 20}


def test_nothing_to_redeliver_is_said_and_asks_nothing(filled_url: str, crm_sync: Command) -> None:
    done = crm_sync("redeliver", "--state", "pending")

    assert (done.exit_code, done.stdout) == (0, "There is nothing to redeliver.\n")


def test_without_a_terminal_it_needs_yes(filled_url: str, crm_sync: Command) -> None:
    refused = crm_sync("redeliver")

    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
    assert "--yes" in refused.stderr
    assert redelivered(filled_url) == {}


@pytest.mark.parametrize("arguments", [["--target", "nobody"], ["nobody"], ["c1", "nobody", "--json"]])
def test_an_unknown_target_or_conversation_is_named(filled_url: str, crm_sync: Command, arguments: list[str]) -> None:
    refused = crm_sync("redeliver", "--yes", *arguments)

    assert (refused.exit_code, refused.stdout, refused.stderr.count("\n")) == (1, "", 1)
    assert "nobody" in refused.stderr
    assert redelivered(filled_url) == {}


@pytest.mark.parametrize(
    "given", ["yesterday", "2024-01-15T10:00:00", "2024-13-01", "20240115", "0001-01-01T00:00+14:00"]
)
@pytest.mark.parametrize("option", ["--since", "--until", "--as-of"])
def test_a_wrong_instant_is_a_usage_error_with_an_example(crm_sync: Command, option: str, given: str) -> None:
    refused = crm_sync("redeliver", option, given)

    assert refused.exit_code == 2
    assert "2024-01-15T10:34:12Z" in refused.stderr


@pytest.mark.parametrize(("answer", "count"), [("y", 5), ("n", 0), ("\x03", 0)])
def test_a_person_on_a_terminal_is_asked(filled_url: str, tmp_path: Path, answer: str, count: int) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "crm_sync", "redeliver"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(PROJECT), "DATABASE_URL": filled_url, "GENESYS_REGISTRATION": "none"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=_take_the_terminal,
    )
    os.close(theirs)
    seen = ""
    while "[y/N]" not in seen:
        seen += os.read(ours, 1000).decode()
    os.write(ours, answer.encode() + b"\n")
    code = process.wait(60)
    os.close(ours)

    assert "Redeliver 5 deliveries?" in seen
    assert code == (0 if count else 1)
    assert len(redelivered(filled_url)) == count


def _take_the_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_after_a_page_and_the_sentence_says_how_to_go_on(
    filled_url: str, crm_sync: Command, monkeypatch: pytest.MonkeyPatch, ending: signal.Signals
) -> None:
    monkeypatch.setattr(stage, "PAGE", 2)
    write = repairs.redeliver

    def interrupted(*arguments: Any, **known: Any) -> int:
        os.kill(os.getpid(), ending)
        return write(*arguments, **known)

    with monkeypatch.context() as first_time:
        first_time.setattr(repairs, "redeliver", interrupted)
        stopped = crm_sync("redeliver", "--target", "sales", "--yes", *DEAD)
    half_way = redelivered(filled_url)
    announced, told = stopped.stderr.splitlines()
    words = shlex.split(told.partition("Go on with: ")[2])
    gone_on = crm_sync(*words[1:])
    once_more = crm_sync(*words[1:])

    assert stopped.exit_code == 1
    assert told.startswith("Error: Stopped after 2 of 4 deliveries. ")
    assert announced.endswith(told.partition("Go on with: ")[2])
    assert [words[:3], words[4:]] == [
        ["crm-sync", "redeliver", "--as-of"],
        ["--target", "sales", "--yes", *DEAD],
    ]
    assert len(half_way) == 2
    assert gone_on.stdout.splitlines()[-1] == "2 deliveries are due again."
    assert shlex.split(gone_on.stderr.partition("go on with: ")[2]) == words
    assert once_more.stdout == "There is nothing to redeliver.\n"
    assert set(redelivered(filled_url).values()) == {1}
