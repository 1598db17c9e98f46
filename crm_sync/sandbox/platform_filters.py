"""The filters of a details query: predicates on dimensions, joined by `and` or `or`, one more level in `clauses`."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias, TypeVar

from crm_sync.sandbox import disconnects
from crm_sync.sandbox.platform_conversations import Flow, Participant, PlatformConversation, Segment, Session
from crm_sync.sandbox.platform_store import Placed
from crm_sync.sandbox.problems import Problem
from crm_sync.sandbox.wire import JSONObject, instant_text

T = TypeVar("T")
Test: TypeAlias = Callable[[T], bool]
Values: TypeAlias = Callable[[T], Iterable[str | None]]

_UNKNOWN_HERE = ("evaluationFilters", "surveyFilters", "resolutionFilters")


class _Row(NamedTuple):
    """A segment with all that it is part of."""

    media: str
    direction: str
    participant: Participant
    session: Session
    segment: Segment


_OF_CONVERSATION: dict[str, Values[Placed]] = {
    "conversationId": lambda one: (one.id,),
    "conversationStart": lambda one: (instant_text(one.started_at),),
    "conversationEnd": lambda one: (instant_text(one.ended_at),),
    "conversationInitiator": lambda one: (one.conversation.initiator,),
    "originatingDirection": lambda one: (one.conversation.channel.direction,),
    "divisionId": lambda one: one.conversation.division_ids,
    "externalTag": lambda one: (),
}
_OF_FLOW: dict[str, Values[Flow]] = {
    "flowId": lambda flow: (flow.id,),
    "flowName": lambda flow: (flow.name,),
    "flowType": lambda flow: (flow.type,),
    "exitReason": lambda flow: (flow.exit_reason,),
    "transferType": lambda flow: (flow.transfer_type,),
    "flowOutcomeId": lambda flow: (outcome.id for outcome in flow.outcomes),
    "flowOutcomeValue": lambda flow: (outcome.value for outcome in flow.outcomes),
    "flowOutcome": lambda flow: (f"{outcome.id}:{outcome.value}" for outcome in flow.outcomes),
}


def _of_flow(values: Values[Flow]) -> Values[_Row]:
    return lambda row: values(row.session.flow) if row.session.flow else ()


_OF_SEGMENT: dict[str, Values[_Row]] = {
    "purpose": lambda row: (row.participant.purpose,),
    "participantId": lambda row: (row.participant.id,),
    "userId": lambda row: (row.participant.user_id,),
    "mediaType": lambda row: (row.media,),
    "direction": lambda row: (row.direction,),
    "sessionId": lambda row: (row.session.id,),
    "queueId": lambda row: (row.session.queue_id,),
    "segmentType": lambda row: (row.segment.kind,),
    "segmentEnd": lambda row: (instant_text(row.segment.ended_at),),
    "disconnectType": lambda row: (row.segment.disconnect and disconnects.in_records(row.segment.disconnect),),
    "wrapUpCode": lambda row: (row.segment.wrapup_code,),
    "wrapUpNote": lambda row: (row.segment.wrapup_note,),
    **{name: _of_flow(values) for name, values in _OF_FLOW.items()},
}


def read_filters(body: JSONObject) -> Test[Placed]:
    """Return the test that the filters of a query amount to; raises Problem 400 for what the platform refuses.

    A segment filter is met when one segment meets all of it.
    """
    if named := [name for name in _UNKNOWN_HERE if body.get(name)]:
        raise Problem(400, f"The sandbox knows no {named[0]}.", code="invalid.value", params={"field": named[0]})
    of_conversation = [_filter(one, _OF_CONVERSATION) for one in _list(body, "conversationFilters")]
    of_segment = [_filter(one, _OF_SEGMENT) for one in _list(body, "segmentFilters")]

    def fits(placed: Placed) -> bool:
        return all(test(placed) for test in of_conversation) and (
            not of_segment or _fits_segments(_rows(placed.conversation), of_segment)
        )

    return fits


def _fits_segments(rows: list[_Row], tests: list[Test[_Row]]) -> bool:
    return all(any(test(row) for row in rows) for test in tests)


def _rows(conversation: PlatformConversation) -> list[_Row]:
    media, direction = conversation.channel.media, conversation.channel.direction
    return [
        _Row(media, direction, participant, session, segment)
        for participant in conversation.participants
        for session in participant.sessions
        for segment in session.segments
    ]


def _filter(value: Any, dimensions: Mapping[str, Values[T]]) -> Test[T]:
    """Read a filter, or a clause, which is the same without clauses of its own."""
    if not isinstance(value, dict) or value.get("type") not in ("and", "or"):
        raise _refusal("A filter or a clause has the type and or or.")
    tests = [_predicate(one, dimensions) for one in _list(value, "predicates")]
    tests += [_filter(one, dimensions) for one in _list(value, "clauses")]
    if not tests:
        raise _refusal("A filter needs predicates or clauses.")
    joined = all if value["type"] == "and" else any
    return lambda subject: joined(test(subject) for test in tests)


def _predicate(value: Any, dimensions: Mapping[str, Values[T]]) -> Test[T]:
    if not isinstance(value, dict) or value.get("type", "dimension") != "dimension":
        raise _refusal("A predicate of the sandbox has the type dimension.")
    name, operator, wanted = value.get("dimension"), value.get("operator", "matches"), value.get("value")
    if not isinstance(name, str) or name not in dimensions:
        raise _refusal(f"There is no dimension {name} here.")
    values = dimensions[name]
    match operator:
        case "matches" if isinstance(wanted, str):
            return lambda subject: wanted in values(subject)
        case "exists":
            return lambda subject: any(one is not None for one in values(subject))
        case "notExists":
            return lambda subject: all(one is None for one in values(subject))
    raise _refusal("The operators are matches, with a value, exists and notExists.")


def _list(body: JSONObject, name: str) -> list[Any]:
    value = body.get(name) or []
    if not isinstance(value, list):
        raise _refusal(f"The field {name} must be a list.")
    return value


def _refusal(reason: str) -> Problem:
    return Problem(400, reason, code="invalid.value")
