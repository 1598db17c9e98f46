"""What the lanes of one process push at the same time: anything, but for what may bring the process down with it.

When a process dies, everything that it was pushing has lost a lease, and becomes due again at one moment: pushed side
by side once more, the innocent would die with the culprit each time.
"""

from threading import Condition

from crm_sync import clock


class Room:
    """Lanes come and go; one of them may ask the others to leave, and to stay outside until it has left, too."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._inside: set[int] = set()
        self._alone: int | None = None

    def enter(self, lane: object, seconds: float) -> bool:
        """Go in, and tell whether that was possible in so many seconds: not while another is, or asks to be, alone."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._alone is None, seconds):
                return False
            self._inside.add(id(lane))
            return True

    def is_asked_to_leave(self, lane: object) -> bool:
        """Tell whether another lane waits to be alone."""
        return self._alone not in (None, id(lane))

    def be_alone(self, lane: object, seconds: float) -> bool:
        """Wait until nobody else is inside, and tell whether it came to that in so many seconds; if not, go out."""
        ends_at = clock.monotonic() + seconds
        with self._changed:
            self._inside.discard(id(lane))
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: self._alone is None, seconds):
                return False
            self._alone = id(lane)
            if self._changed.wait_for(lambda: not self._inside, max(0.0, ends_at - clock.monotonic())):
                return True
            self._alone = None
            self._changed.notify_all()
            return False

    def leave(self, lane: object) -> None:
        """Go out; harmless when repeated, and may be said for a lane that hangs."""
        with self._changed:
            self._inside.discard(id(lane))
            if self._alone == id(lane):
                self._alone = None
            self._changed.notify_all()
