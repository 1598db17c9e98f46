"""`crm-sync session`: start a virtual-agent session, and see what became of one."""

from typing import BinaryIO

import click

from crm_sync.cli import Refusal
from crm_sync.cli.common import echo_json, echo_table, json_option
from crm_sync.cli.genesys import services


@click.group()
def session() -> None:
    """Start virtual-agent sessions and follow them to their closure."""


@session.command()
@click.argument("file", type=click.File("rb"))
@click.option("--idempotency-key", metavar="KEY", help="A repeated start with this key starts no second session.")
@json_option
def start(file: BinaryIO, idempotency_key: str | None, as_json: bool) -> None:
    """Start the session that the JSON in FILE (or - for the standard input) asks for.

    \b
    {"to": [{"id": "bot-id-123"}], "from": {"id": "user-456"}, "type": "chat",
     "attributes": {"order_id": "ORD-998877"}, "message": "I want to cancel my order", "turns": 1}
    """
    from crm_sync import initiate
    from crm_sync.genesys.session_request import InvalidRequest

    with services() as opened:
        try:
            request = initiate.parse(file.read(), opened.settings)
        except InvalidRequest as error:
            raise Refusal("\n".join(error.faults)) from error
        begun = initiate.start(opened, request, idempotency_key=idempotency_key).session
    if as_json:
        echo_json(initiate.describe(begun))
    if begun.state != "started":
        raise Refusal(f"Session {begun.id} is {begun.state}: {begun.reason or 'ask again in a moment.'}")
    if not as_json:
        escalated = f", for people ({begun.reason})" if begun.escalated else ""
        click.echo(f"Session {begun.id} has started conversation {begun.conversation_id}{escalated}.")


@session.command()
@click.argument("session_id", metavar="ID")
@json_option
def show(session_id: str, as_json: bool) -> None:
    """Show the session with this ID, and how its conversation was closed."""
    from crm_sync import initiate

    with services() as opened:
        found = initiate.show(opened, session_id)
    if as_json:
        echo_json(found)
        return
    lines: list[tuple[object, object]] = []
    for name, value in found.items():
        inner = value if isinstance(value, dict) else {"": value}
        lines += [(" ".join(filter(None, (name, key))), inner[key]) for key in inner]
    echo_table(["FIELD", "VALUE"], lines, empty="")
