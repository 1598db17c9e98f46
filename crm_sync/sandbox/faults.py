"""Faults on demand: a queue of what shall go wrong next, and the means to delay an answer or to lose it."""

import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

STOPPING = "crm_sync.sandbox.stopping"
"""Where the WSGI environment holds the event that is set when the server stops."""


class Order(BaseModel):
    """What somebody asks of the control API: unknown keys are refused, since a misspelt one would do nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_by_name=True)


class FaultOrder(Order):
    """A fault that happens the next `times` times, or until it is cleared when `times` is null."""

    times: Annotated[int, Field(ge=1)] | None = 1


F = TypeVar("F", bound=FaultOrder)


class Faults(Generic[F]):
    """The faults that wait for their turn: the oldest that fits comes first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[F] = []

    def add(self, fault: F) -> None:
        with self._lock:
            self._waiting.append(fault)

    def take(self, fits: Callable[[F], bool]) -> F | None:
        """Return the oldest fault that fits, and count it as having happened once."""
        with self._lock:
            for place, fault in enumerate(self._waiting):
                if fits(fault):
                    self._count(place, fault)
                    return fault
        return None

    def clear(self) -> None:
        with self._lock:
            self._waiting.clear()

    def waiting(self) -> list[dict[str, Any]]:
        """Return what has not happened yet, with the `times` that are left."""
        with self._lock:
            return [fault.model_dump() for fault in self._waiting]

    def _count(self, place: int, fault: F) -> None:
        if fault.times is None:
            return
        if fault.times == 1:
            del self._waiting[place]
        else:
            self._waiting[place] = fault.model_copy(update={"times": fault.times - 1})


def pause(environ: Mapping[str, Any], seconds: float) -> None:
    """Wait, but no longer than the server lives."""
    stopping: threading.Event = environ.get(STOPPING) or threading.Event()
    stopping.wait(seconds)


def cut(environ: Mapping[str, Any]) -> None:
    """Close the connection under the answer, so that the client never learns what became of its request."""
    connection: socket.socket = environ["werkzeug.socket"]
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
