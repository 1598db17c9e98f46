"""`crm-sync resolution`: what the wrap-up codes mean, and a changed meaning applied to the past."""

from datetime import datetime

import click

from crm_sync.cli import Refusal
from crm_sync.cli.common import (
    Resumable,
    database,
    dry_run_option,
    echo_json,
    echo_table,
    json_option,
    long_work,
    settings,
    to_go_on,
    window_options,
)
from crm_sync.cli.genesys import services


@click.group()
def resolution() -> None:
    """See what the wrap-up codes mean, and apply a changed meaning to the past."""


@resolution.command()
@click.option("--look-up", is_flag=True, help="Ask Genesys Cloud for the names of all wrap-up codes first.")
@json_option
def codes(look_up: bool, as_json: bool) -> None:
    """List the wrap-up codes that are known by name or that closures have, with what they mean."""
    from crm_sync import enrich
    from crm_sync.genesys.client import required
    from crm_sync.store import labels

    if look_up:
        with services() as opened:
            turned = enrich.look_up_codes(opened.settings, opened.database, required(opened.genesys))
        click.echo(f"{turned} closures changed by it.", err=True)
    known = settings().resolution.as_map()
    with database() as opened_database, opened_database.read() as connection:
        names, used = labels.names(connection, "wrapup_code"), labels.used_codes(connection)
    meanings = known.with_names(names).wrapup_codes
    rows = [
        {"id": code, "name": names.get(code), "means": meanings.get(code), "closures": used.get(code, 0)}
        for code in sorted(names.keys() | used.keys() | known.wrapup_codes.keys())
        if code in names or code in used or code.strip().casefold() not in known.wrapup_names
    ]
    if as_json:
        echo_json(rows)
        return
    echo_table(
        ["WRAP-UP CODE", "NAME", "MEANS", "CLOSURES"],
        [(row["id"], row["name"], row["means"], row["closures"]) for row in rows],
        empty="No wrap-up code is known: closures have none yet. --look-up asks Genesys Cloud.",
    )


@resolution.command("apply", cls=Resumable)
@window_options("that ended")
@click.option("--after", default="", metavar="CONVERSATION_ID", help="Only those behind this one, by their ids.")
@dry_run_option
@json_option
@click.pass_context
def apply_(
    ctx: click.Context, since: datetime | None, until: datetime | None, after: str, dry_run: bool, as_json: bool
) -> None:
    """Derive closures anew by the settings of now. What changes is pushed again; --dry-run only counts it."""
    from crm_sync import reapply
    from crm_sync.store.inbox import Inbox
    from crm_sync.store.repairs import Window

    ended = Window(since=since, until=until)
    with services() as opened:
        inbox = Inbox(opened.database, opened.settings.resolution.as_map())
        total = reapply.count(opened.database, ended)
        with long_work("Deriving", total) as (progress, stop):
            done = reapply.run(
                opened.database, inbox, ended, after=after, dry_run=dry_run, progress=progress, stop=stop
            )
    if not done.is_complete:
        raise Refusal(
            f"Stopped after {done.read} of {total} closures. Go on with: {to_go_on(ctx, '--after', done.after)}"
        )
    turned = [{"from": was, "to": now, "closures": many} for (was, now), many in sorted(done.turned.items())]
    if as_json:
        echo_json({"read": done.read, "changed": done.changed, "turned": turned})
        return
    told = "".join(f"\n  {row['from']} -> {row['to']}: {row['closures']}" for row in turned)
    verb = "would change. Nothing was stored" if dry_run else "changed"
    click.echo(f"{done.read} closures were read: {done.changed} {verb}.{told}")
