"""Where settings come from: the environment first, then crm-sync.toml; every value keeps the name of its source."""

import difflib
import math
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Place: TypeAlias = tuple[int | str, ...]
"""The way to a value through tables and lists, as in `("sessions", "max_turns")`."""

ENVIRONMENT: Mapping[str, Place] = {
    "DATABASE_URL": ("database_url",),
    "GENESYS_CLIENT_ID": ("genesys", "client_id"),
    "GENESYS_CLIENT_SECRET": ("genesys", "client_secret"),
    "GENESYS_REGION": ("genesys", "region"),
    "GENESYS_API_URL": ("genesys", "api_url"),
    "GENESYS_LOGIN_URL": ("genesys", "login_url"),
    "GENESYS_REGISTRATION": ("genesys", "registration"),
    "GENESYS_WORKFLOW_ID": ("genesys", "triggers", "workflow_id"),
    "PUBLIC_URL": ("public_url",),
    "WEBHOOK_SECRETS": ("webhook_secrets",),
    "LOG_FORMAT": ("log_format",),
    "HOST": ("host",),
    "PORT": ("port",),
}
SECRETS = ("DATABASE_URL", "GENESYS_CLIENT_SECRET", "WEBHOOK_SECRETS")
"""What may hold a secret, and so may also be named as a file, `NAME_FILE`."""

NAME_RULE = "use up to 63 of a-z, 0-9, _ and -, with a letter or a digit first"
"""What a target may be called, in words."""

_CORE_KEYS = ("adapter", "batch", "burst", "concurrency", "fields", "rate", "when")
_TARGET_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_REFERENCE = re.compile(r"\$\{([^}]*)\}?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(slots=True, kw_only=True)
class Sources:
    """What the sources said, before any of it is checked, and every fault met while reading them."""

    values: dict[str, Any] = field(repr=False)
    file_name: str
    folder: Path
    file_was_read: bool
    environment: dict[Place, str] = field(default_factory=dict)
    unread: set[Place] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)

    def get(self, *place: int | str) -> Any:
        """Return what stands at this place, or None."""
        value: Any = self.values
        for part in place:
            value = value.get(part) if isinstance(value, dict) else None
        return value

    def has(self, *place: int | str) -> bool:
        """Whether somebody gave a value here, be it one that could not be read."""
        return place in self.unread or self.get(*place) not in (None, "", [])

    def where(self, place: Place) -> str:
        """Return in words where the value at this place came from."""
        for length in range(len(place), 0, -1):
            if place[:length] in self.environment:
                return f"environment {self.environment[place[:length]]}"
        names = [part for part in place if isinstance(part, str)]
        items = "".join(f", item {part + 1}" for part in place if isinstance(part, int))
        if isinstance(self.get(*names), dict):
            return f"{self.file_name} [{'.'.join(names)}]{items}"
        table = f"[{'.'.join(names[:-1])}]" if names[1:] else ""
        within, after = (items, "") if isinstance(place[-1], str) else ("", items)
        return f"{self.file_name} {table}{within} {names[-1]}{after}".replace("  ", " ")


def read(environ: Mapping[str, str], *, cwd: Path) -> Sources:
    """Return what the environment and the settings file say; an empty variable counts as one that is not set."""
    cwd = cwd.absolute()
    sources = _read_file(environ.get("CRM_SYNC_CONFIG", ""), cwd)

    def variable(name: str) -> str | None:
        return _secret(environ, name, cwd)

    _expand_targets(sources, variable)
    _expand_clients(sources, variable)
    for name, place in ENVIRONMENT.items():
        try:
            value = variable(name) if name in SECRETS else environ.get(name) or None
        except ValueError as fault:
            sources.faults.append(f"environment {fault}.")
            sources.unread.add(place)
            continue
        if value is not None:
            given_as = name if environ.get(name) else f"{name}_FILE"
            _overrule(sources, place, int(value) if name == "PORT" and _is_digits(value) else value, given_as)
    _locate_sqlite(sources, cwd)
    return sources


