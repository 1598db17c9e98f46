"""`web`, `worker`, and `run`, which is both on one machine after a migration."""

import logging
import os
import signal
import subprocess
import sys
import threading
from types import FrameType

import click
import structlog

from crm_sync.cli.common import settings
from crm_sync.errors import SetupError
from crm_sync.store import migrate
from crm_sync.store.engine import Database, check_durability

log = structlog.get_logger(__name__)

STOP_SECONDS = 40
LOOK_SECONDS = 1.0
GUNICORN = ("-m", "gunicorn", "--config", "python:crm_sync.web.server", "crm_sync.start:web_application()")


@click.command()
@click.option("--host", help="Listen at this address instead of the HOST of the settings.")
@click.option("--port", type=click.IntRange(1, 65_535), help="Listen here instead of at the PORT of the settings.")
@click.option("--check", is_flag=True, help="Only check settings, schema and durability.")
def web(host: str | None, port: int | None, check: bool) -> None:
    """Receive events and answer the API."""
    _listen_at(host, port)
    _check_concurrency()
    from crm_sync import start

    loaded = settings(least=logging.INFO)
    if check:
        for warning in start.check(loaded):
            click.echo(f"Warning: {warning}", err=True)
        return
    # A fresh process image: gevent must patch before anything else has been imported.
    os.execv(sys.executable, (sys.executable, *GUNICORN))


@click.command()
def worker() -> None:
    """Push what is owed to the CRMs."""
    from crm_sync import worker as process

    loaded = settings(least=logging.INFO)
    database = Database(loaded.database_url)
    stop = _stop_at_a_signal()
    try:
        for warning in [*migrate.require_current(database), *check_durability(database)]:
            log.warning("start_warning", warning=warning)
        process.run(loaded, database, stop)
    finally:
        database.close()


@click.command()
@click.option("--host", help="Listen at this address instead of the HOST of the settings.")
@click.option("--port", type=click.IntRange(1, 65_535), help="Listen here instead of at the PORT of the settings.")
def run(host: str | None, port: int | None) -> None:
    """Migrate, then run web and worker on this machine until Ctrl-C."""
    _listen_at(host, port)
    loaded = settings(least=logging.INFO)
    loaded.require_for_web()
    migrate.upgrade(loaded.database_url)
    stop = _stop_at_a_signal()
    children = {name: _start(name) for name in ("web", "worker")}
    failed = None
    while failed is None and not stop.wait(LOOK_SECONDS):
        failed = _look_after(children)
    _stop(list(children.values()))
    if failed is not None:
        raise SetupError(
            f"The {failed} process has ended by itself, so everything was stopped; its lines above say why."
        )


def _start(name: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "crm_sync", name], start_new_session=True)


def _look_after(children: dict[str, subprocess.Popen[bytes]]) -> str | None:
    """Start a process again that was killed; return the name of one that has ended for a reason of its own.

    A record that brings its worker down, again and again, is dead in the end: the others must not wait for a person.
    """
    for name, child in children.items():
        if child.poll() is None:
            continue
        if child.returncode >= 0:
            return name
        log.error("process_killed", process=name, signal=-child.returncode)
        children[name] = _start(name)
    return None


def _listen_at(host: str | None, port: int | None) -> None:
    """Pass the options on, to this process and to those that it starts or becomes."""
    for name, value in (("HOST", host), ("PORT", port)):
        if value is not None:
            os.environ[name] = str(value)


def _check_concurrency() -> None:
    """Refuse what gunicorn, which reads this variable itself, would answer with a traceback."""
    given = os.environ.get("WEB_CONCURRENCY")
    if given and not (given.isascii() and given.isdigit() and int(given) > 0):
        raise SetupError("WEB_CONCURRENCY must be a whole number from 1; correct it, or leave it out.")


def _stop_at_a_signal() -> threading.Event:
    """Return an event that SIGTERM, Ctrl-C and a closed terminal set."""
    stop = threading.Event()

    def note(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    for ends in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(ends, note)
    return stop


def _stop(children: list[subprocess.Popen[bytes]]) -> None:
    """Ask the processes to finish what they hold; make them, when they take too long."""
    for child in children:
        if child.poll() is None:
            child.terminate()
    for child in children:
        try:
            child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
