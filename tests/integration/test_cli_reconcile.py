"""`crm-sync reconcile`, `backfill`, `drift` and `resolution`, as an admin calls them."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from click.testing import Result

from crm_sync import clock
from crm_sync.sandbox.platform_queries import PlatformOptions
from crm_sync.sandbox.platform_world import RESOLVED
from tests.integration.pretend import PretendGenesys, pretend_genesys

Command = Callable[..., Result]
UNTIL = clock.now() - timedelta(minutes=30)
SINCE = UNTIL - timedelta(days=1)


@pytest.fixture
def genesys(monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendGenesys]:
    with pretend_genesys(platform=PlatformOptions(job_polls=0)) as pretend:
        since, until = clock.to_text(SINCE), clock.to_text(UNTIL)
        pretend.control.play(count=12, seed=3, stories=["agent"], since=since, until=until, tell=False)
        monkeypatch.setenv("GENESYS_CLIENT_ID", "sandbox")
        monkeypatch.setenv("GENESYS_CLIENT_SECRET", "sandbox-secret")
        monkeypatch.setenv("GENESYS_API_URL", pretend.url)
        yield pretend


def test_a_reconciliation_tells_what_it_mended_and_the_drift_lists_it(
    migrated_url: str, genesys: PretendGenesys, crm_sync: Command
) -> None:
    done = crm_sync("reconcile")
    again = json.loads(crm_sync("reconcile", "--json").stdout)
    listed = json.loads(crm_sync("drift", "--json").stdout)

    assert done.exit_code == 0, done.stderr
    assert "12 conversations" in done.stdout and "12 missed and 0 different, now mended" in done.stdout
    assert (again["state"], again["conversations"], again["missed"], again["different"]) == ("done", 12, 0, 0)
    truth = {one["id"]: one["ended_at"] for one in genesys.control.platform_conversations()}
    assert {one["conversation_id"]: one["ended_at"] for one in listed} == truth
    assert {one["what"] for one in listed} == {"missed"}
    assert json.loads(crm_sync("drift", "--run", str(again["id"]), "--json").stdout) == []


def test_a_backfill_needs_a_beginning_and_takes_the_past_in(
    migrated_url: str, genesys: PretendGenesys, crm_sync: Command
) -> None:
    assert crm_sync("backfill").exit_code == 2

    done = crm_sync("backfill", "--since", SINCE.isoformat(), "--json")

    assert json.loads(done.stdout)["missed"] == 12


def test_a_window_that_analytics_cannot_have_yet_is_a_usage_error(
    migrated_url: str, genesys: PretendGenesys, crm_sync: Command
) -> None:
    told = crm_sync("reconcile", "--since", clock.to_text(clock.now()))

    assert told.exit_code == 2
    assert "The window is empty" in told.stderr


def test_a_refusal_names_the_permission_and_the_run_goes_on_once_it_is_granted(
    migrated_url: str, genesys: PretendGenesys, crm_sync: Command
) -> None:
    genesys.control.set_permissions([])
    refused = crm_sync("reconcile")
    genesys.control.set_permissions(None)
    done = json.loads(crm_sync("reconcile", "--json").stdout)

    assert refused.exit_code == 1
    assert "grant it analytics:conversationDetail:view" in refused.stderr and "Traceback" not in refused.stderr
    assert (done["id"], done["state"], done["missed"]) == (1, "done", 12)


def test_without_credentials_it_says_what_to_set(migrated_url: str, crm_sync: Command) -> None:
    told = crm_sync("reconcile")

    assert (told.exit_code, told.stderr) == (
        1,
        "Error: GENESYS_CLIENT_ID and GENESYS_CLIENT_SECRET are not set: set both, then try again.\n",
    )


def test_codes_are_listed_with_their_names_and_a_new_meaning_is_applied(
    migrated_url: str, genesys: PretendGenesys, crm_sync: Command, tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    crm_sync("reconcile")
    used = sum(one["wrapup_code"] == RESOLVED for one in genesys.control.platform_conversations())
    before = json.loads(crm_sync("resolution", "codes", "--look-up", "--json").stdout)
    file = tmp_path_factory.mktemp("settings") / "crm-sync.toml"
    file.write_text('[resolution.wrapup_codes]\nresolved = "resolved"\n')
    monkeypatch.setenv("CRM_SYNC_CONFIG", str(file))

    after = json.loads(crm_sync("resolution", "codes", "--json").stdout)
    tried = crm_sync("resolution", "apply", "--dry-run")
    done = json.loads(crm_sync("resolution", "apply", "--json").stdout)

    assert {"id": RESOLVED, "name": "Resolved", "means": None, "closures": used} in before
    assert {"id": RESOLVED, "name": "Resolved", "means": "resolved", "closures": used} in after
    assert f"12 closures were read: {used} would change. Nothing was stored." in tried.stdout
    assert done == {
        "read": 12,
        "changed": used,
        "turned": [{"from": "unknown", "to": "resolved", "closures": used}],
    }
    assert json.loads(crm_sync("resolution", "apply", "--json").stdout)["changed"] == 0
