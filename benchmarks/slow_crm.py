"""A CRM that answers each push after 20 ms and does nothing else, so that it takes little of the cores it shares.

Any `GET` tells how many pushes it has taken; `GET /pushes` tells how often each push key came, how long it was from the
first to the end of the last, and how many came at the same time at most.
"""

import asyncio
import json
import os
import re
from asyncio import IncompleteReadError, StreamReader, StreamWriter
from collections import Counter
from typing import Any

SECONDS = 0.020

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_PUSH_KEY = re.compile(rb"\r\nwebhook-id: *([^\r]+)", re.IGNORECASE)


class SlowCRM:
    """Speaks just enough of HTTP/1.1: connections stay open, and bodies have their length announced."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._first_at = self._last_at = 0.0
        self._taken = self._under_way = self._most = 0

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Answer the requests of one connection until it ends."""
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = _LENGTH.search(head)
                await reader.readexactly(int(length[1]) if length else 0)
                push_key = _PUSH_KEY.search(head)
                told = await self._take(push_key[1].decode()) if push_key else self._tell(head)
                body = json.dumps(told).encode()
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
                )
                writer.write(body)
        except (IncompleteReadError, ConnectionError):
            writer.close()

    async def _take(self, push_key: str) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        self._first_at = self._first_at or loop.time()
        self._counts[push_key] += 1
        self._under_way += 1
        self._most = max(self._most, self._under_way)
        await asyncio.sleep(SECONDS)
        self._last_at = loop.time()
        self._under_way -= 1
        self._taken += 1
        return {}

    def _tell(self, head: bytes) -> dict[str, Any]:
        if not head.startswith(b"GET /pushes "):
            return {"taken": self._taken}
        return {"counts": self._counts, "seconds": self._last_at - self._first_at, "most_at_once": self._most}


async def _listen() -> None:
    server = await asyncio.start_server(SlowCRM().serve, "127.0.0.1", int(os.environ["PORT"]))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_listen())
