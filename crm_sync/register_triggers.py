"""Registration on the real platform: one process automation trigger for each kind of event, which starts a workflow."""

import hashlib
import hmac
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

from crm_sync.errors import AdapterFailure, Fault, Kind, NotFound, SetupError, failure
from crm_sync.genesys import triggers
from crm_sync.genesys.client import GenesysClient
from crm_sync.genesys.triggers import Description, Trigger
from crm_sync.registration import Action, Difference, Keep, Plan, Step
from crm_sync.settings import Settings
from crm_sync.store.registrations import Registration

ATTEMPTS = 3
"""How often a trigger that others change meanwhile is read, compared and written."""

_SECRET_CHANGED = (
    "The first of WEBHOOK_SECRETS has changed, and the secret is not part of a trigger: change it in the credentials "
    "of the data action, too."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerWay:
    """The triggers that we want. See `registration.Way`.

    The first half of the fingerprint is of the triggers, the second one of the secret, which they do not hold.
    """

    prefix: str
    wanted: tuple[Description, ...]
    workflow_ids: tuple[str, ...]
    fingerprint: str
    url: str = ""

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Return the way; raises SetupError where a kind has no workflow."""
        given = settings.genesys.triggers
        workflows = {kind: given.workflows.get(kind) or given.workflow_id for kind in given.kinds}
        wanted = tuple(
            triggers.describe(
                kind,
                prefix=given.name,
                workflow_id=workflow_id,
                data_format=given.data_format,
                leave_out_transfers=given.leave_out_transfers,
            )
            for kind, workflow_id in workflows.items()
            if workflow_id is not None
        )
        if len(wanted) < len(workflows):
            raise SetupError("No workflow is named for the triggers: set workflow_id in [genesys.triggers].")
        return cls(
            prefix=given.name,
            wanted=wanted,
            workflow_ids=tuple(dict.fromkeys(workflow_id for workflow_id in workflows.values() if workflow_id)),
            fingerprint=_fingerprint(wanted, settings),
        )

    def plan(self, client: GenesysClient, known: Registration | None) -> Plan:
        """Return a step for each kind whose topic the organisation has; raises when there is none, or no workflow."""
        topics = triggers.topics(client)
        available = [wanted for wanted in self.wanted if wanted.topic in topics]
        if not available:
            raise failure(Fault(kind=Kind.CONFIG, code="no_topics", message=_lacking(self.wanted)))
        remarks = [_lacking(missing)] if (missing := [one for one in self.wanted if one not in available]) else []
        remarks += self._check_workflows(client)
        found = triggers.listed(client, {topic for topic in topics if topic.startswith(triggers.TOPIC)})
        steps = tuple(_step(wanted, _namesakes(wanted, found)) for wanted in available)
        for wanted in available:
            remarks += _duplicates(_namesakes(wanted, found))
        remarks += self._left_over(found)
        if known is not None and known.fingerprint and not _same_secret(known.fingerprint, self.fingerprint):
            remarks.append(_SECRET_CHANGED)
        return Plan(steps=steps, remarks=tuple(remarks))

    def carry_out(self, client: GenesysClient, plan: Plan, keep: Keep) -> Plan:
        """Do it; see `registration.Way`."""
        wanted = {one.name: one for one in self.wanted}
        steps = [
            step if step.action == "unchanged" else _bring_in_line(client, wanted[step.name], step, keep)
            for step in plan.steps
        ]
        return replace(plan, steps=tuple(steps))

    def listed(self, client: GenesysClient) -> list[Trigger]:
        """Return the triggers that are ours, also those of kinds that are not wanted any more."""
        topics = {topic for topic in triggers.topics(client) if topic.startswith(triggers.TOPIC)}
        return [trigger for trigger in triggers.listed(client, topics) if self._is_ours(trigger)]

    def remove(self, client: GenesysClient, known: Registration | None, chosen: str | None) -> tuple[list[str], bool]:
        """Remove the chosen trigger, or all that are ours."""
        ours = [trigger.id for trigger in self.listed(client)]
        ids = ours if chosen is None else [chosen]
        removed = [trigger_id for trigger_id in ids if triggers.remove(client, trigger_id)]
        if not removed and chosen is not None:
            raise NotFound(f"Genesys Cloud has no trigger {chosen}: see crm-sync webhook show.")
        if not removed and known is None:
            raise NotFound(f"There is no trigger whose name begins with {self.prefix}: see crm-sync webhook show.")
        return removed, chosen is None or chosen in ours

    def _is_ours(self, trigger: Trigger) -> bool:
        return trigger.name == f"{self.prefix} {trigger.topic.removeprefix(triggers.TOPIC)}"

    def _check_workflows(self, client: GenesysClient) -> list[str]:
        """Return what could not be checked; raises AdapterFailure for a workflow that no trigger can start."""
        try:
            faults = [triggers.workflow_fault(client, workflow_id) for workflow_id in self.workflow_ids]
        except AdapterFailure as error:
            if error.fault.code != "http_403":
                raise
            return [f"Whether the workflow can be started is not known. {error}"]
        told = [fault for fault in faults if fault is not None]
        if told:
            raise failure(Fault(kind=Kind.CONFIG, code="workflow_unusable", message=" ".join(told)))
        return []

    def _left_over(self, found: list[Trigger]) -> Iterator[str]:
        wanted = {one.topic for one in self.wanted}
        for trigger in found:
            if self._is_ours(trigger) and trigger.topic not in wanted:
                yield (
                    f"The trigger {trigger.name} ({trigger.id}) is of a kind that is not in kinds any more: remove it "
                    f"with crm-sync webhook remove {trigger.id}, or add the kind."
                )


def _step(wanted: Description, namesakes: list[Trigger]) -> Step:
    """Return what is to be done about a trigger. Of several the first by id is kept."""
    if not namesakes:
        return Step(action="created", name=wanted.name)
    differing = tuple(
        Difference(field=field, found=found, wanted=value)
        for field, (found, value) in triggers.differences(namesakes[0], wanted).items()
    )
    action: Action = "updated" if differing else "unchanged"
    return Step(action=action, name=wanted.name, id=namesakes[0].id, differences=differing)


def _bring_in_line(client: GenesysClient, wanted: Description, planned: Step, keep: Keep) -> Step:
    """Write a trigger, and return what was done. It is listed before every write, and after a POST that may have been.

    The plan's own list is not relied on: its versions may be old by now.
    """
    for attempt in range(1, ATTEMPTS + 1):
        namesakes = _namesakes(wanted, triggers.listed(client, [wanted.topic]))
        step = _step(wanted, namesakes)
        if step.action == "unchanged":
            # Somebody else has done it meanwhile, or we have before an answer was lost.
            return replace(planned, id=step.id)
        keep()
        if step.action == "created":
            return replace(step, id=_create(client, wanted))
        try:
            triggers.replace(client, namesakes[0], wanted)
            return step
        except AdapterFailure as error:
            if error.fault.code not in ("http_404", "http_409") or attempt == ATTEMPTS:
                raise
    raise AssertionError("the last attempt returns or raises")


def _create(client: GenesysClient, wanted: Description) -> str:
    try:
        return triggers.create(client, wanted)
    except AdapterFailure as error:
        if error.fault.kind is not Kind.AMBIGUOUS:
            raise
        # There was none before, so one that is there now is what we made. Else the next try begins with a list.
        namesakes = _namesakes(wanted, triggers.listed(client, [wanted.topic]))
        if not namesakes:
            raise
        return namesakes[0].id


def _namesakes(wanted: Description, found: list[Trigger]) -> list[Trigger]:
    return [trigger for trigger in found if (trigger.name, trigger.topic) == (wanted.name, wanted.topic)]


def _duplicates(namesakes: list[Trigger]) -> Iterator[str]:
    if len(namesakes) > 1:
        first, *others = namesakes
        yield (
            f"Several triggers are called {first.name}; {first.id} is kept, and every event also comes by "
            f"{', '.join(one.id for one in others)}: remove them with crm-sync webhook remove ID."
        )


def _lacking(missing: list[Description] | tuple[Description, ...]) -> str:
    names = ", ".join(one.topic for one in missing)
    return (
        f"Triggers cannot have the topics {names} in this organisation: take their kinds out of kinds, or ask Genesys."
    )


def _fingerprint(wanted: tuple[Description, ...], settings: Settings) -> str:
    described = json.dumps([[one.name, one.topic, one.fields] for one in wanted], sort_keys=True).encode()
    secret = settings.webhook_secrets[0].get_secret_value() if settings.webhook_secrets else ""
    of_secret = hmac.new(secret.encode(), b"trigger", hashlib.sha256).hexdigest()
    return hashlib.sha256(described).hexdigest()[:32] + of_secret[:32]


def _same_secret(one: str, other: str) -> bool:
    return hmac.compare_digest(one[32:], other[32:])
