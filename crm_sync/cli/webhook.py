"""`crm-sync webhook`: our registration at Genesys Cloud, and events sent by hand."""

from dataclasses import asdict
from typing import BinaryIO

import click

from crm_sync.cli.common import echo_json, echo_table, json_option, settings
from crm_sync.cli.genesys import services
from crm_sync.errors import SettingsError


@click.group()
def webhook() -> None:
    """Register, show and remove our webhook at Genesys Cloud; send an event by hand."""


@webhook.command()
@json_option
def register(as_json: bool) -> None:
    """Have exactly our webhook registered. Harmless when repeated: only what differs is written."""
    from crm_sync import register as stage

    with services() as opened:
        outcome = stage.register(opened)
    if as_json:
        echo_json(asdict(outcome))
    else:
        click.echo(f"The webhook at {outcome.url} is registered ({outcome.action}): {outcome.webhook_id or 'no id'}.")


@webhook.command()
@json_option
def show(as_json: bool) -> None:
    """Show the state of our registration, and the webhooks that Genesys Cloud lists."""
    from crm_sync import register as stage

    with services() as opened:
        state, found = stage.show(opened)
    if as_json:
        listed = None if found is None else [asdict(one) for one in found]
        echo_json({"registration": asdict(state), "webhooks": listed})
        return
    click.echo(f"State: {state.state}" + (f", {state.error}" if state.error else ""))
    if found is None:
        click.echo("This Genesys Cloud does not tell which webhooks it has.")
        return
    rows = [(one.id, one.name, one.url, ", ".join(one.events)) for one in found]
    echo_table(["ID", "NAME", "URL", "EVENTS"], rows, empty="No webhooks are registered.")


@webhook.command()
@click.argument("webhook_id", metavar="[ID]", required=False)
def remove(webhook_id: str | None) -> None:
    """Remove our webhook, or the one with this ID, at Genesys Cloud. The next start of the service registers again."""
    from crm_sync import register as stage

    with services() as opened:
        removed = stage.remove(opened, webhook_id)
    click.echo(f"Webhook {removed} is removed.")


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
