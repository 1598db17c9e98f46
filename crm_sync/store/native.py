"""Native threads for SQLite under gevent: its C code never yields, so on the hub it would stall every request.

Each thread has an engine of its own. A lock that gevent has patched can miss a waiter in another native thread, and
an engine is full of locks; what belongs to one thread alone has nobody to wait for.
"""

from collections.abc import Callable
from typing import TypeVar

from gevent.monkey import get_original
from gevent.threadpool import ThreadPool
from sqlalchemy import Engine

THREADS = 4

Result = TypeVar("Result")


class NativeThreads:
    """A few native threads; greenlets wait for their results while others run."""

    def __init__(self, make_engine: Callable[[], Engine]) -> None:
        self._make_engine = make_engine
        self._pool = ThreadPool(THREADS)
        self._thread_id: Callable[[], int] = get_original("_thread", "get_ident")
        self._hub_thread = self._thread_id()
        self._engines: dict[int, Engine] = {}

    def run(self, work: Callable[[], Result]) -> Result:
        """Do the work in one of the threads and return its result, or raise what it raises."""

        def caught() -> tuple[list[Result], BaseException | None]:
            # gevent prints what a thread raises, with everything in it, before it passes it on.
            try:
                return [work()], None
            except BaseException as error:
                return [], error

        results: list[Result]
        results, error = self._pool.apply(caught)
        if error is not None:
            raise error
        return results[0]

    def engine(self) -> Engine | None:
        """Return the engine of the thread that asks; None on the hub's own."""
        here = self._thread_id()
        if here == self._hub_thread:
            return None
        if here not in self._engines:
            self._engines[here] = self._make_engine()
        return self._engines[here]

    def close(self) -> None:
        """Wait for the work under way, end the threads, and close their connections."""
        self._pool.kill()
        for engine in self._engines.values():
            engine.dispose()
