"""Which adapters there are: ours, and those that other packages offer under the entry-point group."""

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import cast

from crm_sync.adapters import mapping
from crm_sync.adapters.contract import API_VERSION, Adapter
from crm_sync.errors import SettingsError
from crm_sync.settings_targets import TargetSettings

GROUP = "crm_sync.adapters"

OURS: Mapping[str, str] = {
    "jsonl": "crm_sync.adapters.jsonl:JSONLAdapter",
    "memory": "crm_sync.adapters.memory:MemoryAdapter",
    "sql": "crm_sync.adapters.sql:SQLAdapter",
    "webhook": "crm_sync.adapters.webhook:WebhookAdapter",
}
"""Known without being installed, so that a checkout works as it is. No other package can take one of these names."""


def names() -> list[str]:
    """Return the names that `adapter = ` may have."""
    return sorted({*OURS, *(entry.name for entry in entry_points(group=GROUP))})


def load(name: str) -> type[Adapter]:
    """Return the adapter's class; raises SettingsError when there is none, or when it does not fit this version."""
    entry = _find(name)
    if entry is None:
        raise SettingsError([f"there is no adapter {name!r}; known are {', '.join(names())}"])
    try:
        module = import_module(entry.module)
    except ImportError as error:
        # The name alone: the text of the error can hold paths, and the traceback would bury the remedy.
        missing = error.name or entry.module
        raise SettingsError([f"the adapter {name!r} needs the Python module {missing!r}; install it"]) from None
    adapter = getattr(module, entry.attr, None)
    version = getattr(adapter, "api_version", None)
    if version != API_VERSION:
        raise SettingsError(
            [f"the adapter {name!r} was written for contract {version}, this version has {API_VERSION}; update it"]
        )
    return cast(type[Adapter], adapter)


def build(target_name: str, settings: TargetSettings, *, worker_deadline_seconds: float = 20) -> Adapter:
    """Return the adapter of a target; raises SettingsError that names every fault and the target."""
    try:
        return load(settings.adapter).from_options(
            settings.options,
            fields=mapping.describe(settings.fields),
            worker_deadline_seconds=worker_deadline_seconds,
        )
    except SettingsError as error:
        faults = error.faults
    raise SettingsError([f"[targets.{target_name}] {fault}" for fault in faults])


def build_all(targets: Mapping[str, TargetSettings], *, worker_deadline_seconds: float = 20) -> dict[str, Adapter]:
    """Return the adapter of each target by name; raises SettingsError that names every fault of every target."""
    adapters: dict[str, Adapter] = {}
    faults: list[str] = []
    for name, target in targets.items():
        try:
            adapters[name] = build(name, target, worker_deadline_seconds=worker_deadline_seconds)
        except SettingsError as error:
            faults.extend(error.faults)
    if faults:
        for adapter in adapters.values():
            adapter.close()
        raise SettingsError(faults)
    return adapters


def check(targets: Mapping[str, TargetSettings], *, worker_deadline_seconds: float = 20) -> None:
    """Raise what `build_all` would, and keep nothing."""
    for adapter in build_all(targets, worker_deadline_seconds=worker_deadline_seconds).values():
        adapter.close()


def _find(name: str) -> EntryPoint | None:
    if name in OURS:
        return EntryPoint(name=name, value=OURS[name], group=GROUP)
    return next(iter(entry_points(group=GROUP, name=name)), None)
