"""`crm-sync webhook`: our registration at Genesys Cloud, and events sent by hand."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, BinaryIO

import click

from crm_sync.cli.common import dry_run_option, echo_json, echo_table, json_option, settings
from crm_sync.cli.genesys import services
from crm_sync.errors import SettingsError

if TYPE_CHECKING:
    from crm_sync.registration import Step


@click.group()
def webhook() -> None:
    """Register, show and remove our webhook or triggers at Genesys Cloud; send an event by hand."""


@webhook.command()
@dry_run_option
@json_option
def register(dry_run: bool, as_json: bool) -> None:
    """Have exactly our webhook or triggers registered. Harmless when repeated: only what differs is written."""
    from crm_sync import register as stage

    with services() as opened:
        plan = stage.plan(opened) if dry_run else stage.register(opened)
    if as_json:
        echo_json({"action": plan.action} | asdict(plan))
        return
    rows = [(step.name, step.action, step.id, _differences(step)) for step in plan.steps]
    echo_table(["NAME", "WOULD BE" if dry_run else "ACTION", "ID", "DIFFERENCES"], rows, empty="")
    for remark in plan.remarks:
        click.echo(remark)


@webhook.command()
@json_option
def show(as_json: bool) -> None:
    """Show the state of our registration, and the webhooks, or our triggers, that Genesys Cloud lists."""
    from crm_sync import register as stage
    from crm_sync.genesys.webhooks import Webhook

    with services() as opened:
        state, found = stage.show(opened)
        kind = "triggers" if opened.settings.genesys.registration == "trigger" else "webhooks"
    if as_json:
        listed = None if found is None else [asdict(one) for one in found]
        echo_json({"registration": asdict(state), kind: listed})
        return
    click.echo(f"State: {state.state}" + (f", {state.error}" if state.error else ""))
    if found is None:
        click.echo("This Genesys Cloud does not tell which webhooks it has.")
        return
    rows = [
        (one.id, one.name, one.url, ", ".join(one.events))
        if isinstance(one, Webhook)
        else (one.id, one.name, one.workflow_id, "enabled" if one.fields.get("enabled") else "disabled")
        for one in found
    ]
    headings = ["ID", "NAME", "WORKFLOW", "STATE"] if kind == "triggers" else ["ID", "NAME", "URL", "EVENTS"]
    echo_table(headings, rows, empty=f"No {kind} are registered.")


@webhook.command()
@click.argument("remote_id", metavar="[ID]", required=False)
def remove(remote_id: str | None) -> None:
    """Remove our webhook or all our triggers, or the one with this ID, at Genesys Cloud.

    The next start of the service registers again.
    """
    from crm_sync import register as stage

    with services() as opened:
        removed = stage.remove(opened, remote_id)
    for one in removed:
        click.echo(f"{one} is removed.")
    if not removed:
        click.echo("All were gone already.")


@webhook.command()
@click.argument("file", type=click.File("rb"))
@click.option("--url", help="Post here instead of to our webhook at PUBLIC_URL.")
@click.option("--repeat", type=click.IntRange(1), default=1, show_default=True, help="Post so many times.")
@json_option
@click.pass_context
def send(ctx: click.Context, file: BinaryIO, url: str | None, repeat: int, as_json: bool) -> None:
    """Sign the bytes of FILE (or - for the standard input) with our first secret and post them as an event."""
    from crm_sync.genesys.signature import sign
    from crm_sync.genesys.webhooks import OUR_PATH
    from crm_sync.transport import HTTPTransport

    loaded = settings()
    if url is None and loaded.public_url is None:
        raise SettingsError(["PUBLIC_URL is not set: set it, or say --url."])
    loaded.require_for_web()
    body = file.read()
    secret = loaded.webhook_secrets[0].get_secret_value().encode()
    headers = {"Content-Type": "application/json", "X-Hub-Signature-256": sign(secret, body)}
    transport = HTTPTransport(allow_private=True)
    try:
        answers = [
            transport.send("POST", url or f"{loaded.public_url}{OUR_PATH}", headers=headers, body=body)
            for _ in range(repeat)
        ]
    finally:
        transport.close()
    told = [{"status": one.status, "answer": one.body.decode("utf-8", "replace")[:2000]} for one in answers]
    if as_json:
        echo_json(told)
    else:
        echo_table(["STATUS", "ANSWER"], [(one["status"], str(one["answer"]).strip()) for one in told], empty="")
    if not all(answer.is_success for answer in answers):
        ctx.exit(1)


def _differences(step: "Step") -> str | None:
    told = [f"{one.field}: {_json(one.found)} -> {_json(one.wanted)}" for one in step.differences]
    return "; ".join(told) or None


def _json(value: object) -> str:
    return "nothing" if value is None else json.dumps(value, ensure_ascii=False)
