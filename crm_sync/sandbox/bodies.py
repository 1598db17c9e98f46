"""The bodies of requests, read or refused in the pretend Genesys Cloud's own words."""

from collections.abc import Callable
from typing import Any, TypeVar

from flask import request
from pydantic import ValidationError

from crm_sync.sandbox.faults import Order
from crm_sync.sandbox.problems import Problem
from crm_sync.sandbox.wire import JSONObject, MalformedBody, read_object, read_value

T = TypeVar("T", bound=Order)
V = TypeVar("V")


def json_body() -> JSONObject:
    """Return the JSON object that was sent; raises Problem 415 or 400."""
    return _read(read_object)


def json_value() -> Any:
    """Return the JSON value that was sent, of whatever kind; raises Problem 415 or 400."""
    return _read(read_value)


def order_body(shape: type[T]) -> T:
    """Return what is asked of the control API; an empty body asks for the defaults. Raises Problem 400."""
    try:
        return shape.model_validate_json(request.get_data() or b"{}")
    except ValidationError as error:
        faults = (f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise Problem(400, "; ".join(faults)) from None


def at(value: Any, *names: str) -> Any:
    """Return what lies at a path of names, or None."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _read(reader: Callable[[bytes], V]) -> V:
    if not request.is_json:
        raise Problem(415, "The body must be application/json.")
    try:
        return reader(request.get_data())
    except MalformedBody as error:
        raise Problem(400, str(error)) from None
