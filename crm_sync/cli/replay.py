"""`crm-sync replay`: parse kept events again, once their cause has been mended or this version reads more in them."""

import sys
from collections.abc import Sequence
from dataclasses import asdict

import click

from crm_sync.cli.common import database, echo_json, json_option, settings


@click.command()
@click.argument("event_ids", metavar="[EVENT_ID]...", nargs=-1)
@click.option(
    "--status",
    type=click.Choice(["quarantined", "accepted", "ignored"]),
    default="quarantined",
    show_default=True,
    help="Without ids: replay all events of this status.",
)
@click.option("--dry-run", is_flag=True, help="Only tell how many events would be read.")
@json_option
def replay(event_ids: Sequence[str], status: str, dry_run: bool, as_json: bool) -> None:
    """Replay kept events. What was merged before changes nothing, so it may be stopped and begun again."""
    # Imported here, since these load a web framework.
    from crm_sync import replay as stage
    from crm_sync.services import opened

    selection = stage.Selection(event_ids=tuple(event_ids), status=status)
    with database() as chosen:
        total = stage.count(chosen, selection)
    if dry_run:
        if as_json:
            echo_json({"would_read": total})
        else:
            click.echo(f"{total} events would be read.")
        return
    with (
        opened(settings()) as services,
        click.progressbar(length=total, label="Replaying", file=sys.stderr, hidden=not sys.stderr.isatty()) as bar,
    ):
        done = stage.run(services, selection, lambda read: bar.update(read - bar.pos))
    if as_json:
        echo_json(asdict(done))
        return
    click.echo(f"{done.read} events were read: {done.accepted} are understood, {done.quarantined} still are not.")
