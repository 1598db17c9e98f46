"""What happens in the demo: conversations are started through the service, and end in all the ways there are."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import Any

import requests

from crm_sync import clock
from crm_sync.cli.demo_world import World, direct
from crm_sync.errors import CrmSyncError
from crm_sync.sandbox.client import GenesysControl

BOTS = ("bot-orders", "bot-billing", "bot-returns", "bot-accounts")
MESSAGES = (
    "I want to cancel my recent order",
    "Where is my parcel?",
    "I was charged twice, look at my invoice",
    "I am angry, where is my parcel?",
    "It is about that thing from last week",
)
WORDS = {
    "resolved": "resolved",
    "not-solved": "unresolved",
    "handed-over": "escalated",
    "moved-on": "transferred",
    "hung-up": "abandoned",
}
"""The resolution words of the pretend organization, as its settings explain them to crm-sync."""

ENDS = ("resolved", "resolved", "handed-over", "resolved", "not-solved", "resolved", "moved-on", "hung-up", "resolved",
        "mystery")  # fmt: skip
"""How conversations end, in turn. Nobody has explained `mystery`, so it must be unknown in every CRM."""

LARGEST = 40_960
AT_ONCE = 8
ENDS_PER_SECOND = 40


@dataclass(slots=True)
class Started:
    """What came of the requests to start a session."""

    conversations: list[str] = field(default_factory=list)
    escalated: int = 0
    refused: Counter[str] = field(default_factory=Counter)


def start_sessions(world: World, count: int, progress: Callable[[int], None]) -> Started:
    """Ask the service to start so many sessions, and then for some that it has to refuse."""
    started = Started()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for done, answer in enumerate(pool.map(lambda body: _ask(world, body), _requests(count)), start=1):
            if answer.status_code != 201:
                raise CrmSyncError(f"A session was not started: {answer.json().get('error', answer.status_code)}")
            session = answer.json()
            started.conversations.append(session["conversation_id"])
            started.escalated += session["escalation"] is not None
            progress(done)
    for reason, body in _refusals(count):
        if _ask(world, body).status_code < 400:
            raise CrmSyncError(f"A session was started although it had to be refused: {reason}.")
        started.refused[reason] += 1
    return started


def end_conversations(world: World, conversations: list[str], progress: Callable[[int], None]) -> None:
    """End each conversation at the pretend Genesys Cloud, which tells the service of it, twice and out of order.

    At a steady pace: what is measured is how long an event takes, not how long a queue of our own making is.
    """
    started_at = clock.monotonic()
    with GenesysControl(world.genesys_url) as genesys:
        for done, (conversation_id, status) in enumerate(zip(conversations, cycle(ENDS), strict=False), start=1):
            genesys.end(conversation_id, status)
            progress(done)
            time.sleep(max(0.0, started_at + done / ENDS_PER_SECOND - clock.monotonic()))


def _ask(world: World, body: dict[str, Any]) -> requests.Response:
    headers = {"Authorization": f"Bearer {world.token}"}
    try:
        return direct().post(f"{world.web_url}/api/v1/sessions", json=body, headers=headers, timeout=60)
    except requests.RequestException as error:
        raise CrmSyncError(f"The web process does not answer ({type(error).__name__}); see its log.") from error


def _requests(count: int) -> Iterator[dict[str, Any]]:
    told = zip(cycle(BOTS), cycle(MESSAGES), strict=False)
    for number, (bot, message) in enumerate(islice(told, count), start=1):
        yield _request(bot, number) | {"message": message}


def _refusals(count: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what must be refused: attributes one byte too large, no sender, a bot that is as busy as it may be."""
    empty = len('{"note":""}')
    yield "attributes too large", _request("bot-spare", 0) | {"attributes": {"note": "x" * (LARGEST + 1 - empty)}}
    yield "required field missing", {name: v for name, v in _request("bot-spare", 0).items() if name != "from"}
    for bot in BOTS if count >= len(BOTS) and count % len(BOTS) == 0 else ():
        yield "too many at once", _request(bot, 0)


def _request(bot: str, number: int) -> dict[str, Any]:
    return {
        "to": [{"id": bot, "name": bot.replace("-", " ").title()}],
        "from": {"id": f"customer-{number:05d}"},
        "type": "chat",
        "attributes": {
            "order_id": f"ORD-{number:06d}",
            "customer_segment": "premium" if number % 3 == 0 else "standard",
        },
    }
