"""The details query of the platform: which conversations fit, in which order, and one page of them."""

import threading
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import TypeGuard

from crm_sync import clock
from crm_sync.sandbox.analytics_records import record_of
from crm_sync.sandbox.platform_filters import read_filters
from crm_sync.sandbox.platform_store import Placed, PlatformStore
from crm_sync.sandbox.problems import Problem
from crm_sync.sandbox.wire import JSONObject, compact, read_instant

USUAL_PAGE_SIZE = 25

_ENDS = ("conversationEnd", "segmentEnd")
_ORDERS = ("conversationStart", "segmentStart", *_ENDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformOptions:
    """The limits of the platform's analytics; none of them is certain, so each can be set.

    A job is done after it was asked for `job_polls` times, and knows what ended `data_lag` ago and earlier.
    """

    max_page_size: int = 100
    longest_interval: timedelta = timedelta(days=31)
    ids_at_once: int = 50
    job_polls: int = 2
    max_job_page_size: int = 1000
    data_lag: timedelta = timedelta()


class Queries:
    """Answers queries. What fits the newest one is remembered, so that its pages are cut and not searched again."""

    def __init__(self, store: PlatformStore, options: PlatformOptions) -> None:
        self._store = store
        self._options = options
        self._lock = threading.Lock()
        self._newest: tuple[tuple[int, bytes], list[Placed]] | None = None

    def answer(self, body: JSONObject) -> JSONObject:
        """Return a page of records without attributes; raises Problem 400.

        Without a match, and after the last page, `conversations` is absent, as on the platform. Pages shift when
        conversations arrive between two of them.
        """
        size, number = self._paging(body)
        found = self._found({name: value for name, value in body.items() if name != "paging"})
        page = found[(number - 1) * size : number * size]
        records = [record_of(placed.conversation) for placed in page]
        return ({"conversations": records} if records else {}) | {"totalHits": len(found)}

    def select(self, body: JSONObject, *, by_activity: bool) -> list[Placed]:
        """Return what fits a query, in its order; raises Problem 400.

        By activity, that is all that lasted within the interval; otherwise only what also began on one of its days.
        """
        first, last = self._interval(body)
        fits, by_end, descending = read_filters(body), _orders_by_end(body), _descends(body)
        earliest = clock.EPOCH if by_activity else datetime.combine(first.date(), time(), UTC)
        known = self._store.began_between(earliest, last)
        found = [placed for placed in known if placed.touches(first, last) and fits(placed)]
        if by_end:
            found.sort(key=lambda placed: placed.ended_at or last)
        if descending:
            found.reverse()
        return found

    def _found(self, body: JSONObject) -> list[Placed]:
        key = (self._store.version, compact(body))
        with self._lock:
            if self._newest is not None and self._newest[0] == key:
                return self._newest[1]
        found = self.select(body, by_activity=False)
        with self._lock:
            self._newest = key, found
        return found

    def _interval(self, body: JSONObject) -> tuple[datetime, datetime]:
        text = body.get("interval")
        first, last = map(read_instant, text.split("/", 1)) if isinstance(text, str) and "/" in text else (None, None)
        if first is None or last is None or first >= last:
            raise Problem(400, "The interval must be two instants, the earlier one first.", code="invalid.date")
        if last - first > self._options.longest_interval:
            longest = self._options.longest_interval.days
            raise Problem(400, f"The interval must not be longer than {longest} days.", code="invalid.date")
        return first, last

    def _paging(self, body: JSONObject) -> tuple[int, int]:
        paging = body.get("paging")
        if paging is None:
            return USUAL_PAGE_SIZE, 1
        size, number = (paging.get("pageSize"), paging.get("pageNumber")) if isinstance(paging, dict) else (None, None)
        most = self._options.max_page_size
        if not (_is_count(size) and size <= most and _is_count(number)):
            reason = f"The paging needs a pageSize of 1 to {most} and a pageNumber of 1 or more."
            raise Problem(400, reason, code="invalid.value", params={"field": "paging"})
        return size, number


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _orders_by_end(body: JSONObject) -> bool:
    order_by = body.get("orderBy", "conversationStart")
    if order_by not in _ORDERS:
        raise Problem(400, f"The field orderBy must be one of {', '.join(_ORDERS)}.", code="invalid.value")
    return order_by in _ENDS


def _descends(body: JSONObject) -> bool:
    order = body.get("order", "asc")
    if order not in ("asc", "desc", "unordered"):
        raise Problem(400, "The field order must be asc, desc or unordered.", code="invalid.value")
    return bool(order == "desc")
