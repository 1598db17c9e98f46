"""Connections that keep to a deadline and go only where they may: what `transport` puts underneath requests."""

import http.client
import io
import ipaddress
import queue
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from crm_sync import clock
from crm_sync.errors import Fault, Kind, failure


@dataclass(slots=True, kw_only=True)
class Call:
    """One call of `send`: how long it may still take, where it may go, and whether anything has left us."""

    deadline: float
    connect_seconds: float
    read_seconds: float
    allow_private: bool
    was_sent: bool = False

    def patience(self, seconds: float) -> float:
        """Return for how long to wait for the next step, at most these seconds; raises TimeoutError at the deadline."""
        left = self.deadline - clock.monotonic()
        if left <= 0:
            raise TimeoutError("total deadline")
        return min(left, seconds)


@contextmanager
def during(call: Call) -> Iterator[None]:
    """Make this the call that connections used inside the block belong to."""
    token = _CALL.set(call)
    try:
        yield
    finally:
        _CALL.reset(token)


class GuardedAdapter(HTTPAdapter):
    """A requests adapter all of whose connections are guarded; to be used inside `during`."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _GuardedPool, "https": _GuardedTLSPool}

    def close(self) -> None:
        # urllib3 leaves it to the garbage collector, which a failed call can keep waiting.
        pools = self.poolmanager.pools
        for pool in [pools.get(key) for key in pools.keys()]:  # noqa: SIM118 (it has no iterator)
            if pool is not None:
                pool.close()
        super().close()


def is_public(text: str) -> bool:
    """Whether an address is one of the open internet, however it is wrapped."""
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address):
        inner = _embedded(address)
        if inner is not None:
            return is_public(str(inner))
        if address.is_site_local:
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


# The call reaches its connection through a context variable, because the pools between them pass nothing on, and one
# pooled connection serves many calls. A context belongs to one thread, or to one greenlet.
_CALL: ContextVar[Call] = ContextVar("crm_sync_transport_call")

_REFUSED = Fault(
    kind=Kind.CONFIG, code="address_refused", message="The host is not at a public address, and only those are allowed."
)


class _PacedReader(io.RawIOBase):
    """Reads a socket so that no read outlasts its call. A socket's own timeout starts anew with every byte."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        call = _CALL.get()
        self._sock.settimeout(call.patience(call.read_seconds))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _PacedAnswer(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp.close()
        self.fp = io.BufferedReader(_PacedReader(sock))


class _Guarded:
    """What both kinds of connection do differently: connect to a checked address, and keep to the call's deadline."""

    response_class = _PacedAnswer
    sock: Any
    port: int
    _dns_host: str

    def connect(self) -> None:
        """Open the socket, by `_new_conn`; the connection class beside this one does it."""
        super().connect()  # type: ignore[misc]

    def _new_conn(self) -> socket.socket:
        # The one place where a name becomes an address. The address that is checked is the one that is connected to,
        # so a name that changes its mind in between gains nothing; TLS still checks the certificate by the name.
        call = _CALL.get()
        addresses = _resolve(self._dns_host, self.port, call.patience(call.connect_seconds))
        allowed = [address for address in addresses if call.allow_private or is_public(address)]
        if not allowed:
            raise failure(_REFUSED)
        problem: OSError | None = None
        for address in allowed:
            try:
                sock = socket.create_connection((address, self.port), call.patience(call.connect_seconds))
            except OSError as error:
                problem = error
                continue
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock
        raise problem or OSError("no address")

    def send(self, data: Any) -> None:
        call = _CALL.get()
        if self.sock is None:
            self.connect()
        for start in range(0, len(data), 65536):
            self.sock.settimeout(call.patience(call.read_seconds))
            call.was_sent = True
            super().send(data[start : start + 65536])  # type: ignore[misc]  # the connection's own, beside us


class _GuardedConnection(_Guarded, HTTPConnection):  # type: ignore[misc]
    pass


class _GuardedTLSConnection(_Guarded, HTTPSConnection):  # type: ignore[misc]
    pass


class _GuardedPool(HTTPConnectionPool):
    ConnectionCls = _GuardedConnection


class _GuardedTLSPool(HTTPSConnectionPool):
    ConnectionCls = _GuardedTLSConnection


def _resolve(host: str, port: int, seconds: float) -> list[str]:
    """Return the addresses of a host. The system's resolver has no deadline of its own, so a thread waits for it."""
    answers: queue.SimpleQueue[list[str] | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
            answers.put(list(dict.fromkeys(str(entry[4][0]) for entry in found)))
        except (OSError, UnicodeError) as error:
            answers.put(error)

    threading.Thread(target=ask, name="resolve", daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError("name not resolved in time") from None
    if isinstance(answer, Exception):
        raise OSError("name not resolved") from answer
    return answer


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that this one leads to: mapped, 6to4, Teredo, or through a NAT64 gateway."""
    if address in ipaddress.IPv6Network("64:ff9b::/96"):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None)
