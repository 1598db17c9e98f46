"""Faults on demand: a queue of what shall go wrong next, and the means to delay an answer or to lose it."""

import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

STOPPING = "crm_sync.sandbox.stopping"
"""Where the WSGI environment holds the event that is set when the server stops."""


class Order(BaseModel):
    """What somebody asks of the control API: unknown keys are refused, since a misspelt one would do nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_by_name=True)


class FaultOrder(Order):
    """A fault that happens the next `times` times, or until it is cleared when `times` is null.

    With `every` it spares what it fits, but for every so manieth.
    """

    times: Annotated[int, Field(ge=1)] | None = 1
    every: Annotated[int, Field(ge=1)] = 1


F = TypeVar("F", bound=FaultOrder)


@dataclass(slots=True, eq=False)
class _Waiting(Generic[F]):
    fault: F
    fitted: int = 0


class Faults(Generic[F]):
    """The faults that wait for their turn: the oldest that fits comes first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[_Waiting[F]] = []

    def add(self, fault: F) -> None:
        with self._lock:
            self._waiting.append(_Waiting(fault))

    def take(self, fits: Callable[[F], bool]) -> F | None:
        """Return the oldest fault that fits and whose turn it is, and count it as having happened once."""
        with self._lock:
            for waiting in self._waiting:
                if not fits(waiting.fault):
                    continue
                waiting.fitted += 1
                if waiting.fitted % waiting.fault.every == 0:
                    return self._happen(waiting)
        return None

    def clear(self) -> None:
        with self._lock:
            self._waiting.clear()

    def waiting(self) -> list[dict[str, Any]]:
        """Return what has not happened yet, with the `times` that are left."""
        with self._lock:
            return [waiting.fault.model_dump() for waiting in self._waiting]

    def _happen(self, waiting: _Waiting[F]) -> F:
        fault = waiting.fault
        if fault.times == 1:
            self._waiting.remove(waiting)
        elif fault.times is not None:
            waiting.fault = fault.model_copy(update={"times": fault.times - 1})
        return fault


def pause(environ: Mapping[str, Any], seconds: float) -> None:
    """Wait, but no longer than the server lives."""
    stopping: threading.Event = environ.get(STOPPING) or threading.Event()
    stopping.wait(seconds)


def cut(environ: Mapping[str, Any]) -> None:
    """Close the connection under the answer, so that the client never learns what became of its request."""
    connection: socket.socket = environ["werkzeug.socket"]
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
