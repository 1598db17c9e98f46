"""The field mapping: from a closure's record to what one target is to hold, and the digest that tells it apart."""

import hashlib
import json
import re
from collections.abc import Mapping

from crm_sync.adapters.contract import MappedField
from crm_sync.closure import FIELDS, JSON
from crm_sync.settings_targets import FieldRule

_PLAIN = re.compile(r"[A-Za-z0-9_.~-]+")


def apply(rules: Mapping[str, FieldRule], record: Mapping[str, JSON]) -> dict[str, JSON]:
    """Return the target's fields for `Closure.as_record()` plus `version`; without rules, every field as it is called.

    Without rules the fields are ours, so an empty one is null. Under a rule a field whose source is empty is left out,
    so that it stays as it is in the CRM, unless the rule has a default, or says that it is to be cleared.
    """
    if not rules:
        return {name: None if value == "" else value for name, value in record.items()}
    found = {name: _value(rule, record) for name, rule in rules.items()}
    empty = {name for name, value in found.items() if _is_empty(value)}
    return {
        name: None if name in empty else value
        for name, value in found.items()
        if name not in empty or rules[name].clear
    }


def describe(rules: Mapping[str, FieldRule]) -> tuple[MappedField, ...]:
    """Return what the rules write, for an adapter that checks or creates fields."""
    if not rules:
        return tuple(MappedField(name=name, source=name) for name in (*FIELDS, "version"))
    return tuple(
        MappedField(name=name, source=rule.source, choices=_choices(rule)) for name, rule in sorted(rules.items())
    )


def payload_hash(fields: Mapping[str, JSON]) -> str:
    """Return the SHA-256 of the canonical JSON: the same fields have the same hash, in whatever order they come."""
    text = json.dumps(dict(fields), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def push_key(conversation_id: str, version: int, payload: str, *, redelivery: int = 0) -> str:
    """Return the name of one push, from the hash of its payload; each forced redelivery has a name of its own."""
    forced = f".r{redelivery}" if redelivery else ""
    # It travels in headers, which do not take everything that an id may hold.
    named = (
        conversation_id if _PLAIN.fullmatch(conversation_id) else hashlib.sha256(conversation_id.encode()).hexdigest()
    )
    return f"{named}.{version}.{payload}{forced}"


def _value(rule: FieldRule, record: Mapping[str, JSON]) -> JSON:
    if rule.source is None:
        return rule.constant
    value = _look_up(rule.source, record)
    if _is_empty(value):
        return rule.default
    if isinstance(value, list):
        return [_translate(member, rule) for member in value]
    return _translate(value, rule)


def _look_up(source: str, record: Mapping[str, JSON]) -> JSON:
    table, dot, key = source.partition(".")
    value = record.get(table)
    if not dot:
        return value
    return value.get(key) if isinstance(value, dict) else None


def _translate(value: JSON, rule: FieldRule) -> JSON:
    """Return what the map has for a value. TOML's keys are text, so `true` stands for the boolean and `3` for three."""
    if not rule.map or isinstance(value, list | dict):
        return value
    word = value if isinstance(value, str) else json.dumps(value)
    if word in rule.map:
        return rule.map[word]
    return value if rule.default is None else rule.default


def _choices(rule: FieldRule) -> tuple[JSON, ...]:
    if rule.source is None:
        return (rule.constant,)
    if not rule.map:
        return ()
    return (*rule.map.values(), *(() if rule.default is None else (rule.default,)))


def _is_empty(value: JSON) -> bool:
    # Not "falsy": false and zero are answers.
    return value is None or value in ("", [], {})
