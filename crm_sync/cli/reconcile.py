"""`crm-sync reconcile`, `backfill` and `drift`: ask analytics what was missed, mend it, and say what it was."""

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING

import click

from crm_sync import clock
from crm_sync.cli import Refusal
from crm_sync.cli.common import Instant, database, echo_json, echo_table, json_option, long_work
from crm_sync.cli.genesys import services

if TYPE_CHECKING:
    from crm_sync.genesys.analytics import Window
    from crm_sync.store.reconciliations import Noticed, Run

MOST_TOLD = 50

_since = click.option("--since", type=Instant(), metavar="DATE", help="Conversations that ended at DATE or later.")
_until = click.option("--until", type=Instant(), metavar="DATE", help="Conversations that ended before DATE.")


@click.command()
@_since
@_until
@json_option
def reconcile(since: datetime | None, until: datetime | None, as_json: bool) -> None:
    """Compare the last days with analytics, or a window, and mend what is missing or different.

    A run that was cut short goes on where it was. It may be stopped with Ctrl-C and begun again.
    """
    _reconcile(since, until, by_job=False, as_json=as_json)


@click.command()
@click.option(
    "--since", type=Instant(), metavar="DATE", required=True, help="Conversations that ended at DATE or later."
)
@_until
@json_option
def backfill(since: datetime | None, until: datetime | None, as_json: bool) -> None:
    """Take in a long past window, by analytics jobs. What is stored already is not stored twice.

    A run that was cut short goes on where it was. It may be stopped with Ctrl-C and begun again.
    """
    _reconcile(since, until, by_job=True, as_json=as_json)


@click.command()
@_since
@click.option("--run", "run_id", type=int, metavar="ID", help="Only what this run has found.")
@click.option("--limit", type=click.IntRange(1), default=1000, show_default=True, help="At most so many, the newest.")
@json_option
def drift(since: datetime | None, run_id: int | None, limit: int, as_json: bool) -> None:
    """List the conversations that a reconciliation found missing or different: what, since when, and how mended."""
    from crm_sync.store import reconciliations

    with database() as opened, opened.read() as connection:
        found = reconciliations.drift(connection, since=since, run_id=run_id, limit=limit)
    if as_json:
        echo_json([asdict(one) for one in found])
        return
    _echo_drift(found)


def _reconcile(since: datetime | None, until: datetime | None, *, by_job: bool, as_json: bool) -> None:
    # Imported here, or every --help would load them.
    from crm_sync import reconcile as stage
    from crm_sync.store import reconciliations

    with services() as opened:
        window = _window(since, until, stage.latest(opened.settings.reconcile))
        with long_work("Reconciling", 0) as (_, stop):
            ended = stage.run(
                opened.settings,
                opened.database,
                opened.genesys,
                window,
                by_job=by_job,
                progress=_tell,
                stop=stop,
                wait_seconds=2 * stage.LEASE_SECONDS,
            )
        with opened.database.read() as connection:
            found = reconciliations.drift(connection, since=None, run_id=ended.id, limit=MOST_TOLD)
    if as_json:
        echo_json(_described(ended))
    elif ended.state == "done":
        click.echo(
            f"Run {ended.id}: {ended.conversations} conversations from {clock.to_text(ended.since)} to "
            f"{clock.to_text(ended.until)}, {ended.missed} missed and {ended.different} different, now mended; "
            f"{ended.unreadable} could not be read."
        )
        if found:
            _echo_drift(found)
    if ended.state != "done":
        raise Refusal(f"Stopped after {ended.pages} pages. Begin again to go on where it was.")


def _window(since: datetime | None, until: datetime | None, usual: "Window") -> "Window | None":
    from crm_sync.genesys.analytics import Window

    if since is None and until is None:
        return None
    chosen = Window(since=since or usual.since, until=until or usual.until)
    if chosen.since >= chosen.until:
        raise click.UsageError(
            f"The window is empty: it would begin at {clock.to_text(chosen.since)} and end at "
            f"{clock.to_text(chosen.until)}. Analytics needs a few minutes to note an end."
        )
    return chosen


def _tell(run: "Run") -> None:
    click.echo(
        f"page {run.pages}, part {min(run.part + 1, len(run.parts))} of {len(run.parts)}: {run.conversations} "
        f"conversations, {run.missed} missed, {run.different} different",
        err=True,
    )


def _described(run: "Run") -> dict[str, object]:
    hidden = ("job_id", "next_cursor", "parts", "part")
    return {name: value for name, value in asdict(run).items() if name not in hidden}


def _echo_drift(found: "list[Noticed]") -> None:
    echo_table(
        ["CONVERSATION", "WHAT", "ENDED", "FIELDS", "NOTICED", "MENDED BY EVENT"],
        [
            (
                one.conversation_id,
                one.what,
                one.ended_at,
                ", ".join(f"{name}: {had} -> {has}" for name, (had, has) in sorted(one.fields.items())) or None,
                one.noticed_at,
                one.event_id,
            )
            for one in found
        ],
        empty="No drift is known.",
    )
