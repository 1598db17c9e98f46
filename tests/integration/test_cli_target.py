"""`crm-sync target`: what the database knows of targets, and what their CRMs say of the settings."""

import json
import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from crm_sync import backfill, clock
from crm_sync.store import repairs, targets
from crm_sync.store.engine import Database
from tests.integration.builders import opened_store
from tests.integration.readers import add_closure, add_delivery, add_target

Command = Callable[..., Result]
NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)


@pytest.fixture
def filled_url(migrated_url: str) -> str:
    """A database in which `sales` waits for two records and has lost one, and `old` is retired."""
    database = Database(migrated_url)
    with database.write() as connection:
        sales = add_target(connection, "sales")
        old = add_target(connection, "old", "retired")
        for number, state in enumerate(["pending", "pending", "dead", "delivered"]):
            add_closure(connection, f"c{number}", closed=True, ended_at=NOON + timedelta(hours=number))
            due_at = clock.now() - timedelta(hours=number + 2)
            add_delivery(connection, sales, f"c{number}", state=state, due_at=due_at)
        add_delivery(connection, old, "c0", state="dead")
    database.close()
    return migrated_url


def state_of(url: str, name: str) -> tuple[str, str | None]:
    """Return a target's state and why it is paused."""
    database = Database(url)
    try:
        with database.read() as connection:
            return next((t.state, t.paused_reason) for t in targets.rows(connection) if t.name == name)
    finally:
        database.close()


def test_a_list_tells_what_each_target_is_owed(filled_url: str, crm_sync: Command) -> None:
    lines = crm_sync("target", "list").stdout.splitlines()
    sales = next(row for row in json.loads(crm_sync("target", "list", "--json").stdout) if row["name"] == "sales")

    assert lines[1].split("\t")[:5] == ["old", "memory", "retired", "0", "1"]
    assert lines[2].split("\t") == ["sales", "memory", "live", "2", "1", "1", "30 d", "-", "-"]
    assert (sales["owed"], sales["dead"], sales["delivered"]) == (2, 1, 1)


def test_a_target_is_paused_with_a_reason_and_resumed(filled_url: str, crm_sync: Command) -> None:
    assert crm_sync("target", "pause", "sales", "--reason", "The CRM\x1b[2J moves.").exit_code == 0
    assert state_of(filled_url, "sales") == ("paused", "The CRM\x1b[2J moves.")
    assert "\x1b" not in crm_sync("target", "list").stdout

    assert crm_sync("target", "resume", "sales").exit_code == 0
    assert state_of(filled_url, "sales") == ("live", None)


@pytest.mark.parametrize("name", ["old", "nobody"])
@pytest.mark.parametrize("command", ["pause", "resume"])
def test_a_target_that_is_retired_or_unknown_is_refused(
    filled_url: str, crm_sync: Command, command: str, name: str
) -> None:
    refused = crm_sync("target", command, name)

    assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1)


def test_a_list_tells_until_when_a_target_rests(filled_url: str, crm_sync: Command) -> None:
    soon, past = clock.now() + timedelta(hours=1), clock.now() - timedelta(hours=1)
    with opened_store(filled_url, names=()) as store:
        store.change("targets", where={"name": "sales"}, open_until=soon, not_before=past)
        store.change("targets", where={"name": "old"}, open_until=past)
    lines = crm_sync("target", "list").stdout.splitlines()
    listed = {row["name"]: row for row in json.loads(crm_sync("target", "list", "--json").stdout)}

    assert [line.split("\t")[7] for line in lines] == ["RESTS UNTIL", "-", clock.to_text(soon)]
    assert [listed["sales"][name] for name in ("open_until", "not_before")] == [
        clock.to_text(soon),
        clock.to_text(past),
    ]


def owed(url: str, name: str) -> list[str]:
    """Return the conversations that a target is owed, or was told of."""
    with opened_store(url, names=()) as store:
        target_id = store.row("targets", name=name).id
        return sorted(row.conversation_id for row in store.rows("deliveries", target_id=target_id))


@pytest.fixture
def growing_url(filled_url: str) -> str:
    """The same database with a target `new`, which does not choose calls."""
    with opened_store(filled_url, names=("new",)) as store:
        store.change("targets", where={"name": "new"}, owed_when={"media": ["chat", "message"]})
        store.change("closures", media_type="chat")
        store.change("closures", where={"conversation_id": "c3"}, media_type="voice")
        store.change("deliveries", where={"conversation_id": "c0", "state": "dead"}, target_id=store.target_ids["new"])
    return filled_url


