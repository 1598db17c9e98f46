"""Every metric of the service, declared once. Labels come from small closed sets, never from a customer's data."""

from prometheus_client import Counter, Histogram

EVENTS = Counter("crm_sync_events_received", "Events recorded, by what became of them.", ["status"])

REFUSALS = Counter("crm_sync_events_refused", "Webhook requests that were refused, by reason.", ["reason"])

GROUP_SIZE = Histogram(
    "crm_sync_intake_group_size",
    "Events that shared one transaction.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
)

INTAKE_SECONDS = Histogram(
    "crm_sync_intake_seconds",
    "Time from an event's first byte read to its commit.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)

PUSHES = Counter(
    "crm_sync_deliveries", "Records pushed to a target, by the outcome of the attempt.", ["target", "outcome"]
)

PUSH_SECONDS = Histogram(
    "crm_sync_push_seconds",
    "Time that one call of an adapter's push took.",
    ["target"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 60),
)
