"""Registration by the tutorial's contract: one webhook, which posts to us and signs with our secret."""

import hashlib
import hmac
import json
from dataclasses import dataclass, replace
from typing import Self

from pydantic import SecretStr

from crm_sync.closure import JSON
from crm_sync.errors import AdapterFailure, Kind, NotFound, SetupError
from crm_sync.genesys import webhooks
from crm_sync.genesys.client import GenesysClient
from crm_sync.genesys.webhooks import Webhook
from crm_sync.registration import Action, Difference, Keep, Plan, Step
from crm_sync.settings import Settings
from crm_sync.store.registrations import Registration

_EVENTS = (webhooks.ENDED,)
_NO_LIST = "This Genesys Cloud does not tell which webhooks it has: what was registered is remembered here alone."


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookWay:
    """The webhook that we want. See `registration.Way`."""

    name: str
    url: str
    secret: SecretStr
    fingerprint: str

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Return the way; raises SetupError when a setting is missing."""
        if settings.public_url is None:
            raise SetupError(
                "PUBLIC_URL is not set: set it to the address at which Genesys Cloud reaches this service."
            )
        if not settings.webhook_secrets:
            raise SetupError("WEBHOOK_SECRETS is not set: set it to the secret that shall sign events.")
        url, secret = settings.public_url + webhooks.OUR_PATH, settings.webhook_secrets[0]
        described = json.dumps([url, sorted(_EVENTS)]).encode()
        fingerprint = hmac.new(secret.get_secret_value().encode(), described, hashlib.sha256).hexdigest()
        return cls(name=settings.genesys.webhook_name, url=url, secret=secret, fingerprint=fingerprint)

    def plan(self, client: GenesysClient, known: Registration | None) -> Plan:
        """Return the one step. The secret is never shown, so that nothing but our own memory vouches for it."""
        is_known = known is not None and hmac.compare_digest(known.fingerprint, self.fingerprint)
        remote_id = None if known is None else known.remote_id
        found = webhooks.registered(client)
        if found is None:
            # This server cannot tell what it has, and another POST would make a second webhook.
            step = Step(action="created", name=self.name)
            if is_known:
                step = Step(action="unchanged", name=self.name, id=remote_id)
            return Plan(steps=(step,), remarks=(_NO_LIST,))
        ours = self._choose(found, remote_id)
        remarks = tuple(self._remarks(found, ours))
        if ours is None:
            return Plan(steps=(Step(action="created", name=self.name),), remarks=remarks)
        differing = self._differences(ours, is_secret_known=is_known and ours.id == remote_id)
        action: Action = "updated" if differing else "unchanged"
        return Plan(steps=(Step(action=action, name=self.name, id=ours.id, differences=differing),), remarks=remarks)

    def carry_out(self, client: GenesysClient, plan: Plan, keep: Keep) -> Plan:
        """Do it; see `registration.Way`."""
        (step,) = plan.steps
        if step.action == "unchanged":
            return plan
        keep()
        if step.action == "created" or step.id is None:
            return replace(plan, steps=(replace(step, id=self._create(client)),))
        secret = self.secret.get_secret_value()
        webhooks.replace(client, step.id, name=self.name, url=self.url, events=_EVENTS, secret=secret)
        return plan

    def listed(self, client: GenesysClient) -> list[Webhook] | None:
        """Return all webhooks."""
        return webhooks.registered(client)

    def remove(self, client: GenesysClient, known: Registration | None, chosen: str | None) -> tuple[list[str], bool]:
        """Remove the chosen webhook, or the one that we remember."""
        ours = None if known is None else known.remote_id
        chosen = chosen or ours
        if chosen is None:
            raise NotFound("No webhook is registered as ours: see crm-sync webhook show, and name the id to remove.")
        if not webhooks.remove(client, chosen) and chosen != ours:
            raise NotFound(f"Genesys Cloud has no webhook {chosen}: see crm-sync webhook show.")
        return [chosen], chosen == ours

    def _create(self, client: GenesysClient) -> str | None:
        secret = self.secret.get_secret_value()
        try:
            return webhooks.create(client, name=self.name, url=self.url, events=_EVENTS, secret=secret)
        except AdapterFailure as error:
            if error.fault.kind is not Kind.AMBIGUOUS:
                raise
            # The answer was lost. There was none of ours before, so one that is there now is what we made.
            ours = self._choose(webhooks.registered(client) or [], None)
            if ours is None:
                raise
            return ours.id

    def _choose(self, found: list[Webhook], remote_id: str | None) -> Webhook | None:
        """Return the webhook that is ours: by the id we remember, else by its address.

        Never by its name alone: another installation in the same organization may have given it the same.
        """
        remembered = [webhook for webhook in found if webhook.id == remote_id]
        return next(iter([*remembered, *self._at_our_url(found)]), None)

    def _at_our_url(self, found: list[Webhook]) -> list[Webhook]:
        return [webhook for webhook in found if webhook.url.rstrip("/") == self.url]

    def _remarks(self, found: list[Webhook], ours: Webhook | None) -> list[str]:
        remarks = []
        if len(at_our_url := self._at_our_url(found)) > 1:
            ids = ", ".join(webhook.id for webhook in at_our_url)
            remarks.append(
                f"Several webhooks post to {self.url} ({ids}): remove all but one with crm-sync webhook remove ID."
            )
        namesakes = [webhook.url for webhook in found if webhook.name == self.name]
        if ours is None and namesakes:
            remarks.append(
                f"The webhook to {', '.join(namesakes)} is called {self.name}, too, and stays: give ours another name "
                "with webhook_name in [genesys] to tell them apart."
            )
        return remarks

    def _differences(self, ours: Webhook, *, is_secret_known: bool) -> tuple[Difference, ...]:
        pairs: dict[str, tuple[JSON, JSON]] = {
            "name": (ours.name, self.name),
            "url": (ours.url, self.url),
            "events": ([*sorted(ours.events)], [*sorted(_EVENTS)]),
            "secret": ("ours" if is_secret_known else "not known to be ours", "ours"),
        }
        return tuple(
            Difference(field=field, found=found, wanted=wanted)
            for field, (found, wanted) in pairs.items()
            if found != wanted
        )
