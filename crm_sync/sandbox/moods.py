"""How the pretend platform misbehaves: by chance, but by the same chance for the same seed."""

import random
import threading
from collections.abc import Callable
from typing import Annotated, TypeAlias

from flask import Flask, request
from pydantic import Field

from crm_sync.sandbox.faults import Order
from crm_sync.sandbox.problems import Problem

API = "/api/"
"""The calls that moods trouble: neither those for tokens nor the control API."""

Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]
Seconds: TypeAlias = Annotated[float, Field(ge=0)]


class Moods(Order):
    """Shares are of conversations for `lose`, of events for `double`, and of calls for the others.

    The events of a lost conversation are never told. Each post waits for the delay and a random part of the shuffle.
    """

    seed: int = 1
    lose: Share = 0.0
    double: Share = 0.0
    shuffle_seconds: Seconds = 0.0
    delay_seconds: Seconds = 0.0
    expire_tokens_every: Annotated[int, Field(ge=1)] | None = None
    rate_limited_share: Share = 0.0
    failing_share: Share = 0.0


class Temper:
    """The moods of now, and the chance that goes with them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.behave(Moods())

    def behave(self, moods: Moods) -> None:
        """Change the moods; calls are counted, and chance begins, anew."""
        with self._lock:
            self.moods = moods
            self._chance = random.Random(moods.seed)
            self._calls = 0

    def chance_of(self, conversation_id: str) -> random.Random:
        """Return the chance of one conversation, which owes nothing to when it is told and what is told besides."""
        return random.Random(f"{self.moods.seed}/{conversation_id}")

    def meet_call(self, expire_tokens: Callable[[], object]) -> None:
        """Meet a call of the API: perhaps the tokens end before it; raises Problem 429, 500 or 503 for a share."""
        with self._lock:
            moods = self.moods
            self._calls += 1
            is_expiry = moods.expire_tokens_every is not None and self._calls % moods.expire_tokens_every == 0
            fate, status = self._chance.random(), self._chance.choice((500, 503))
        if is_expiry:
            expire_tokens()
        if fate < moods.rate_limited_share:
            reason = "Rate limit exceeded the maximum [300] requests within [60] seconds"
            raise Problem(429, reason, retry_after="1")
        if fate < moods.rate_limited_share + moods.failing_share:
            raise Problem(status)


def trouble(app: Flask, temper: Temper, *, expire_tokens: Callable[[], object]) -> None:
    """Let the calls of an application's API meet the moods."""

    @app.before_request
    def meet() -> None:
        if request.path.startswith(API):
            temper.meet_call(expire_tokens)