def test_a_backfill_tells_how_many_first_and_owes_them(growing_url: str, crm_sync: Command) -> None:
    told = crm_sync("target", "backfill", "new", "--dry-run")
    counts = json.loads(crm_sync("target", "backfill", "new", "--dry-run", "--json").stdout)
    before = owed(growing_url, "new")
    done = [crm_sync("target", "backfill", "new", "--yes") for _ in range(2)]

    sentence = "Target new is to be owed {} closures. It is owed or has been told {}, and does not choose 1.\n"
    assert told.stdout == sentence.format(2, 1)
    assert counts == {"to_owe": 2, "owed_already": 1, "not_chosen": 1, "owed": 0}
    assert before == ["c0"]
    assert done[0].stdout == sentence.format(2, 1) + "Target new is owed 2 closures more.\n"
    assert done[1].stdout == sentence.format(0, 3)
    assert owed(growing_url, "new") == ["c0", "c1", "c2"]


def test_a_backfill_keeps_to_its_window(growing_url: str, crm_sync: Command) -> None:
    late = crm_sync("target", "backfill", "new", "--yes", "--json", "--since", "2024-01-15T14:00:00Z")
    none = crm_sync("target", "backfill", "new", "--yes", "--json", "--until", "2024-01-15")

    assert json.loads(late.stdout) == {"to_owe": 1, "owed_already": 0, "not_chosen": 1, "owed": 1}
    assert json.loads(none.stdout) == {"to_owe": 0, "owed_already": 0, "not_chosen": 0, "owed": 0}
    assert owed(growing_url, "new") == ["c0", "c2"]


