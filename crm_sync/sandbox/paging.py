"""The two ways in which the real platform pages its lists: by cursors and by numbers. Clients follow `nextUri`."""

from collections.abc import Callable, Sequence
from typing import TypeVar
from urllib.parse import urlencode

from flask import request

from crm_sync.sandbox.problems import Problem
from crm_sync.sandbox.wire import JSONObject

MAX_CURSOR_PAGE = 200
MAX_NUMBERED_PAGE = 500

T = TypeVar("T")


def by_cursor(items: Sequence[T], key: Callable[[T], str], *, usual: int) -> tuple[list[T], JSONObject]:
    """Return the page that the request asks for with `after`, `before` and `pageSize`, and the links around it.

    A cursor is the key of an item, so items that come and go between two pages shift nothing.
    """
    size = _number("pageSize", usual, MAX_CURSOR_PAGE)
    after, before = request.args.get("after"), request.args.get("before")
    rest = [
        item
        for item in sorted(items, key=key)
        if (after is None or key(item) > after) and (before is None or key(item) < before)
    ]
    page = rest[:size] if before is None else rest[-size:]
    links = {"selfUri": _here()}
    if page and any(key(item) > key(page[-1]) for item in items):
        links["nextUri"] = _here(after=key(page[-1]), before=None)
    if page and any(key(item) < key(page[0]) for item in items):
        links["previousUri"] = _here(before=key(page[0]), after=None)
    return page, links


def by_number(items: Sequence[T], *, usual: int) -> tuple[list[T], JSONObject]:
    """Return the page that the request asks for with `pageNumber` and `pageSize`, and the counts and links around."""
    size, number = _number("pageSize", usual, MAX_NUMBERED_PAGE), _number("pageNumber", 1)
    pages = max(1, -(-len(items) // size))
    around: JSONObject = {"pageSize": size, "pageNumber": number, "total": len(items), "pageCount": pages}
    around |= {"selfUri": _here(pageNumber=number), "firstUri": _here(pageNumber=1), "lastUri": _here(pageNumber=pages)}
    if number < pages:
        around["nextUri"] = _here(pageNumber=number + 1)
    if number > 1:
        around["previousUri"] = _here(pageNumber=number - 1)
    return list(items[(number - 1) * size : number * size]), around


def asked_ids(name: str = "id") -> list[str]:
    """Return the ids of a query such as `id=a,b`; official clients join them, others repeat the name."""
    return [part for given in request.args.getlist(name) for part in given.split(",") if part]


def _number(name: str, usual: int, most: int | None = None) -> int:
    given = request.args.get(name, str(usual))
    if not given.isascii() or not given.isdigit() or int(given[:9]) < 1 or (most is not None and int(given[:9]) > most):
        reason = f"The {name} must be at least 1" + ("." if most is None else f" and at most {most}.")
        raise Problem(400, reason, code="invalid.value", params={"field": name})
    return int(given[:9])


def _here(**changes: str | int | None) -> str:
    kept = request.args.to_dict() | {name: str(value) for name, value in changes.items() if value is not None}
    query = {name: value for name, value in kept.items() if name not in changes or changes[name] is not None}
    return f"{request.path}?{urlencode(query)}" if query else request.path
