"""gunicorn's settings: `gunicorn --config python:crm_sync.web.server wsgi:app`, which is what `crm-sync web` runs.

Imported by gunicorn before its workers fork. It must not import the PostgreSQL driver, which would then wait in C and
stall every request of a gevent worker.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from crm_sync.settings import Settings

_settings = Settings.load(os.environ, cwd=Path.cwd())


def _processes() -> int:
    """Return one process per core on PostgreSQL. SQLite takes one writer at a time, so one process is the fastest."""
    if _settings.database_url.startswith("sqlite"):
        return 1
    return int(os.environ.get("WEB_CONCURRENCY") or os.cpu_count() or 1)


bind = f"{_settings.host}:{_settings.port}"
workers = _processes()
worker_class = "gevent"
worker_connections = 1000
# Under gevent this is also the deadline of a request's header, and 0 would mean none.
keepalive = 3
timeout = 30
graceful_timeout = 30
control_socket_disable = True
accesslog = None
proc_name = "crm-sync web"


def on_starting(server: Any) -> None:
    """Refuse to start when the settings or the schema are wrong. In a process of its own, for the driver's sake."""
    try:
        checked = subprocess.run([sys.executable, "-m", "crm_sync", "web", "--check"], check=False)
    except KeyboardInterrupt:
        sys.exit(130)
    if checked.returncode:
        sys.exit(checked.returncode)


def post_worker_init(worker: Any) -> None:
    """Tell Genesys Cloud where we are, in the background, while the service receives already."""
    from crm_sync import register
    from crm_sync.services import attached

    # gunicorn's own way out of a gevent worker at Ctrl-C prints a traceback; the master's SIGTERM ends it well.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGQUIT, worker.handle_exit)
    register.run_in_background(attached(worker.wsgi))


def worker_exit(server: Any, worker: Any) -> None:
    """Let the requests that wait for a commit be answered."""
    from crm_sync.services import attached

    if getattr(worker, "wsgi", None) is not None:
        attached(worker.wsgi).intake.close()
