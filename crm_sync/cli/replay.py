"""`crm-sync replay`: parse kept events again, once their cause has been mended or this version reads more in them."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

import click

from crm_sync.cli import Refusal
from crm_sync.cli.common import (
    Resumable,
    dry_run_option,
    echo_json,
    json_option,
    long_work,
    to_go_on,
    window_options,
)
from crm_sync.cli.genesys import services
from crm_sync.closure import canonical_id


@click.command(cls=Resumable)
@click.argument("event_ids", metavar="[EVENT_ID]...", nargs=-1)
@click.option(
    "--status",
    "statuses",
    type=click.Choice(["quarantined", "accepted", "ignored"]),
    multiple=True,
    help="Only events of this status; may be repeated. Default: quarantined; any, with ids or --conversation.",
)
@click.option("--kind", "kinds", multiple=True, help="Only events of this kind, as in wrapup; may be repeated.")
@click.option(
    "--source", "sources", multiple=True, help="Only events that came this way, as in webhook; may be repeated."
)
@click.option("--conversation", "conversations", metavar="ID", multiple=True, help="Only events of this conversation.")
@window_options("received")
@click.option("--after", default="", metavar="EVENT_ID", help="Only events behind this one, in the order of their ids.")
@dry_run_option
@json_option
@click.pass_context
def replay(
    ctx: click.Context,
    event_ids: Sequence[str],
    statuses: Sequence[str],
    kinds: Sequence[str],
    sources: Sequence[str],
    conversations: Sequence[str],
    since: datetime | None,
    until: datetime | None,
    after: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Replay kept events: those with these ids, or all that fit.

    What was merged before changes nothing, so a replay may be stopped and begun again. --dry-run reads and merges
    everything and undoes it, to tell what would come of it.
    """
    # Imported here, or every --help would load them.
    from crm_sync import replay as stage
    from crm_sync.store.repairs import Window

    selection = stage.Selection(
        event_ids=tuple(event_ids),
        statuses=tuple(statuses) or (() if event_ids or conversations else ("quarantined",)),
        kinds=tuple(kinds),
        sources=tuple(sources),
        conversation_ids=tuple(map(canonical_id, conversations)),
        received=Window(since=since, until=until),
        after=after,
    )
    with services() as opened:
        total = stage.count(opened.database, selection)
        click.echo(f"{total} events are to be read.", err=True)
        with long_work("Reading" if dry_run else "Replaying", total) as (progress, stop):
            done = stage.run(opened, selection, progress=progress, stop=stop, dry_run=dry_run)
    if not done.is_complete:
        raise Refusal(
            f"Stopped after {done.read} of {total} events. Go on with: {to_go_on(ctx, '--after', done.after)}"
        )
    if as_json:
        echo_json(asdict(done))
    elif dry_run:
        click.echo(
            f"{done.read} events were read: {done.accepted} would be understood, {done.quarantined} would not; "
            f"{done.closures_changed} closures would change. Nothing was stored."
        )
    else:
        click.echo(f"{done.read} events were read: {done.accepted} are understood, {done.quarantined} still are not.")
