"""All that the pretend Genesys Cloud knows and how it was set up, in memory and safe for many threads."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Self

from pydantic import Field

from crm_sync import clock
from crm_sync.sandbox.botflows import BotFlows
from crm_sync.sandbox.callbacks import Callbacks
from crm_sync.sandbox.channels import Channels
from crm_sync.sandbox.conversations import Conversations
from crm_sync.sandbox.directory import Directory
from crm_sync.sandbox.faults import FaultOrder, Faults
from crm_sync.sandbox.oauth import OAuthClient, Tokens
from crm_sync.sandbox.platform import Platform
from crm_sync.sandbox.platform_queries import PlatformOptions
from crm_sync.sandbox.poster import Manner, Poster
from crm_sync.sandbox.traffic import Traffic
from crm_sync.sandbox.triggers import Triggers
from crm_sync.sandbox.webhooks import Webhooks


@dataclass(frozen=True, slots=True, kw_only=True)
class GenesysOptions:
    """How a pretend Genesys Cloud behaves. Without `webhook_list` it has only the tutorial's POST of webhooks."""

    client: OAuthClient = field(default_factory=OAuthClient)
    webhook_list: bool = True
    page_size: int = 25
    manner: Manner = field(default_factory=Manner)
    poster_threads: int = 4
    seed: int | None = None
    platform: PlatformOptions = field(default_factory=PlatformOptions)


class GenesysFault(FaultOrder):
    """What shall happen to calls whose path (a pattern: `*` stands for anything) and method fit.

    The delay comes first. With `status` the call is not done; with `lose_answer` it is done and never answered.
    """

    path: str = "*"
    method: str | None = None
    status: Annotated[int, Field(ge=400, le=599)] | None = None
    retry_after: int | str | None = None
    html: bool = False
    delay_seconds: Annotated[float, Field(ge=0)] = 0.0
    lose_answer: bool = False


class GenesysState:
    """What a pretend Genesys Cloud remembers. Close it, or use it as a context: it has threads."""

    def __init__(
        self,
        options: GenesysOptions | None = None,
        *,
        now: Callable[[], datetime] = clock.now,
        monotonic: Callable[[], float] = clock.monotonic,
    ) -> None:
        self.options = options or GenesysOptions()
        self.now = now
        self.tokens = Tokens(self.options.client, monotonic=monotonic)
        self.conversations = Conversations()
        self.webhooks = Webhooks()
        self.directory = Directory()
        self.triggers = Triggers()
        self.bot_flows = BotFlows(self.directory, now=now)
        self.callbacks = Callbacks()
        self.channels = Channels(now=now)
        self.faults: Faults[GenesysFault] = Faults()
        self.traffic = Traffic()
        self.poster = Poster(webhooks=self.webhooks.all, threads=self.options.poster_threads, seed=self.options.seed)
        self.platform = Platform(
            self.options.platform,
            now=now,
            poster=self.poster,
            manner=self.options.manner,
            fires=self.triggers.fires,
            publish=self.channels.publish,
        )

    def close(self) -> None:
        self.poster.stop()
        self.channels.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
