"""`crm-sync redeliver`: push deliveries once more, once their cause has been mended."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

import click

from crm_sync import clock
from crm_sync import redeliver as stage
from crm_sync.cli import Refusal
from crm_sync.cli.common import (
    Instant,
    Resumable,
    confirm,
    database,
    dry_run_option,
    echo_json,
    echo_table,
    json_option,
    long_work,
    to_go_on,
    window_options,
    yes_option,
)
from crm_sync.closure import canonical_id
from crm_sync.store.engine import Database
from crm_sync.store.repairs import Count, Wanted, Window

_NOT_PUSHED = {
    "retired": "it is pushed to again once a running process has it in its settings",
    "paused": "it is pushed to again after crm-sync target resume",
}


@click.command(cls=Resumable)
@click.argument("conversation_ids", metavar="[CONVERSATION_ID]...", nargs=-1)
@click.option("--target", "targets", metavar="NAME", multiple=True, help="Only to this target; may be repeated.")
@click.option(
    "--state",
    "states",
    type=click.Choice(["dead", "delivered", "pending"]),
    multiple=True,
    default=["dead"],
    show_default=True,
    help="Only deliveries in this state; may be repeated.",
)
@window_options("whose conversation ended")
@click.option("--code", metavar="CODE", help="Only those whose last attempt ended with this code, as in http_500.")
@click.option("--as-of", type=Instant(), metavar="INSTANT", help="Only those that have not changed since: to go on.")
@dry_run_option
@yes_option
@json_option
@click.pass_context
def redeliver(
    ctx: click.Context,
    conversation_ids: Sequence[str],
    targets: Sequence[str],
    states: Sequence[str],
    since: datetime | None,
    until: datetime | None,
    code: str | None,
    as_of: datetime | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Push deliveries once more: those of these conversations, or all that are wanted.

    Each is pushed in the newest version of its closure, under a new push key. More than a few wait until nothing else
    is due to their target.
    """
    with database() as opened:
        wanted = Wanted(
            as_of=as_of or stage.now(opened),
            conversation_ids=tuple(map(canonical_id, conversation_ids)),
            targets=tuple(targets),
            states=tuple(states),
            ended=Window(since=since, until=until),
            code=code,
        )
        counts = stage.count(opened, wanted)
        if not as_json:
            _show(counts)
        done = 0
        if counts and not dry_run:
            done = _redeliver(ctx, opened, wanted, sum(each.count for each in counts), yes=yes)
    if as_json:
        echo_json({"as_of": wanted.as_of, "wanted": [asdict(each) for each in counts], "redelivered": done})
    elif counts and not dry_run:
        click.echo(f"{done} deliveries are due again.")


def _show(counts: Sequence[Count]) -> None:
    rows = [(each.target, each.state, each.count) for each in counts]
    echo_table(["TARGET", "STATE", "DELIVERIES"], rows, empty="There is nothing to redeliver.")
    for name, state in sorted({(each.target, each.target_state) for each in counts}):
        if state in _NOT_PUSHED:
            click.echo(f"Target {name} is {state}: {_NOT_PUSHED[state]}.")


def _redeliver(ctx: click.Context, opened: Database, wanted: Wanted, total: int, *, yes: bool) -> int:
    confirm(f"Redeliver {total} deliveries?", yes=yes)
    go_on = to_go_on(ctx, "--as-of", clock.to_text(wanted.as_of))
    click.echo(f"Should this be cut short, go on with: {go_on}", err=True)
    with long_work("Redelivering", total) as (progress, stop):
        in_background = total > stage.HANDFUL
        done = stage.run(opened, wanted, in_background=in_background, progress=progress, stop=stop)
    if not done.is_complete:
        raise Refusal(f"Stopped after {done.count} of {total} deliveries. Go on with: {go_on}")
    return done.count
