"""The jobs of the platform's analytics: asked for now, done after a while, read page by page, attributes included."""

import base64
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from crm_sync import clock
from crm_sync.sandbox.analytics_records import record_of
from crm_sync.sandbox.platform_conversations import PlatformConversation
from crm_sync.sandbox.platform_queries import PlatformOptions, Queries
from crm_sync.sandbox.problems import Problem
from crm_sync.sandbox.wire import JSONObject

KEPT = timedelta(days=7)


@dataclass(slots=True, kw_only=True)
class Job:
    """What a job found when it was asked for, and how often somebody has asked for its state since."""

    id: str
    submitted_at: datetime
    available_until: datetime
    found: tuple[PlatformConversation, ...]
    polls: int = 0


class Jobs:
    """All jobs until they are deleted."""

    def __init__(self, queries: Queries, options: PlatformOptions, *, now: Callable[[], datetime]) -> None:
        self._queries = queries
        self._options = options
        self._now = now
        self._lock = threading.Lock()
        self._by_id: dict[str, Job] = {}

    def available_until(self) -> datetime:
        """Return the instant up to which all data are there."""
        return self._now() - self._options.data_lag

    def submit(self, body: JSONObject) -> Job:
        """Find what has activity in the interval and had ended when the data end; raises Problem 400."""
        if body.get("paging") is not None:
            raise Problem(400, "A job takes no paging.", code="invalid.value", params={"field": "paging"})
        limit = body.get("limit")
        if limit is not None and (not isinstance(limit, int) or limit < 1):
            raise Problem(400, "The limit must be 1 or more.", code="invalid.value", params={"field": "limit"})
        until = self.available_until()
        found = self._queries.select(body, by_activity=not body.get("startOfDayIntervalMatching"))
        known = [one.conversation for one in found if (one.ended_at or one.started_at) <= until]
        job = Job(id=str(uuid.uuid4()), submitted_at=self._now(), available_until=until, found=tuple(known[:limit]))
        with self._lock:
            self._by_id[job.id] = job
        return job

    def poll(self, job_id: str) -> JSONObject:
        """Return the state of a job, which is never done at the first time unless the options say so."""
        with self._lock:
            job = self._known(job_id)
            job.polls += 1
        is_done = self._is_done(job)
        state = "FULFILLED" if is_done else "QUEUED" if job.polls == 1 else "PENDING"
        return {
            "state": state,
            "submissionDate": clock.to_text(job.submitted_at),
            "expirationDate": clock.to_text(job.submitted_at + KEPT),
        } | ({"completionDate": clock.to_text(self._now())} if is_done else {})

    def results(self, job_id: str, *, size: int, cursor: str | None) -> JSONObject:
        """Return a page of records with attributes; the last has no cursor. Raises Problem 400 before it is done."""
        with self._lock:
            job = self._known(job_id)
        if not self._is_done(job):
            raise Problem(400, "The job is not done.")
        start = _read_cursor(cursor, job_id)
        page, end = job.found[start : start + size], start + size
        answer: JSONObject = {"conversations": [record_of(one, with_attributes=True) for one in page]} if page else {}
        if end < len(job.found):
            answer["cursor"] = base64.urlsafe_b64encode(f"{job_id}/{end}".encode()).decode()
        return answer | {"dataAvailabilityDate": clock.to_text(job.available_until)}

    def remove(self, job_id: str) -> None:
        with self._lock:
            del self._by_id[self._known(job_id).id]

    def _is_done(self, job: Job) -> bool:
        return job.polls > self._options.job_polls

    def _known(self, job_id: str) -> Job:
        if job_id not in self._by_id:
            raise Problem(404, "There is no such job.")
        return self._by_id[job_id]


def _read_cursor(cursor: str | None, job_id: str) -> int:
    if not cursor:
        return 0
    try:
        owner, _, start = base64.urlsafe_b64decode(cursor).decode().rpartition("/")
        if owner == job_id:
            return int(start)
    except ValueError:
        pass
    raise Problem(400, "The cursor is not one of this job.", code="invalid.value", params={"field": "cursor"})
