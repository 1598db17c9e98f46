"""`crm-sync session`: start a virtual-agent session, say something in it, and see what became of it."""

from typing import TYPE_CHECKING, BinaryIO

import click

from crm_sync.cli import Refusal
from crm_sync.cli.common import echo_json, echo_table, json_option, one_line
from crm_sync.cli.genesys import services

if TYPE_CHECKING:  # A command loads only what it needs.
    from crm_sync.converse import Said


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
    from crm_sync import follow, initiate
    from crm_sync.genesys.session_request import InvalidRequest

    with services() as opened:
        try:
            request = initiate.parse(file.read(), opened.settings)
        except InvalidRequest as error:
            raise Refusal("\n".join(error.faults)) from error
        outcome = initiate.start(opened, request, idempotency_key=idempotency_key)
    begun, said = outcome.session, outcome.said
    if as_json:
        echo_json(follow.describe(begun) | ({} if said is None else _spoken(said)))
    if begun.state != "started":
        raise Refusal(f"Session {begun.id} is {begun.state}: {begun.reason or 'ask again in a moment.'}")
    if not as_json:
        escalated = f", for people ({begun.reason})" if begun.escalated else ""
        what = "with its bot" if begun.conversation_id is None else f"conversation {begun.conversation_id}"
        click.echo(f"Session {begun.id} has started {what}{escalated}.")
        _echo_prompts(said)


@session.command()
@click.argument("session_id", metavar="ID")
@click.argument("text")
@json_option
def say(session_id: str, text: str, as_json: bool) -> None:
    """Say TEXT to the bot of the session with this ID, as the customer's next turn, and print what it answers.

    A bot is led turn by turn on the real platform only.
    """
    from crm_sync import converse, follow

    with services() as opened:
        said = converse.say(opened, session_id, text)
    if as_json:
        echo_json(follow.describe(said.session) | _spoken(said))
    else:
        _echo_prompts(said)
    if said.error is not None:
        raise Refusal(said.error)
    if not as_json and said.session.escalated:
        click.echo(f"People go on in conversation {said.session.conversation_id} ({said.session.reason}).")
    elif not as_json and said.session.bot_state == "over":
        click.echo(f"The bot has finished ({said.session.end_reason}): {said.session.resolution}.")


@session.command()
@click.argument("session_id", metavar="ID")
@json_option
def show(session_id: str, as_json: bool) -> None:
    """Show the session with this ID, and how its conversation was closed."""
    from crm_sync import follow

    with services() as opened:
        found = follow.show(opened, session_id)
    if as_json:
        echo_json(found)
        return
    lines: list[tuple[object, object]] = []
    for name, value in found.items():
        inner = value if isinstance(value, dict) else {"": value}
        lines += [(" ".join(filter(None, (name, key))), inner[key]) for key in inner]
    echo_table(["FIELD", "VALUE"], lines, empty="")


def _spoken(said: "Said") -> dict[str, object]:
    return {"prompts": list(said.prompts), "next_action": said.next_action}


def _echo_prompts(said: "Said | None") -> None:
    for prompt in () if said is None else said.prompts:
        click.echo(f"> {one_line(prompt)}")