def test_a_backfill_that_is_stopped_says_that_it_can_be_begun_again(
    growing_url: str, crm_sync: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill, "PAGE", 1)
    write = repairs.owe_past

    def interrupted(*arguments: Any) -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        return write(*arguments)

    with monkeypatch.context() as first_time:
        first_time.setattr(repairs, "owe_past", interrupted)
        stopped = crm_sync("target", "backfill", "new", "--yes")
    half_way = owed(growing_url, "new")
    again = crm_sync("target", "backfill", "new", "--yes")

    assert stopped.exit_code == 1
    assert stopped.stderr == "Error: Stopped after 1 of 2 closures. The same command goes on.\n"
    assert half_way == ["c0", "c1"]
    assert again.stdout.splitlines()[-1] == "Target new is owed 1 closures more."


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["backfill", "old", "--yes"], 1, "old is retired"),
        (["backfill", "nobody", "--yes"], 1, "nobody"),
        (["backfill", "new"], 2, "--yes"),
        (["rename", "sales", "old"], 1, "old"),
        (["rename", "nobody", "free"], 1, "nobody"),
        (["remove", "sales", "--yes"], 1, "[targets.sales]"),
        (["remove", "nobody", "--yes"], 1, "nobody"),
        (["remove", "old"], 2, "--yes"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_changes_nothing(
    growing_url: str, crm_sync: Command, arguments: list[str], code: int, word: str
) -> None:
    def stored() -> list[list[Any]]:
        with opened_store(growing_url, names=()) as store:
            return [store.rows(table) for table in ("targets", "deliveries")]

    before = stored()
    refused = crm_sync("target", *arguments)

    assert (refused.exit_code, refused.stderr.count("\n")) == (code, 1)
    assert word in refused.stderr
    assert stored() == before


def test_a_refused_removal_says_when_the_target_can_be_removed(growing_url: str, crm_sync: Command) -> None:
    with opened_store(growing_url, names=("new",)) as store:
        named_until = store.row("targets", name="new").named_until

    assert clock.to_text(named_until) in crm_sync("target", "remove", "new", "--yes").stderr


def test_the_last_target_can_be_removed_although_no_worker_runs_that_would_retire_it(
    filled_url: str, crm_sync: Command
) -> None:
    with opened_store(filled_url, names=()) as store:
        store.change("targets", where={"name": "sales"}, named_until=clock.now() - timedelta(seconds=1))

    assert crm_sync("target", "remove", "sales", "--yes").exit_code == 0
    assert crm_sync("target", "remove", "old", "--yes").exit_code == 0
    assert crm_sync("target", "list").stdout.startswith("There are no targets yet")


@pytest.mark.parametrize("name", ["", "Sales", "a b", "-a", "a" * 64])
def test_a_name_that_the_settings_would_refuse_is_a_usage_error(filled_url: str, crm_sync: Command, name: str) -> None:
    refused = crm_sync("target", "rename", "--", "sales", name)

    assert refused.exit_code == 2
    assert "a-z" in refused.stderr
    assert state_of(filled_url, "sales") == ("live", None)


def test_a_target_is_renamed_and_every_settings_file_with_it(filled_url: str, crm_sync: Command) -> None:
    renamed = crm_sync("target", "rename", "sales", "sales-eu")

    assert (renamed.exit_code, renamed.stdout.count("\n")) == (0, 1)
    assert "[targets.sales-eu]" in renamed.stdout
    assert owed(filled_url, "sales-eu") == ["c0", "c1", "c2", "c3"]


def test_a_retired_target_is_removed_with_what_it_was_owed(
    filled_url: str, crm_sync: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_module("crm_sync.cli.target"), "PAGE", 2)
    with opened_store(filled_url, names=()) as store:
        store.change("targets", where={"name": "sales"}, state="retired")
    told = crm_sync("target", "remove", "sales", "--dry-run")
    kept = owed(filled_url, "sales")
    removed = crm_sync("target", "remove", "sales", "--yes")
    again = crm_sync("target", "remove", "sales", "--yes")

    assert told.stdout == (
        "Target sales is owed 2 closures, 1 are dead, 1 are delivered. With the target all of this is forgotten.\n"
    )
    assert len(kept) == 4
    assert removed.stdout == told.stdout + "Target sales is removed, and 4 deliveries with it.\n"
    assert again.exit_code == 1
    with opened_store(filled_url, names=()) as store:
        assert [row.name for row in store.rows("targets")] == ["old"]
        assert store.count("deliveries") == 1


def test_a_removal_that_is_stopped_goes_on_when_it_is_begun_again(
    filled_url: str, crm_sync: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_module("crm_sync.cli.target"), "PAGE", 3)
    with opened_store(filled_url, names=()) as store:
        store.change("targets", where={"name": "sales"}, state="retired")
    end = repairs.end_debts

    def interrupted(*arguments: Any, **known: Any) -> int:
        os.kill(os.getpid(), signal.SIGINT)
        return end(*arguments, **known)

    with monkeypatch.context() as first_time:
        first_time.setattr(repairs, "end_debts", interrupted)
        stopped = crm_sync("target", "remove", "sales", "--yes")
    left = owed(filled_url, "sales")
    again = crm_sync("target", "remove", "sales", "--yes")

    assert (stopped.exit_code, len(left)) == (1, 1)
    assert stopped.stderr == "Error: Stopped after 3 of 4 deliveries. The same command goes on.\n"
    assert again.stdout.splitlines()[-1] == "Target sales is removed, and 1 deliveries with it."


def test_a_check_asks_each_target_of_the_settings(crm_sync: Command, tmp_path: Path) -> None:
    Path("crm-sync.toml").write_text(
        f'[targets.good]\nadapter = "memory"\n[targets.bad]\nadapter = "jsonl"\npath = "{tmp_path}/nowhere/file"\n'
    )

    checked = crm_sync("target", "check")
    as_json = json.loads(crm_sync("target", "check", "--json").stdout)

    assert checked.exit_code == 1
    assert [line.split(":")[0] for line in checked.stdout.splitlines()] == ["bad", "good"]
    assert as_json["good"] == [] and as_json["bad"][0]["is_fatal"] is True
    assert crm_sync("target", "check", "good").exit_code == 0


def test_a_missing_table_is_created_only_when_that_is_asked_for(crm_sync: Command, tmp_path: Path) -> None:
    Path("crm-sync.toml").write_text(
        f'[targets.crm]\nadapter = "sql"\nurl = "sqlite:///{tmp_path}/crm.db"\ntable = "closures"\n'
    )

    assert crm_sync("target", "check").exit_code == 1
    assert crm_sync("target", "check").exit_code == 1
    assert crm_sync("target", "check", "--create").exit_code == 0
    assert crm_sync("target", "check").exit_code == 0


def test_a_check_of_a_target_that_is_not_in_the_settings_is_a_usage_error(crm_sync: Command) -> None:
    assert crm_sync("target", "check", "nobody").exit_code == 2
    assert crm_sync("target", "check").stdout == "The settings name no targets.\n"
