"""What the pretend bot answers: one table of words, so that the same text always leads to the same turn.

input                                        the turn                        reason                  outcome
the first turn, or no known word             WaitForInput
human, agent, person                         Exit                            AgentRequestedByUser    FAILURE
gibberish                                    Exit                            RecognitionFailure      FAILURE
crash, or the input event Error              Exit                            Error                   FAILURE
bye, thanks                                  Exit                            TriggeredByFlow         SUCCESS
the input event UserDisconnect               Disconnect                      TriggeredByUser
the input event ClientSessionExpired         Disconnect                      SessionExpired
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What happens next: the bot waits with a prompt, or the session is over for a reason, and came to an outcome."""

    action: str = "WaitForInput"
    prompt: str | None = None
    reason: str | None = None
    outcome: str | None = None


GREETING = Reply(prompt="Hello! How can I help you?")
AGAIN = Reply(prompt="I did not get that. Could you say it again?")
MORE = Reply(prompt="Let me see. What else should I know?")

_EVENTS = {
    "NoOp": GREETING,
    "NoMatch": AGAIN,
    "NoInput": AGAIN,
    "RichMediaInput": MORE,
    "Error": Reply(action="Exit", reason="Error", outcome="FAILURE"),
    "UserDisconnect": Reply(action="Disconnect", reason="TriggeredByUser"),
    "ClientSessionExpired": Reply(action="Disconnect", reason="SessionExpired"),
}
_WORDS = (
    (("human", "agent", "person"), Reply(action="Exit", reason="AgentRequestedByUser", outcome="FAILURE")),
    (("gibberish",), Reply(action="Exit", reason="RecognitionFailure", outcome="FAILURE")),
    (("crash",), _EVENTS["Error"]),
    (("bye", "thanks"), Reply(action="Exit", prompt="Goodbye!", reason="TriggeredByFlow", outcome="SUCCESS")),
)


def reply_to_text(text: str) -> Reply:
    """Return the reply to what a customer says."""
    said = set(re.findall(r"\w+", text.casefold()))
    return next((reply for words, reply in _WORDS if said.intersection(words)), MORE)


def reply_to_event(input_event_type: str) -> Reply:
    """Return the reply to an input that is no text."""
    return _EVENTS[input_event_type]
