"""`crm-sync demo`: the main job from end to end, and a proof that it would tell if a record were lost or changed."""

import json
import re
from pathlib import Path

import pytest

from tests.acceptance.harness import World

UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


def test_the_demo_finds_nothing_missing_and_nothing_wrong(tmp_path: Path, database_url: str) -> None:
    arguments = [] if database_url.startswith("sqlite") else ["--database", database_url]
    with World(tmp_path, database_url) as world:
        done = world.crm_sync("demo", "--conversations", "12", "--json", *arguments)
        again = world.crm_sync("db", "current", "--json")
        closures = world.counts()["closures"] if arguments else None

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["closures"], told["missing"], told["wrong"]) == (24, 0, 0)
    assert told["crms"] == {name: {"missing": 0, "wrong": 0, "examples": []} for name in ("demo-crm", "demo-table")}
    assert sum(told["resolutions"].values()) == 24
    assert told["refused_at_start"]["attributes too large"] == 1
    bad_day = told["bad_day"]
    assert bad_day["mended"] and bad_day["drift_is_exact"]
    assert bad_day["lost"] == bad_day["missing_before"] == bad_day["missed"] > 0
    assert [bad_day[name] for name in ("missed_again", "different_again", "changed_again")] == [0, 0, 0]
    if arguments:  # It was really this database that served.
        assert json.loads(again.stdout)["missing"] == []
        assert closures == 24


@pytest.mark.parametrize(("sabotage", "counted"), [("drop", "missing"), ("alter", "wrong")])
def test_the_demo_tells_of_a_record_that_a_crm_has_lost_or_changed(tmp_path: Path, sabotage: str, counted: str) -> None:
    with World(tmp_path, f"sqlite:///{tmp_path}/unused.db") as world:
        done = world.crm_sync("demo", "--conversations", "4", "--json", "--sabotage", sabotage)

    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    assert {name: told[name] for name in ("missing", "wrong")} == {"missing": 0, "wrong": 0} | {counted: 1}
    (example,) = told["crms"]["demo-crm"]["examples"]
    assert re.match(UUID, example)
    assert told["crms"]["demo-table"]["examples"] == []


@pytest.mark.parametrize("migrated_url", ["postgresql"], indirect=True)
def test_the_demo_refuses_a_database_that_serves_other_targets(world: World) -> None:
    world.execute(
        "INSERT INTO targets (name, adapter, state, created_at) VALUES ('our-real-crm', 'webhook', 'live', now())"
    )
    before = world.counts()
    done = world.crm_sync("demo", "--conversations", "4", "--database", world.database_url)

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == ("Error: This database serves the targets our-real-crm: give the demo an empty one.\n")
    assert world.counts() == before
    assert world.rows("SELECT state FROM targets") == [{"state": "live"}]
