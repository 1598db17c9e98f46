"""What a registration at Genesys Cloud consists of: a plan of steps, and what each way of registering can do."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from crm_sync.closure import JSON
from crm_sync.genesys.client import GenesysClient
from crm_sync.genesys.triggers import Trigger
from crm_sync.genesys.webhooks import Webhook
from crm_sync.store.registrations import Registration

Action: TypeAlias = Literal["created", "updated", "unchanged"]

Keep: TypeAlias = Callable[[], None]
"""What a way calls before it writes: raises Unavailable when another process may be at it by now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A field as Genesys Cloud has it, and as we want it."""

    field: str
    found: JSON
    wanted: JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One webhook or trigger, and what is or was to be done about it. `id` is None while Genesys Cloud told none."""

    action: Action
    name: str
    id: str | None = None
    differences: tuple[Difference, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All steps of a registration, and what an admin should know beside them, a sentence each."""

    steps: tuple[Step, ...]
    remarks: tuple[str, ...] = ()

    @property
    def action(self) -> Action:
        """What the steps come to: `unchanged` when none of them writes."""
        actions = {step.action for step in self.steps}
        return "created" if "created" in actions else "updated" if "updated" in actions else "unchanged"


class Way(Protocol):
    """One way of telling Genesys Cloud where we are, with what it takes from the settings.

    `url` and `fingerprint` are remembered once it is done; a fingerprint that differs is a registration to be done.
    """

    @property
    def url(self) -> str:
        """Where Genesys Cloud is told to post, empty when it is not told."""

    @property
    def fingerprint(self) -> str:
        """What tells this registration from one by other settings."""

    def plan(self, client: GenesysClient, known: Registration | None) -> Plan:
        """Return what is to be done, by what Genesys Cloud has and what we remember; writes nothing."""

    def carry_out(self, client: GenesysClient, plan: Plan, keep: Keep) -> Plan:
        """Do it, and return the plan as it was done; harmless when repeated."""

    def listed(self, client: GenesysClient) -> Sequence[Webhook] | Sequence[Trigger] | None:
        """Return what there is at Genesys Cloud, None where it does not tell."""

    def remove(self, client: GenesysClient, known: Registration | None, chosen: str | None) -> tuple[list[str], bool]:
        """Remove what is ours, or the chosen one; return the ids, and whether our registration is gone by that.

        Raises NotFound where there is nothing to remove.
        """