def contradictions(sources: Sources) -> Iterator[str]:
    """Tell what is missing beside what is given, from the raw values: a fault elsewhere must not hide these."""
    has_id, has_secret = sources.has("genesys", "client_id"), sources.has("genesys", "client_secret")
    registration = sources.get("genesys", "registration")
    if has_id != has_secret:
        given, missing = ("client_id", "GENESYS_CLIENT_SECRET") if has_id else ("client_secret", "GENESYS_CLIENT_ID")
        yield f"{sources.where(('genesys', given))} is set without {missing}; set both or neither."
    if registration in ("webhook", "trigger") and not (has_id or has_secret):
        yield (
            f"{sources.where(('genesys', 'registration'))} is {registration}, which needs credentials; set "
            "GENESYS_CLIENT_ID and GENESYS_CLIENT_SECRET, or GENESYS_REGISTRATION=none."
        )
    if registration == "trigger" and not any(
        sources.has("genesys", "triggers", k) for k in ("workflow_id", "workflows")
    ):
        yield (
            f"{sources.where(('genesys', 'registration'))} is trigger, which needs a workflow to start; set "
            "GENESYS_WORKFLOW_ID, or workflow_id in [genesys.triggers]."
        )
    if registration == "webhook" or (registration is None and has_id and has_secret):
        for key in ("public_url", "webhook_secrets"):
            if not sources.has(key):
                yield (
                    f"{key.upper()} is not set, but registering a webhook with Genesys Cloud needs it; set it, or "
                    "GENESYS_REGISTRATION=none."
                )


def explained(error: "ErrorDetails", sources: Sources, known: Iterable[str]) -> str:
    """Return pydantic's finding as a sentence with source and remedy; `known` are the keys that fit its table."""
    place = error["loc"]
    where = sources.where(place)
    match error["type"]:
        case "extra_forbidden":
            return f"{where} is not a setting; {suggestion(str(place[-1]), known)}"
        case "missing":
            return f"{where} is missing; add it."
        case "value_error":
            problem = str(error["ctx"]["error"])
            return f"{where} {problem}" + ("" if problem.endswith(("?", ".")) else ".")
        case "dict_type" | "model_type" | "model_attributes_type":
            return f"{where} must be a table."
        case "tuple_type" | "list_type":
            return f"{where} must be a list."
        case "string_type":
            return f"{where} must be text."
        case "invalid-json-value":
            return f"{where} must be text, a number, true, false, a list or a table; put it in quotes."
        case "string_too_short" | "too_short":
            return f"{where} must not be empty; give a value or remove it."
    return f"{where} {error['msg'].replace('Input should be', 'must be').replace('a valid integer', 'a whole number')}."


def is_target_name(name: str) -> bool:
    """Tell whether a target may be called so."""
    return _TARGET_NAME.fullmatch(name) is not None


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return what to write instead of a word that nobody knows."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {close[0]}?" if close else f"use one of {', '.join(known)}."


def _read_file(named: str, cwd: Path) -> Sources:
    path = Path(cwd, named or "crm-sync.toml")
    sources = Sources(values={}, file_name=named or path.name, folder=cwd, file_was_read=True)
    try:
        sources.values = tomllib.loads(path.read_text(encoding="utf-8"))
        sources.folder = path.parent
    except OSError as error:
        if named or not isinstance(error, FileNotFoundError):
            reason = error.strerror or "it cannot be read"
            sources.faults.append(f"{sources.file_name}: {reason}; check the path in environment CRM_SYNC_CONFIG.")
            sources.file_was_read = False
    except tomllib.TOMLDecodeError as error:
        sources.faults.append(f"{sources.file_name} is not TOML: {error}; mend that line.")
        sources.file_was_read = False
    except UnicodeDecodeError:
        sources.faults.append(f"{sources.file_name} is not UTF-8; save it in that encoding.")
        sources.file_was_read = False
    return sources


