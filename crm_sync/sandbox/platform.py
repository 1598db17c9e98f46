"""What the pretend Genesys Cloud knows of the real platform's conversations, beside the tutorial's."""

from collections.abc import Callable
from datetime import datetime

from crm_sync.sandbox.listeners import Listeners
from crm_sync.sandbox.moods import Temper
from crm_sync.sandbox.platform_jobs import Jobs
from crm_sync.sandbox.platform_queries import PlatformOptions, Queries
from crm_sync.sandbox.platform_store import PlatformStore
from crm_sync.sandbox.poster import Manner, Poster
from crm_sync.sandbox.telling import Fires, Publish, Teller


class Platform:
    """Conversations, those who answer questions about them, and those who are told."""

    def __init__(
        self,
        options: PlatformOptions,
        *,
        now: Callable[[], datetime],
        poster: Poster,
        manner: Manner,
        fires: Fires,
        publish: Publish,
    ) -> None:
        self.options = options
        self.now = now
        self.conversations = PlatformStore()
        self.queries = Queries(self.conversations, options)
        self.jobs = Jobs(self.queries, options, now=now)
        self.temper = Temper()
        self.listeners = Listeners()
        self.teller = Teller(self.listeners, self.temper, poster=poster, manner=manner, fires=fires, publish=publish)
