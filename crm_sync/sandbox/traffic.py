"""What reached a pretend system: how often each call was made and how it was answered."""

import threading
from collections import Counter

from flask import Request, Response

from crm_sync.sandbox.wire import JSONObject

CONTROL = "/sandbox/"
"""The control API, which is neither counted nor troubled by faults."""


class Traffic:
    """Counts requests by method, route and status."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str, int]] = Counter()

    def note(self, request: Request, response: Response) -> None:
        """Count one answered request under its route, or under `unknown` where there is none."""
        if is_control(request):
            return
        route = request.url_rule.rule if request.url_rule else "unknown"
        with self._lock:
            self._counts[request.method, route, response.status_code] += 1

    def as_objects(self) -> list[JSONObject]:
        with self._lock:
            counts = sorted(self._counts.items())
        return [
            {"method": method, "path": path, "status": status, "count": count}
            for (method, path, status), count in counts
        ]


def is_control(request: Request) -> bool:
    return request.path.startswith(CONTROL)
