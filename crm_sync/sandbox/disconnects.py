"""Why a leg ended, in the three spellings of the platform. Ours is that of the events in lower case."""

_MOVED = {
    "conference_transfer": "transfer.conference",
    "consult_transfer": "transfer.consult",
    "forward_transfer": "transfer.forward",
    "no_answer_transfer": "transfer.noanswer",
    "not_available_transfer": "transfer.notavailable",
    "dnd_transfer": "transfer.donotdisturb",
    "dnd_endpoint": "endpoint.donotdisturb",
    "transport_failure": "transport.failure",
    "session_expired": "session.expired",
}


def in_events(word: str) -> str:
    """Return `CONSULT_TRANSFER` for `consult_transfer`."""
    return word.upper()


def in_records(word: str) -> str:
    """Return `consultTransfer` for `consult_transfer`."""
    first, *others = word.split("_")
    return first + "".join(other.capitalize() for other in others)


def in_objects(word: str) -> str:
    """Return `transfer.consult` for `consult_transfer`."""
    return _MOVED.get(word, word)
