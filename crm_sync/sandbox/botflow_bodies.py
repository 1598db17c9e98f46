"""What the launch of a bot flow session and its turns may look like."""

from typing import Any

from crm_sync.sandbox.bodies import at
from crm_sync.sandbox.problems import bad_field
from crm_sync.sandbox.wire import JSONObject, compact

MAX_VARIABLES = 50
MAX_VALUE_CHARACTERS = 256

_CHANNELS = ("Chat", "Call", "Messaging")
_USER_AGENTS = frozenset(
    {
        "Apple",
        "AppleBusinessChat",
        "Discord",
        "FacebookMessenger",
        "GenesysWebWidget",
        "Instagram",
        "Line",
        "Open",
        "Other",
        "Phone",
        "SMS",
        "Signal",
        "Slack",
        "Telegram",
        "TwitterDirectMessage",
        "Unknown",
        "WeChat",
        "Whatsapp",
    }
)
_INPUTS = {
    "NoOp": None,
    "UserInput": "inputEventUserInput",
    "RichMediaInput": "inputEventRichMedia",
    "Error": "inputEventError",
    "NoMatch": None,
    "NoInput": None,
    "UserDisconnect": None,
    "ClientSessionExpired": None,
}
"""The types of input, each with the one field that belongs to it."""


def check_launch(body: JSONObject) -> None:
    """Raise Problem 400 for a launch that the platform would not take."""
    channel, variables = body.get("channel"), at(body, "inputData", "variables")
    if not is_text(at(body, "flow", "id")):
        raise bad_field("flow.id", "must be the id of a bot flow")
    if not is_text(body.get("externalSessionId")):
        raise bad_field("externalSessionId", "must be a text")
    if at(channel, "name") not in _CHANNELS:
        raise bad_field("channel.name", f"must be one of {', '.join(_CHANNELS)}")
    for name in ("inputModes", "outputModes"):
        if at(channel, name) != ["Text"]:
            raise bad_field(f"channel.{name}", "must be a list with Text")
    if at(channel, "userAgent", "name") not in _USER_AGENTS:
        raise bad_field("channel.userAgent.name", f"must be one of {', '.join(sorted(_USER_AGENTS))}")
    if not is_text(body.get("language") or "en-us"):
        raise bad_field("language", "must be a text")
    _check_variables({} if variables is None else variables)


def check_turn(body: JSONObject) -> str:
    """Return the type of a turn's input; raises Problem 400 where not just that input comes with it."""
    kind = body.get("inputEventType")
    if not isinstance(kind, str) or kind not in _INPUTS:
        raise bad_field("inputEventType", f"must be one of {', '.join(_INPUTS)}")
    given = [name for name in _INPUTS.values() if name and body.get(name) is not None]
    belonging = [name for name in [_INPUTS[kind]] if name]
    if given != belonging:
        raise bad_field("inputEventType", f"{kind} must come with {', '.join(belonging) or 'no input'} alone")
    if kind == "UserInput":
        said = body["inputEventUserInput"]
        alternatives = at(said, "alternatives")
        first = alternatives[0] if isinstance(alternatives, list) and alternatives else None
        if at(said, "mode") != "Text" or not isinstance(at(first, "transcript", "text"), str):
            raise bad_field("inputEventUserInput", "must have the mode Text and alternatives with a transcript")
    return kind


def is_text(value: Any) -> bool:
    """Tell whether a value is a text that is not empty."""
    return isinstance(value, str) and bool(value)


def _check_variables(variables: Any) -> None:
    if not isinstance(variables, dict) or len(variables) > MAX_VARIABLES:
        raise bad_field("inputData.variables", f"must be an object of at most {MAX_VARIABLES} variables")
    for name, value in variables.items():
        text = value if isinstance(value, str) else compact(value).decode()
        if len(text) > MAX_VALUE_CHARACTERS:
            raise bad_field(f"inputData.variables.{name}", f"must have at most {MAX_VALUE_CHARACTERS} characters")
