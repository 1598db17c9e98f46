"""What the pretend Genesys Cloud knows of the real platform's conversations, beside the tutorial's."""

from collections.abc import Callable
from datetime import datetime

from crm_sync.sandbox.platform_jobs import Jobs
from crm_sync.sandbox.platform_queries import PlatformOptions, Queries
from crm_sync.sandbox.platform_store import PlatformStore


class Platform:
    """Conversations, and those who answer questions about them."""

    def __init__(self, options: PlatformOptions, *, now: Callable[[], datetime]) -> None:
        self.options = options
        self.now = now
        self.conversations = PlatformStore()
        self.queries = Queries(self.conversations, options)
        self.jobs = Jobs(self.queries, options, now=now)
