"""What adapters do alike with values: text that every system takes, JSON as bytes, and options checked by a model."""

import json
from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from crm_sync.closure import JSON
from crm_sync.errors import SettingsError

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class Options(BaseModel):
    """The base of an adapter's own settings: unknown ones are refused, and no fault quotes a value."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


OptionsT = TypeVar("OptionsT", bound=Options)


def parse(model: type[OptionsT], options: Mapping[str, JSON]) -> OptionsT:
    """Return the checked options; raises SettingsError that names every fault as `name is ...`."""
    try:
        return model.model_validate(dict(options))
    except ValidationError as error:
        known = ", ".join(sorted(model.model_fields))
        faults = [_sentence(fault["loc"], fault["type"], fault["msg"], known) for fault in error.errors()]
    raise SettingsError(faults)


def clean(value: JSON) -> JSON:
    """Return the value with NUL and lone surrogates in its texts replaced by U+FFFD: most systems keep neither."""
    match value:
        case str():
            return value.replace("\0", REPLACEMENT).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        case list():
            return [clean(member) for member in value]
        case dict():
            return {str(clean(name)): clean(member) for name, member in value.items()}
    return value


def clean_record(fields: Mapping[str, JSON]) -> dict[str, JSON]:
    """Return the fields with every text cleaned."""
    return {str(clean(name)): clean(value) for name, value in fields.items()}


def to_json(value: Mapping[str, JSON]) -> str:
    """Return compact JSON on one line, in the order of the mapping."""
    return json.dumps(dict(value), separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _sentence(place: tuple[int | str, ...], kind: str, message: str, known: str) -> str:
    name = ".".join(str(part) for part in place) or "the table"
    if kind == "missing":
        return f"{name} is missing"
    if kind == "extra_forbidden":
        return f"{name} is no setting of this adapter; it knows {known}"
    if kind == "value_error":
        return f"{name} {message.removeprefix('Value error, ')}"
    return f"{name} is not usable: {message[:1].lower()}{message[1:]}"
