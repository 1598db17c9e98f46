"""What a whole conversation object adds: the tutorial's closed conversation, or one as the platform's API gives it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from crm_sync import clock
from crm_sync.closure import ATTRIBUTES, CONVERSATION, Facts
from crm_sync.genesys import fields, legs
from crm_sync.genesys.details import FactSheet
from crm_sync.genesys.payload import Unreadable

RANK = 2


def newest_instant(data: Mapping[str, Any], *, not_after: datetime) -> datetime:
    """Return the newest time inside, which orders whole objects, since they have no event time of their own."""
    known = [
        time
        for part in (data, *legs.parts(data))
        for name in ("startTime", "endTime", "connectedTime", "disconnectedTime")
        if (time := fields.instant(part, name, not_after=not_after)) is not None
    ]
    if not known:
        raise Unreadable("the conversation has neither startTime nor endTime")
    return max(known)


def ended_at(data: Mapping[str, Any], *, not_after: datetime) -> datetime | None:
    """Return when the object says that the conversation was over, None when it does not.

    The tutorial's has `state: closed` and an `endTime`. The platform's API never fills `state`, there `endTime`
    decides. A notification of the platform has neither: it is over when every participant has gone.
    """
    state, time = fields.text(data, "state"), fields.instant(data, "endTime", not_after=not_after)
    if data.get("participants") is None:
        return time if state == "closed" else None
    if state not in (None, "closed"):
        return None
    gone = [fields.instant(part, "endTime", not_after=not_after) for part in legs.objects(data, "participants")]
    if time is None and "startTime" not in data and gone and None not in gone:
        return max(filter(None, gone))
    return time


def facts_of(data: Mapping[str, Any], *, at: datetime, key: str) -> Facts:
    """Return what this object adds; raises `Unreadable` with the name of a field that cannot be read."""
    sheet = FactSheet(at, rank=RANK, kind="conversation", key=key)
    started_at, over_at = fields.instant(data, "startTime", not_after=at), ended_at(data, not_after=at)
    if started_at is not None:
        sheet.say_earliest(CONVERSATION, "started_at", clock.to_ms(started_at))
    resolution_status = fields.text(data, "resolutionStatus")
    if over_at is not None:
        sheet.say(CONVERSATION, "ended_at", clock.to_ms(over_at))
        sheet.say(CONVERSATION, "record_closed", True)
        sheet.say(CONVERSATION, "resolution_status", resolution_status)
    sheet.say(CONVERSATION, "media_type", fields.word(data, "type", fields.MEDIA_TYPES))
    sheet.say(CONVERSATION, "customer_id", customer_id(data))
    sheet.add("bot_ids", _party_ids(data))
    sheet.add("queue_ids", [fields.identifier(fields.mapping(data, "routing"), "queueId")])
    sheet.add("division_ids", (fields.identifier(_division(one), "id") for one in legs.objects(data, "divisions")))
    for name, value in fields.mapping(data, "attributes").items():
        sheet.say(ATTRIBUTES, name, value)
    legs.participants(sheet, data, at=at)
    return sheet.facts


def customer_id(data: Mapping[str, Any]) -> str | None:
    """Return the id of the party that began the conversation."""
    return fields.identifier(fields.mapping(data, "from"), "id")


def _division(listed: Mapping[str, Any]) -> dict[str, Any]:
    return fields.mapping(listed, "division")


def _party_ids(data: Mapping[str, Any]) -> list[str | None]:
    parties = data.get("to")
    if parties is None:
        return []
    if not isinstance(parties, list) or not all(isinstance(party, dict) for party in parties):
        raise Unreadable("to is not a list of parties")
    return [fields.identifier(party, "id") for party in parties]
