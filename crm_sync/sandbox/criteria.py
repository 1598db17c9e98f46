"""The match criteria of triggers: what one may look like, and whether an event meets it."""

import re
from collections.abc import Callable
from typing import Any

from crm_sync.sandbox.problems import bad_field
from crm_sync.sandbox.wire import JSONObject

MISSING = object()
"""What `extract` returns where the event has no such field."""

_PATH = re.compile(r"(\$\.)?[\w-]+(\.[\w-]+)*")
_WITH_VALUES = ("All", "In", "NotIn")
_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "Equal": lambda found, given: _same(found, given),
    "NotEqual": lambda found, given: not _same(found, given),
    "GreaterThan": lambda found, given: _comparable(found, given) and found > given,
    "GreaterThanOrEqual": lambda found, given: _comparable(found, given) and found >= given,
    "LessThan": lambda found, given: _comparable(found, given) and found < given,
    "LessThanOrEqual": lambda found, given: _comparable(found, given) and found <= given,
    "In": lambda found, given: any(_same(found, one) for one in given),
    "NotIn": lambda found, given: not any(_same(found, one) for one in given),
    "Contains": lambda found, given: _contains(found, given),
    "All": lambda found, given: all(_contains(found, one) for one in given),
    "Size": lambda found, given: isinstance(found, str | list) and len(found) == given,
    "Exists": lambda found, given: bool(given),
}


def check(criterion: Any) -> None:
    """Raise Problem 400 for a criterion that the platform would not take."""
    if not isinstance(criterion, dict):
        raise bad_field("matchCriteria", "must be a list of objects")
    path, operator = criterion.get("jsonPath"), criterion.get("operator")
    if not isinstance(path, str) or not _PATH.fullmatch(path):
        raise bad_field("matchCriteria", "must have a jsonPath of names, as in disconnectType or $.attributes.order")
    if not isinstance(operator, str) or operator not in _TESTS:
        raise bad_field("matchCriteria", f"must have an operator, one of {', '.join(_TESTS)}")
    value, values = criterion.get("value"), criterion.get("values")
    if (value is None) == (values is None):
        raise bad_field("matchCriteria", "must have one of value and values")
    if (operator in _WITH_VALUES) != isinstance(values, list):
        raise bad_field("matchCriteria", f"must have a list of values with {', '.join(_WITH_VALUES)}, and else a value")


def holds(criterion: JSONObject, event: JSONObject, *, missing_differs: bool) -> bool:
    """Tell whether an event meets a criterion.

    A field that the event lacks meets only `Exists` with false and, where `missing_differs`, `NotIn` and `NotEqual`.
    """
    found, operator = extract(criterion["jsonPath"], event), criterion["operator"]
    given = criterion.get("values") if operator in _WITH_VALUES else criterion.get("value")
    if found is not MISSING:
        return _TESTS[operator](found, given)
    if operator == "Exists":
        return not given
    return missing_differs and operator in ("NotIn", "NotEqual")


def extract(path: str, event: JSONObject) -> Any:
    """Return the value at a path of names, or MISSING."""
    found: Any = event
    for name in path.removeprefix("$.").split("."):
        if not isinstance(found, dict) or name not in found:
            return MISSING
        found = found[name]
    return found


def _same(found: Any, given: Any) -> bool:
    # In JSON true is not 1, in Python it is.
    return isinstance(found, bool) == isinstance(given, bool) and bool(found == given)


def _comparable(found: Any, given: Any) -> bool:
    numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in (found, given))
    return numbers or (isinstance(found, str) and isinstance(given, str))


def _contains(found: Any, given: Any) -> bool:
    if isinstance(found, str):
        return isinstance(given, str) and given in found
    return isinstance(found, list) and any(_same(one, given) for one in found)
