"""Run the benchmarks in one go: a table for people, a JSON file for programs, exit code 1 when a result is wrong."""

import json
import os
import platform
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import click

from benchmarks import drain, engines, ingest, outbox
from benchmarks.engines import Engine
from benchmarks.results import Measured, Wrong, as_table

PARTS = {"ingest": ingest.measure, "drain": drain.measure, "outbox": outbox.measure}


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice(list(PARTS)))
@click.option("--json", "json_path", default="bench.json", show_default=True, help="Write the figures to this file.",
              type=click.Path(dir_okay=False, path_type=Path))  # fmt: skip
def main(parts: tuple[str, ...], json_path: Path) -> None:
    """Measure PARTS, or all."""
    signal.signal(signal.SIGTERM, _end)
    started = time.monotonic()
    measured: list[Measured] = []
    try:
        with engines.opened() as found:
            for name in parts or PARTS:
                click.echo(f"Measuring: {name} ...", err=True)
                measured += PARTS[name](found)
    except Wrong as wrong:
        raise click.ClickException(str(wrong)) from None
    click.echo(as_table(measured))
    json_path.write_text(json.dumps(_record(found, measured), indent=2) + "\n")
    click.echo(f"\nTook {time.monotonic() - started:.0f} s; the figures are in {json_path}.")


def _record(found: Sequence[Engine], measured: Sequence[Measured]) -> dict[str, object]:
    machine: dict[str, object] = {"cores": os.cpu_count(), "system": platform.system()}
    machine |= {"Python": platform.python_version(), **{engine.name: engine.version for engine in found}}
    return {"machine": machine, "measured": [each.as_record() for each in measured]}


def _end(_signal: int, _frame: object) -> NoReturn:
    """End as an exception does, so that all processes are stopped and all databases dropped."""
    sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    main(prog_name="benchmarks")
