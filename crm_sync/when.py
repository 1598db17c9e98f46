"""Which conversations a target is owed: by media, direction, queue and division."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Self

from crm_sync.closure import JSON, canonical_id

MEDIA = (
    "voice", "chat", "email", "callback", "cobrowse", "video", "screenshare", "message", "internalmessage",
    "screenmonitoring",
)  # fmt: skip
DIRECTIONS = ("inbound", "outbound")
AMONG_OURSELVES = frozenset(("internalmessage", "screenmonitoring"))
"""Media without a customer: owed only to a target that names them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class When:
    """What must be true of a conversation. Each list that is not empty must hold one of its values.

    A value that is not known is in no list; it may become known later, and the conversation be owed from then on.
    """

    media: tuple[str, ...] = ()
    direction: tuple[str, ...] = ()
    queue: tuple[str, ...] = ()
    division: tuple[str, ...] = ()

    @classmethod
    def from_record(cls, record: Mapping[str, Sequence[str]] | None) -> Self:
        """Return what `as_record` made; without a record the default."""
        return cls(**{name: tuple(values) for name, values in (record or {}).items()})

    def as_record(self) -> dict[str, JSON]:
        """Return it as JSON."""
        return {name: list(values) for name, values in asdict(self).items() if values}

    def chooses(
        self, *, media_type: str | None, direction: str | None, queue_ids: Sequence[str], division_ids: Sequence[str]
    ) -> bool:
        """Tell whether a closure with these fields is owed."""
        has_media = media_type in self.media if self.media else media_type not in AMONG_OURSELVES
        return (
            has_media
            and (not self.direction or direction in self.direction)
            and _meets(self.queue, queue_ids)
            and _meets(self.division, division_ids)
        )


def _meets(wanted: Sequence[str], ids: Sequence[str]) -> bool:
    return not wanted or not {canonical_id(each) for each in wanted}.isdisjoint(map(canonical_id, ids))
