"""What a virtual-agent session is asked for with, checked against the contract before anything is sent."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pydantic_core import from_json

from crm_sync.closure import JSON
from crm_sync.errors import BadRequest
from crm_sync.genesys.client import encode
from crm_sync.settings_sessions import SessionSettings

SESSION_ID = "crmSyncSessionId"
"""The attribute by which a conversation is known as ours, also when the answer to its start was lost."""

_LONGEST_WORD = 200
_LONGEST_MESSAGE = 10_000
_MOST_TURNS = 2**31 - 1
_FIELDS = ("to", "from", "type", "attributes", "message", "turns")
_PLATFORM_FIELDS = ("callback_number", "conversation_id", "participant_id")
_SAMPLE_ID = "00000000-0000-0000-0000-000000000000"


class InvalidRequest(BadRequest):
    """The request for a session is not valid; `faults` holds one sentence for each reason."""

    def __init__(self, faults: list[str]) -> None:
        self.faults = tuple(faults)
        super().__init__(" ".join(faults))


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """Someone who takes part. An empty id or name is left out of what is sent."""

    id: str = ""
    name: str = field(default="", repr=False)

    def as_object(self) -> dict[str, JSON]:
        """Return the party as it is sent."""
        return {key: value for key, value in (("id", self.id), ("name", self.name)) if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRequest:
    """A valid request. The first of `to` is the bot; `turns` is how many turns the customer has already had.

    The last three are the real platform's: how people reach the customer, and the live conversation there is.
    """

    to: tuple[Party, ...]
    sender: Party
    media_type: str
    attributes: Mapping[str, JSON] = field(default_factory=dict, repr=False)
    message: str | None = field(default=None, repr=False)
    turns: int = 1
    callback_number: str | None = field(default=None, repr=False)
    conversation_id: str | None = None
    participant_id: str | None = None

    @property
    def bot_id(self) -> str:
        """The id of the bot that is to answer."""
        return self.to[0].id

    def as_object(self, *, session_id: str, queue_id: str | None) -> dict[str, JSON]:
        """Return the body that starts the conversation; with a queue, people answer in place of the bot."""
        body: dict[str, JSON] = {
            "to": [party.as_object() for party in self.to],
            "from": self.sender.as_object(),
            "type": self.media_type,
            "attributes": {**self.attributes, SESSION_ID: session_id},
        }
        return body | ({"routing": {"queueId": queue_id}} if queue_id is not None else {})

    def texts(self) -> dict[str, str]:
        """Return the attributes as the real platform takes them: what is no text is compact JSON."""
        return {name: _as_text(value) for name, value in self.attributes.items()}


def decode(body: bytes) -> JSON:
    """Return the JSON value of a body; raises BadRequest where it is none."""
    try:
        value: JSON = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise BadRequest(f"The body is not JSON: {error}.") from None
    return value


def parse(value: JSON, *, max_attribute_bytes: int, platform: SessionSettings | None = None) -> SessionRequest:
    """Return the request that this JSON value is; raises InvalidRequest with all that is wrong with it.

    With `platform` it is one for the real platform, which has more fields and these limits.
    """
    if not isinstance(value, dict):
        raise InvalidRequest(["The request must be a JSON object with to, from and type."])
    faults = [
        *_faults_of_names(value, _FIELDS if platform is None else (*_FIELDS, *_PLATFORM_FIELDS)),
        *_faults_of_to(value.get("to")),
        *_faults_of_party("from", value.get("from")),
        *_faults_of_text("type", value.get("type"), _LONGEST_WORD, is_required=True),
        *_faults_of_attributes(value.get("attributes"), max_attribute_bytes),
        *_faults_of_text("message", value.get("message"), _LONGEST_MESSAGE, is_required=False),
        *_faults_of_turns(value.get("turns", 1)),
        *(() if platform is None else _faults_of_platform(value, platform)),
    ]
    if faults:
        raise InvalidRequest(faults)
    match value:
        case {"to": list(to), "from": sender, "type": str(media_type)}:
            message, turns, attributes = value.get("message"), value.get("turns", 1), value.get("attributes")
            return SessionRequest(
                to=tuple(_party(party) for party in to),
                sender=_party(sender),
                media_type=media_type,
                attributes=attributes if isinstance(attributes, dict) else {},
                message=message if isinstance(message, str) else None,
                turns=turns if isinstance(turns, int) else 1,
                **{name: text for name in _PLATFORM_FIELDS if isinstance(text := value.get(name), str) and text},
            )
    raise InvalidRequest(["The request must be a JSON object with to, from and type."])


def _faults_of_names(value: Mapping[str, JSON], known: tuple[str, ...]) -> Iterator[str]:
    if "routing" in value:
        yield "routing is decided by the thresholds of [sessions]: leave it out."
    unknown = sum(name not in known and name != "routing" for name in value)
    if unknown:
        yield f"{unknown} of the fields are not known here: the known ones are {', '.join(known)}."


def _faults_of_to(to: JSON) -> Iterator[str]:
    if not isinstance(to, list) or not to:
        yield 'to is missing: give a list of parties, such as [{"id": "bot-id-123"}].'
        return
    for place, party in enumerate(to):
        yield from _faults_of_party(f"to[{place}]", party)
    if isinstance(to[0], dict) and to[0].get("name") and not to[0].get("id"):
        yield "to[0] has no id: give the id of the bot, by which its conversations are counted."


def _faults_of_party(name: str, party: JSON) -> Iterator[str]:
    if not isinstance(party, dict) or not (party.get("id") or party.get("name")):
        yield f'{name} is missing or empty: give a party with an id or a name, such as {{"id": "user-456"}}.'
        return
    for key in ("id", "name"):
        yield from _faults_of_text(f"{name}.{key}", party.get(key), _LONGEST_WORD, is_required=False)
    if not party.keys() <= {"id", "name"}:
        yield f"{name} has more than an id and a name: leave the rest out."


def _faults_of_text(name: str, value: JSON, longest: int, *, is_required: bool) -> Iterator[str]:
    if value is None or value == "":
        if is_required:
            yield f"{name} is missing: give a text."
    elif not isinstance(value, str) or not value.strip():
        yield f"{name} must be a text that is not blank."
    elif len(value) > longest:
        yield f"{name} has {len(value)} characters, and at most {longest} are accepted."
    elif "\0" in value:
        yield f"{name} holds a NUL character: remove it."


def _faults_of_attributes(attributes: JSON, limit: int) -> Iterator[str]:
    if attributes is None:
        attributes = {}
    if not isinstance(attributes, dict):
        yield "attributes must be a JSON object."
        return
    if SESSION_ID in attributes:
        yield f"attributes holds {SESSION_ID}, which is added by crm-sync: leave it out."
    try:
        own, size = len(encode(attributes)), len(encode({**attributes, SESSION_ID: _SAMPLE_ID}))
    except ValueError:
        yield "attributes holds a number that is too large for JSON: send it as a text."
        return
    if size > limit:
        yield (
            f"attributes take {size} bytes as JSON, {size - own} of them for {SESSION_ID}, and the limit is {limit}: "
            "send less."
        )


def _faults_of_turns(turns: JSON) -> Iterator[str]:
    if not isinstance(turns, int) or isinstance(turns, bool) or not 0 <= turns <= _MOST_TURNS:
        yield "turns must be a whole number that is not negative."


def _faults_of_platform(value: Mapping[str, JSON], limits: SessionSettings) -> Iterator[str]:
    for name in _PLATFORM_FIELDS:
        yield from _faults_of_text(name, value.get(name), _LONGEST_WORD, is_required=False)
    if value.get("participant_id") and not value.get("conversation_id"):
        yield "participant_id is given without a conversation_id: give both, or neither."
    attributes = value.get("attributes")
    if not isinstance(attributes, dict):
        return
    if len(attributes) > limits.max_attributes:
        yield f"attributes has {len(attributes)} of them, and a bot flow accepts at most {limits.max_attributes}."
    try:
        long = sum(len(_as_text(one)) > limits.max_attribute_characters for one in attributes.values())
    except ValueError:
        return  # Told already, of the whole.
    if long:
        yield (
            f"attributes has {long} values of more than {limits.max_attribute_characters} characters, which a bot flow "
            "does not accept: shorten them."
        )


def _as_text(value: JSON) -> str:
    return value if isinstance(value, str) else encode(value).decode()


def _party(party: JSON) -> Party:
    given = party if isinstance(party, dict) else {}
    return Party(**{key: text for key in ("id", "name") if isinstance(text := given.get(key), str)})