def _secret(environ: Mapping[str, str], name: str, cwd: Path) -> str | None:
    """Return the value of NAME, or the content of the file that NAME_FILE names; raises ValueError in words."""
    value, path = environ.get(name), environ.get(f"{name}_FILE")
    if not path:
        return value or None
    if value:
        raise ValueError(f"{name} and {name}_FILE are both set; keep one of them")
    try:
        content = Path(cwd, path).read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise ValueError(f"{name}_FILE: {error.strerror or 'it cannot be read'}; name a file we may read") from None
    except ValueError:
        # A path with a NUL and a file that is not UTF-8 both end here; neither error is repeated: it may quote content.
        raise ValueError(f"{name}_FILE does not name a UTF-8 text file; name one") from None
    if not content:
        raise ValueError(f"{name}_FILE names an empty file; write the value into it")
    return content


def _overrule(sources: Sources, place: Place, value: object, name: str) -> None:
    table: Any = sources.values
    for part in place[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            return  # The file has something else where a table belongs, and is told so when the values are checked.
    table[place[-1]] = value
    sources.environment[place] = name


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10


def _locate_sqlite(sources: Sources, cwd: Path) -> None:
    """Make the path of an SQLite file absolute: an environment is relative to the working folder, a file to itself."""
    url = sources.values.setdefault("database_url", "sqlite:///var/crm-sync.db")
    if isinstance(url, str) and url.startswith("sqlite:///") and url != "sqlite:///:memory:":
        folder = cwd if ("database_url",) in sources.environment else sources.folder
        sources.values["database_url"] = f"sqlite:///{folder / url.removeprefix('sqlite:///')}"


def _expand_targets(sources: Sources, variable: Callable[[str], str | None]) -> None:
    """Part each target's own options from what the core knows, and put variables where `${NAME}` stands."""
    targets = sources.values.get("targets")
    if not isinstance(targets, dict):
        return
    for name, table in list(targets.items()):
        if not is_target_name(name):
            sources.faults.append(f"{sources.where(('targets', name))} is no name for a target; {NAME_RULE}.")
            del targets[name]
        elif isinstance(table, dict):
            expansion = _Expansion(sources=sources, variable=variable)
            own = {key: value for key, value in table.items() if key not in _CORE_KEYS}
            options = {key: expansion.of(value, ("targets", name, key)) for key, value in own.items()}
            core = {key: value for key, value in table.items() if key in _CORE_KEYS}
            targets[name] = {**core, "options": options, "secrets": expansion.found}


def _expand_clients(sources: Sources, variable: Callable[[str], str | None]) -> None:
    """Put variables where `${NAME}` stands in the further OAuth clients, whose secrets have none of their own."""
    place = ("genesys", "more_clients")
    clients = sources.get(*place)
    if isinstance(clients, list):
        sources.values["genesys"]["more_clients"] = _Expansion(sources=sources, variable=variable).of(clients, place)


@dataclass(slots=True, kw_only=True)
class _Expansion:
    sources: Sources
    variable: Callable[[str], str | None]
    found: list[str] = field(default_factory=list, repr=False)

    def of(self, value: Any, place: Place) -> Any:
        """Return the value with its references replaced; what JSON cannot say becomes a fault."""
        match value:
            case dict():
                return {key: self.of(item, (*place, key)) for key, item in value.items()}
            case list():
                return [self.of(item, (*place, number)) for number, item in enumerate(value)]
            case str():
                return _REFERENCE.sub(lambda found: self._looked_up(found, place), value)
            case bool() | int():
                return value
            case float() if math.isfinite(value):
                return value
        return self._fault(place, "must be text, a finite number, true, false, a list or a table; put it in quotes.")

    def _looked_up(self, reference: re.Match[str], place: Place) -> str:
        name = reference[1]
        if not reference[0].endswith("}") or not _VARIABLE.fullmatch(name):
            return self._fault(place, "has a ${ that names no variable; write ${NAME}.")
        try:
            value = self.variable(name)
        except ValueError as fault:
            return self._fault(place, f"refers to ${{{name}}}, but environment {fault}.")
        if value is None:
            return self._fault(place, f"refers to ${{{name}}}, which is not set; set {name} or {name}_FILE.")
        self.found.append(value)
        return value

    def _fault(self, place: Place, problem: str) -> str:
        self.sources.faults.append(f"{self.sources.where(place)} {problem}")
        return ""
