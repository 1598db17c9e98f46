"""Conversations of a window from analytics, page by page: by the details query, a details job, or the tutorial's way.

Each page is fetched by a cursor that can be kept, so that whoever dies between two pages goes on with the next.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeAlias
from urllib.parse import quote

from crm_sync import clock
from crm_sync.closure import JSON
from crm_sync.errors import AdapterFailure, Fault, Kind, failure
from crm_sync.genesys.client import GenesysClient, not_understood

Method: TypeAlias = Literal["query", "job", "tutorial"]

JOB_LOST = "job_lost"
"""The code of the fault that a job has which will never have results."""

PATIENCE_SECONDS = 180.0
"""How long a page waits for its turn: nobody is kept waiting by it."""

_DETAILS = "/api/v2/analytics/conversations/details"
_JOBS = f"{_DETAILS}/jobs"
_PAGE_SECONDS = 60.0
_ENDED: JSON = {"type": "dimension", "dimension": "conversationEnd", "operator": "exists"}
_MALFORMED = "make page_size or longest_interval_days in [reconcile] smaller"


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The instants from `since` on and before `until`."""

    since: datetime
    until: datetime

    def as_interval(self) -> str:
        """Return the window as the platform writes it."""
        return f"{clock.to_text(self.since)}/{clock.to_text(self.until)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some conversations as analytics told them, and the cursor of the next page; None after the last one."""

    records: list[JSON]
    next_cursor: str | None


def first_day(window: Window, longest_life: timedelta) -> Window:
    """Return the window widened to all days (UTC) on which a conversation that ended in it may have started.

    The query finds only those that started on a day which its interval touches.
    """
    since = (window.since - longest_life).astimezone(UTC)
    return Window(since=since.replace(hour=0, minute=0, second=0, microsecond=0), until=window.until)


def query_page(client: GenesysClient, window: Window, *, cursor: str | None, page_size: int) -> Page:
    """Return a page of the details query. Its cursor is the number of the page.

    The key `conversations` is missing after the last page, and that ends it, not the total, which moves.
    """
    number = int(cursor or 1)
    body: JSON = {
        "interval": window.as_interval(),
        "order": "asc",
        "orderBy": "conversationStart",
        "paging": {"pageSize": page_size, "pageNumber": number},
        "conversationFilters": [{"type": "and", "predicates": [_ENDED]}],
    }
    answer = _ask(client, "POST", f"{_DETAILS}/query", body)
    records = _listed(answer, "conversations", "the details query")
    return Page(records=records, next_cursor=str(number + 1) if records else None)


def tutorial_page(client: GenesysClient, window: Window, *, cursor: str | None, page_size: int) -> Page:
    """Return a page by the tutorial's contract. Its cursor is the `nextPageToken`."""
    body: dict[str, JSON] = {
        "dateFrom": clock.to_text(window.since),
        "dateTo": clock.to_text(window.until),
        "select": ["conversationId", "startTime", "endTime", "resolutionStatus", "duration"],
        "pageSize": page_size,
    }
    answer = _ask(client, "POST", f"{_DETAILS}/query", body | ({"nextPageToken": cursor} if cursor else {}))
    token = answer.get("nextPageToken")
    return Page(
        records=_listed(answer, "data", "the details query"),
        next_cursor=token if isinstance(token, str) and token else None,
    )


def walk(
    client: GenesysClient, window: Window, *, longest_interval: timedelta, longest_life: timedelta, page_size: int
) -> Iterator[list[JSON]]:
    """Yield pages of the conversations that may have ended in a window. One may come twice, and others with them."""
    is_tutorial = client.dialect == "tutorial"
    fetch = tutorial_page if is_tutorial else query_page
    for part in split(window if is_tutorial else first_day(window, longest_life), longest_interval):
        page = fetch(client, part, cursor=None, page_size=page_size)
        yield page.records
        while page.next_cursor is not None:
            page = fetch(client, part, cursor=page.next_cursor, page_size=page_size)
            yield page.records


def available_until(client: GenesysClient) -> datetime:
    """Return the instant before which jobs are certain to find everything."""
    answer = _ask(client, "GET", f"{_JOBS}/availability", None)
    try:
        found = datetime.fromisoformat(str(answer.get("dataAvailabilityDate")))
    except ValueError:
        raise not_understood("how far its jobs reach") from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def submit_job(client: GenesysClient, window: Window) -> str:
    """Ask for a job over a window, and return its id."""
    answer = _ask(client, "POST", _JOBS, {"interval": window.as_interval(), "order": "asc"})
    job_id = answer.get("jobId")
    if not isinstance(job_id, str) or not job_id:
        raise not_understood("the request for a job")
    return job_id


def is_job_done(client: GenesysClient, job_id: str) -> bool:
    """Tell whether a job's results can be fetched; raises CONFLICT for one that will never have any."""
    answer = _ask_job(client, job_id)
    match answer.get("state"):
        case "FULFILLED":
            return True
        case "QUEUED" | "PENDING":
            return False
    raise _job_lost()


def job_page(client: GenesysClient, job_id: str, *, cursor: str | None, page_size: int) -> Page:
    """Return a page of a job's results, by the cursor that the page before has told; raises as `is_job_done`."""
    params = {"pageSize": str(page_size)} | ({"cursor": cursor} if cursor else {})
    answer = _ask_job(client, job_id, "/results", params)
    following = answer.get("cursor")
    return Page(
        records=_listed(answer, "conversations", "the results of a job"),
        next_cursor=following if isinstance(following, str) and following else None,
    )


def some(client: GenesysClient, conversation_ids: list[str]) -> list[JSON]:
    """Return what analytics knows of these conversations, in one call."""
    params = {"id": ",".join(conversation_ids)}
    return _listed(_ask(client, "GET", _DETAILS, None, params), "conversations", "the details of conversations")


def split(window: Window, longest: timedelta) -> Iterator[Window]:
    """Return the window in parts that are no longer than Genesys Cloud allows."""
    since = window.since
    while since < window.until:
        until = min(since + longest, window.until)
        yield Window(since=since, until=until)
        since = until


def _ask_job(
    client: GenesysClient, job_id: str, what: str = "", params: Mapping[str, str] | None = None
) -> dict[str, JSON]:
    try:
        return _ask(client, "GET", f"{_JOBS}/{quote(job_id, safe='')}{what}", None, params)
    except AdapterFailure as error:
        if error.fault.code not in ("http_404", "http_410"):
            raise
    raise _job_lost()


def _job_lost() -> AdapterFailure:
    message = "Genesys Cloud gave up the job of this reconciliation: it is asked for again."
    return failure(Fault(kind=Kind.CONFLICT, code=JOB_LOST, message=message))


def _ask(
    client: GenesysClient, method: str, path: str, body: JSON, params: Mapping[str, str] | None = None
) -> dict[str, JSON]:
    response = client.request(
        method,
        path,
        json=body,
        params=params,
        timeout_seconds=_PAGE_SECONDS,
        patience_seconds=PATIENCE_SECONDS,
        is_repeatable=True,
        malformed=_MALFORMED,
    )
    answer = response.json()
    if not isinstance(answer, dict):
        raise not_understood("a question of analytics")
    return answer


def _listed(answer: Mapping[str, JSON], name: str, what: str) -> list[JSON]:
    found = answer.get(name)
    if found is not None and not isinstance(found, list):
        raise not_understood(what)
    return found or []
