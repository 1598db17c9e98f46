"""Who may call a view: a bearer token with the role that the view declares, asked of the database each time."""

import re
from collections.abc import Callable
from functools import wraps
from typing import Literal, ParamSpec, TypeAlias, TypeVar

from flask import request

from crm_sync import services
from crm_sync.errors import Forbidden, NotAuthentic
from crm_sync.store import tokens

Role: TypeAlias = Literal["reader", "operator"]

Parameters = ParamSpec("Parameters")
Answer = TypeVar("Answer")

_RANKS: dict[str, int] = {"reader": 1, "operator": 2}
_BEARER = re.compile(rf"bearer +({re.escape(tokens.PREFIX)}[A-Za-z0-9_-]{{43}})", re.IGNORECASE)


def require(role: Role) -> Callable[[Callable[Parameters, Answer]], Callable[Parameters, Answer]]:
    """Let only a caller of this role, or a higher one, reach the view: 401 without a valid token, else 403."""

    def decorate(view: Callable[Parameters, Answer]) -> Callable[Parameters, Answer]:
        @wraps(view)
        def guarded(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Answer:
            if _RANKS[_role_of_caller()] < _RANKS[role]:
                raise Forbidden(f"This needs a token with the role {role}.")
            return view(*args, **kwargs)

        return guarded

    return decorate


def _role_of_caller() -> str:
    given = _BEARER.fullmatch(request.headers.get("Authorization", ""))
    role = None if given is None else _look_up(given[1])
    if role is None:
        raise NotAuthentic("This needs a valid token: send it as Authorization: Bearer, or ask an admin for one.")
    return role


def _look_up(token: str) -> str | None:
    database = services.current().database

    def find() -> str | None:
        with database.read() as connection:
            return tokens.find(connection, token)

    return database.run(find)
