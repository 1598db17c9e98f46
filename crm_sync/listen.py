"""A source without a public address: hear the notification channel, and ask analytics for what it did not say.

It follows the sessions that we started and the queues of the settings. One process of all does it.
"""

import threading
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import structlog

from crm_sync import clock, reconcile
from crm_sync.errors import AdapterFailure, Kind, SetupError, Unavailable
from crm_sync.genesys import events, notifications
from crm_sync.genesys.analytics import Window
from crm_sync.genesys.client import GenesysClient
from crm_sync.settings import Settings
from crm_sync.store import leases, sessions
from crm_sync.store.engine import Database
from crm_sync.store.inbox import Inbox

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

SOURCE = "notifications"
LEASE_SECONDS = 30.0
RENEW_SECONDS = 10.0
"""How often we make sure of the lease, and compare the topics with the sessions that there are."""

CHANNEL_HOURS = 20
FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 30.0
MARGIN = timedelta(minutes=2)
"""How much earlier than the last word of the channel a gap is taken to begin."""

_NAME = "notifications"

log = structlog.get_logger(__name__)


def is_wanted(settings: Settings) -> bool:
    """Tell whether the settings ask for this source."""
    return settings.notifications.enabled


def run_when_due(settings: Settings, database: Database, client: GenesysClient, stop: threading.Event) -> None:
    """Follow until `stop` is set, connecting again and again. Raises nothing."""
    following, waits = Following(settings=settings, database=database, client=client, stop=stop), 0
    while not stop.is_set():
        began_at = clock.monotonic()
        try:
            with leases.held(database, _NAME, seconds=LEASE_SECONDS, beats=True) as lease:
                if lease is not None:
                    following.listen(lease)
        except SetupError as error:
            log.error("notifications_impossible", error=str(error))
            return
        except AdapterFailure as error:
            for_a_person = error.fault.kind in (Kind.AUTH, Kind.CONFIG)
            (log.error if for_a_person else log.warning)("notifications_lost", error=str(error))
        except Unavailable as error:
            log.warning("notifications_wait", reason=str(error))
        except Exception:
            log.exception("notifications_broke")
        waits = 0 if clock.monotonic() - began_at > LONGEST_WAIT_SECONDS else waits + 1
        stop.wait(min(FIRST_WAIT_SECONDS * 2 ** min(waits, 10), LONGEST_WAIT_SECONDS))


@dataclass(slots=True, kw_only=True)
class Following:
    """What one process hears, and since when it has heard nothing."""

    settings: Settings
    database: Database
    client: GenesysClient
    stop: threading.Event
    heard_at: datetime | None = None
    gaps: list[Window] = field(default_factory=list)
    topics: list[str] = field(default_factory=list)
    filling: threading.Thread | None = None

    def listen(self, lease: leases.Lease) -> None:
        """Connect a channel and take in what it says, until it ends, another process has the lease, or we stop."""
        channel = notifications.create(self.client)
        ends_at = clock.now() + timedelta(hours=CHANNEL_HOURS)
        self.topics = []
        with notifications.connected(channel) as connection:
            self._subscribe(channel)
            self._note_gap(clock.now())
            log.info("notifications_connected", channel=channel.id, topics=len(self.topics))
            renewed_at = spoke_at = clock.monotonic()
            while not self.stop.is_set() and clock.now() < ends_at:
                what, body = notifications.hear(connection, RENEW_SECONDS / 10)
                if what == "event":
                    self._take_in(body)
                if what == "closing":
                    return
                if what != "silence":
                    spoke_at, self.heard_at = clock.monotonic(), clock.now()
                elif clock.monotonic() - spoke_at > notifications.SILENCE_SECONDS:
                    log.warning("notifications_silent", channel=channel.id)
                    return
                if clock.monotonic() - renewed_at > RENEW_SECONDS:
                    renewed_at = clock.monotonic()
                    if not lease.extend():
                        return
                    self._tend(connection, channel)

    def _tend(self, connection: "ClientConnection", channel: notifications.Channel) -> None:
        notifications.ping(connection)
        self._subscribe(channel)
        self.fill_gaps()

    def _subscribe(self, channel: notifications.Channel) -> None:
        """Follow what there is to follow now, if that is not what is followed already."""
        with self.database.read() as connection:
            open_ones = sessions.open_conversations(connection, limit=notifications.MOST_TOPICS)
        wanted = [notifications.topic_of_queue(queue_id) for queue_id in self.settings.notifications.queues]
        for conversation_id in open_ones:
            topics = notifications.topics_of(conversation_id)
            if len(wanted) + len(topics) > notifications.MOST_TOPICS:
                log.warning("notifications_full", conversations=len(open_ones))
                break
            wanted += topics
        if wanted == self.topics:
            return
        refused = notifications.subscribe(self.client, channel, wanted)
        if refused:
            log.error("topics_refused", topics=refused[:5], count=len(refused))
        self.topics = wanted

    def _take_in(self, body: bytes) -> None:
        if not notifications.is_of_interest(body):
            return
        context = events.Context(
            source=SOURCE, received_at=clock.now(), organization_id=self.settings.genesys.organization_id
        )
        inbox = Inbox(self.database, self.settings.resolution.as_map())
        inbox.record(events.parse(body, context)[0])

    def _note_gap(self, connected_at: datetime) -> None:
        """Remember what has to be asked for: from the last word of the channel before, or from our start."""
        since = (self.heard_at or connected_at) - MARGIN
        self.gaps.append(Window(since=since, until=connected_at + MARGIN))
        self.heard_at = connected_at

    def fill_gaps(self) -> None:
        """Have analytics asked for the gaps that it must know by now; the channel is heard meanwhile."""
        lag = timedelta(minutes=self.settings.reconcile.lag_minutes)
        due = [gap for gap in self.gaps if gap.until + lag <= clock.now()]
        if due and (self.filling is None or not self.filling.is_alive()):
            self.filling = threading.Thread(target=self._fill, args=(due,), name="fill-gaps", daemon=True)
            self.filling.start()

    def _fill(self, due: list[Window]) -> None:
        try:
            for gap in due:
                reconcile.run(self.settings, self.database, self.client, gap, stop=self.stop)
                self.gaps.remove(gap)
        except (AdapterFailure, Unavailable) as error:
            # It is tried again: a gap is forgotten only when it has been filled.
            log.warning("gap_waits", reason=str(error))
        except Exception:
            log.exception("gap_broke")
