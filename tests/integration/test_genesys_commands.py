"""`crm-sync session` and `crm-sync webhook`, run as an operator runs them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crm_sync.sandbox.server import serve
from crm_sync.sandbox.signing import hub_signature
from crm_sync.sandbox.triggers import Trigger
from tests.integration import bots
from tests.integration.pretend import PUBLIC_URL, SECRET, PretendGenesys

Run = Callable[..., subprocess.CompletedProcess[str]]
TRIGGERS, WORKFLOW = "/api/v2/processautomation/triggers", "b008976c-e085-43b7-b27d-9c0efd5fbfb5"
REQUEST = {"to": [{"id": "bot-id-123"}], "from": {"id": "user-456"}, "type": "chat"}


@pytest.fixture
def run(migrated_url: str, genesys: PretendGenesys, tmp_path: Path) -> Run:
    """Run crm-sync with the settings of a service."""
    environ = os.environ | {
        "DATABASE_URL": migrated_url,
        "GENESYS_CLIENT_ID": "sandbox",
        "GENESYS_CLIENT_SECRET": "sandbox-secret",
        "GENESYS_API_URL": genesys.url,
        "PUBLIC_URL": PUBLIC_URL,
        "WEBHOOK_SECRETS": SECRET,
        "PYTHONPATH": str(Path.cwd()),
    }

    def call(*words: str, stdin: str = "", **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "crm_sync", *words],
            cwd=tmp_path,
            env=environ | more,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return call


def test_a_session_is_started_and_shown(run: Run, genesys: PretendGenesys) -> None:
    begun = run("session", "start", "-", "--json", stdin=json.dumps(REQUEST))
    assert begun.returncode == 0, begun.stderr
    told = json.loads(begun.stdout)
    assert told["state"] == "started"

    shown = run("session", "show", told["id"])
    assert told["conversation_id"] in shown.stdout
    assert json.loads(run("session", "show", told["id"], "--json").stdout) == told


@pytest.mark.parametrize("migrated_url", ["sqlite"], indirect=True)
def test_what_is_not_started_is_told_with_exit_code_1(run: Run, genesys: PretendGenesys) -> None:
    invalid = run("session", "start", "-", stdin='{"to": []}')
    assert invalid.returncode == 1
    assert [line[:6] for line in invalid.stderr.splitlines()] == ["Error:"] * 3

    genesys.control.add_fault(path="/api/v2/conversations", method="POST", status=403)
    refused = run("session", "start", "-", stdin=json.dumps(REQUEST), LOG_FORMAT="json")
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert "conversations:write" in refused.stderr.splitlines()[-1]
    assert run("session", "show", "no-such-id").returncode == 1


@pytest.mark.parametrize("migrated_url", ["sqlite"], indirect=True)
def test_a_session_with_a_bot_is_led_turn_by_turn(run: Run, genesys: PretendGenesys, tmp_path: Path) -> None:
    (tmp_path / "crm-sync.toml").write_text(f'[sessions]\nhuman_queue_id = "{bots.SUPPORT}"\n')
    platform = {"GENESYS_REGISTRATION": "none"}
    request = json.dumps(bots.body(callback_number=bots.NUMBER))
    told = json.loads(run("session", "start", "-", "--json", stdin=request, **platform).stdout)
    assert told["next_action"] == "WaitForInput"

    asked = run("session", "say", told["id"], "Where is my parcel?", **platform)
    assert (asked.returncode, asked.stdout[:2]) == (0, "> "), asked.stderr
    handed = run("session", "say", told["id"], "a human, please", **platform)
    assert handed.returncode == 0 and "People go on in conversation" in handed.stdout
    over = run("session", "say", told["id"], "hello?", **platform)
    assert (over.returncode, over.stdout) == (1, "")
    assert over.stderr.endswith(".\n")


@pytest.mark.parametrize("migrated_url", ["sqlite"], indirect=True)
def test_on_the_platform_what_is_refused_is_told_with_exit_code_1(run: Run, genesys: PretendGenesys) -> None:
    attributes = {f"n{number}": "🙂" * 256 for number in range(41)}
    for change, word in (
        ({"attributes": attributes}, "40960"),
        ({"to": []}, "to is missing"),
        ({"turns": 11}, "queue"),
    ):
        refused = run("session", "start", "-", stdin=json.dumps(bots.body(**change)), GENESYS_REGISTRATION="none")

        assert (refused.returncode, refused.stdout) == (1, "")
        assert word in refused.stderr
    assert genesys.control.bot_sessions() == []


def test_the_webhook_is_registered_shown_and_removed(run: Run, genesys: PretendGenesys) -> None:
    outcomes = [json.loads(run("webhook", "register", "--json").stdout) for _ in range(2)]
    assert [outcome["action"] for outcome in outcomes] == ["created", "unchanged"]

    shown = json.loads(run("webhook", "show", "--json").stdout)
    assert shown["registration"]["state"] == "registered"
    assert [one["url"] for one in shown["webhooks"]] == [f"{PUBLIC_URL}/webhooks/genesys"]

    assert run("webhook", "remove").returncode == 0
    assert genesys.control.webhooks() == []
    nothing_left = run("webhook", "remove")
    assert nothing_left.returncode == 1 and "webhook show" in nothing_left.stderr


def test_triggers_are_planned_registered_shown_and_removed(run: Run, genesys: PretendGenesys) -> None:
    way = {"GENESYS_REGISTRATION": "trigger", "GENESYS_WORKFLOW_ID": WORKFLOW, "PUBLIC_URL": ""}
    actions = [
        json.loads(run("webhook", "register", "--json", *more, **way).stdout)["action"]
        for more in (["--dry-run"], [], ["--dry-run"], [])
    ]
    assert actions == ["created", "created", "unchanged", "unchanged"]
    assert genesys.calls("POST", TRIGGERS) == 5

    shown = json.loads(run("webhook", "show", "--json", **way).stdout)
    assert shown["registration"]["state"] == "registered"
    assert {one["name"] for one in shown["triggers"]} == {trigger.fields["name"] for trigger in found(genesys)}
    assert run("webhook", "show", **way).stdout.count(WORKFLOW) == 5

    assert run("webhook", "remove", **way).stdout.count("is removed") == 5
    assert found(genesys) == []
    nothing_left = run("webhook", "remove", **way)
    assert nothing_left.returncode == 1 and "webhook show" in nothing_left.stderr


@pytest.mark.parametrize("migrated_url", ["sqlite"], indirect=True)
def test_a_dry_run_tells_each_difference_and_writes_nothing(run: Run, genesys: PretendGenesys) -> None:
    way = {"GENESYS_REGISTRATION": "trigger", "GENESYS_WORKFLOW_ID": WORKFLOW}
    run("webhook", "register", **way)
    first, *_ = before = found(genesys)
    changed = genesys.state.triggers.replace(first.id, first.fields | {"version": 1, "enabled": False})

    told = run("webhook", "register", "--dry-run", **way)

    assert (told.returncode, told.stderr) == (0, "")
    (line,) = [line.split("\t") for line in told.stdout.splitlines() if "updated" in line]
    assert line == [first.fields["name"], "updated", first.id, "enabled: false -> true"]
    assert found(genesys) == [changed, *before[1:]]


@pytest.mark.parametrize("migrated_url", ["sqlite"], indirect=True)
def test_a_dry_run_of_the_webhook_tells_the_same(run: Run, genesys: PretendGenesys) -> None:
    planned = json.loads(run("webhook", "register", "--dry-run", "--json").stdout)
    assert (planned["action"], genesys.control.webhooks()) == ("created", [])

    run("webhook", "register")
    moved = run("webhook", "register", "--dry-run", PUBLIC_URL="https://moved.example.test")
    assert f'url: "{PUBLIC_URL}/webhooks/genesys" -> "https://moved.example.test/webhooks/genesys"' in moved.stdout
    assert [one["url"] for one in genesys.control.webhooks()] == [f"{PUBLIC_URL}/webhooks/genesys"]


@pytest.mark.parametrize("migrated_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("dialect", [{}, {"GENESYS_REGISTRATION": "webhook"}])
def test_a_platform_without_webhooks_is_told_with_the_way_that_it_has(
    run: Run, genesys: PretendGenesys, dialect: dict[str, str]
) -> None:
    genesys.control.add_fault(path="/api/v2/integrations/webhooks", status=404, times=None)

    refused = run("webhook", "register", **dialect)

    assert refused.returncode == 1
    assert "GENESYS_REGISTRATION=trigger" in refused.stderr


def found(genesys: PretendGenesys) -> list[Trigger]:
    return genesys.state.triggers.all()


@pytest.mark.parametrize("migrated_url", ["sqlite"], indirect=True)
def test_no_command_tells_a_secret(run: Run, genesys: PretendGenesys) -> None:
    genesys.control.add_fault(path="*", status=500, times=None)

    for words in (("webhook", "register"), ("webhook", "show"), ("session", "start", "-")):
        told = run(*words, stdin=json.dumps(REQUEST))
        assert told.returncode == 1
        assert SECRET not in told.stdout + told.stderr and "sandbox-secret" not in told.stdout + told.stderr


@pytest.mark.parametrize("migrated_url", ["sqlite"], indirect=True)
def test_a_file_is_signed_and_posted_as_often_as_asked(run: Run, tmp_path: Path) -> None:
    from flask import Flask, request

    received: list[tuple[str | None, bytes]] = []
    app = Flask("receiver", static_folder=None)

    @app.post("/webhooks/genesys")
    def take() -> tuple[dict[str, Any], int]:
        received.append((request.headers.get("X-Hub-Signature-256"), request.get_data()))
        return {"status": "accepted"}, 202 if len(received) < 3 else 503

    body = b'{"id": "c-1",\n "state": "closed"}\n'
    (tmp_path / "event.json").write_bytes(body)
    with serve(app) as server:
        sent = run("webhook", "send", "event.json", "--repeat", "2", PUBLIC_URL=server.url)
        failed = run("webhook", "send", "event.json", "--url", f"{server.url}/webhooks/genesys", "--json")

    assert (sent.returncode, failed.returncode) == (0, 1)
    assert received == [(hub_signature(SECRET, body), body)] * 3
    assert sent.stdout.count("202") == 2
    assert json.loads(failed.stdout)[0]["status"] == 503
