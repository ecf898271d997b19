"""The way out for webhooks: one POST to an address that a tenant chose, and nowhere else.

A name is resolved once, every address that it has is judged, and the connection goes to one of these: no second
look-up could be answered otherwise (DNS rebinding). TLS checks the certificate against the name. Redirects are not
followed, proxies of the environment are not used, and whatever the receiver does, it is over after some seconds.
"""

import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import httpcore
import httpx

from jobs.reach import Reach, refusal

CONNECT_SECONDS: Final = 3.0
TOTAL_SECONDS: Final = 15.0
MOST_READ: Final = 4096
"""So many bytes of an answer are read; the rest is nobody's concern."""
_SHOWN: Final = 300
_ADDRESSES: Final = 4
_FIRST_REDIRECT: Final = 300
_FIRST_ERROR: Final = 400

Resolve = Callable[[str, int], Sequence[str]]
"""Returns the addresses of a name. Raises OSError where there is none."""


@dataclass(frozen=True)
class Answer:
    """What came of one POST. ``error``: why it was not taken; None: it was. ``status`` is None without an answer."""

    status: int | None = None
    error: str | None = None
    retry_after: str | None = None


class _AddressRefusedError(Exception):
    """The name leads where we do not go."""


class _NoAddressError(Exception):
    """The name leads nowhere."""


def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a name as the system knows them."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(one[4][0]) for one in found))


class Egress:
    """Sends deliveries.

    Args:
        reach: how far inwards.
        resolver: looks names up.
        ssl_context: whom TLS trusts; by default the authorities that httpx comes with.
        sockets: opens connections to addresses.
        connect_seconds: how long a connection may take.
        total_seconds: how long all of it may take.

    """

    def __init__(
        self,
        reach: Reach,
        *,
        resolver: Resolve = resolve,
        ssl_context: ssl.SSLContext | None = None,
        sockets: httpcore.NetworkBackend | None = None,
        connect_seconds: float = CONNECT_SECONDS,
        total_seconds: float = TOTAL_SECONDS,
    ) -> None:
        self._reach = reach
        self._resolver = resolver
        self._ssl_context = ssl_context or httpx.create_ssl_context(trust_env=False)
        self._sockets = sockets or httpcore.SyncBackend()
        self._connect_seconds = connect_seconds
        self._total_seconds = total_seconds

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send ``body`` once, and say what came of it. Never raises for what the receiver does."""
        leash = _Leash(self._total_seconds)
        judge = partial(refusal, reach=self._reach, encrypted=url.startswith("https:"))
        road = _Road(judge, self._resolver, leash, self._sockets)
        with leash, httpcore.ConnectionPool(ssl_context=self._ssl_context, network_backend=road) as pool:
            try:
                return self._exchange(pool, url, headers, body)
            except _AddressRefusedError as error:
                return Answer(error=f"not sent: {error}")
            except _NoAddressError as error:
                return Answer(error=f"not sent: {error}")
            except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
                return Answer(error=self._words(error, late=leash.cut))

    def _exchange(
        self, pool: httpcore.ConnectionPool, url: str, headers: Mapping[str, str], body: bytes
    ) -> Answer:
        total = self._total_seconds
        timeouts = {"connect": self._connect_seconds, "read": total, "write": total, "pool": total}
        sent = list(headers.items())
        with pool.stream(
            "POST", url, headers=sent, content=body, extensions={"timeout": timeouts}
        ) as response:
            words = _read_some(response)
            given = {name.lower(): value for name, value in response.headers}
            after = given.get(b"retry-after", b"").decode("latin-1") or None
            return Answer(response.status, _complaint(response.status, words), after)

    def _words(self, error: Exception, *, late: bool) -> str:
        if late:
            return f"no whole answer within {self._total_seconds:g} s"
        if isinstance(error, httpcore.ConnectTimeout):
            return f"no connection within {self._connect_seconds:g} s"
        said = str(error).strip()
        return _printable(f"{_WHAT.get(type(error), 'the exchange broke off')}{f': {said}' if said else ''}")


_WHAT: Final[dict[type[Exception], str]] = {
    httpcore.ConnectError: "no connection",
    httpcore.ReadTimeout: "no answer in time",
    httpcore.ReadError: "the connection broke before an answer",
    httpcore.WriteError: "the connection broke while it was sent",
    httpcore.RemoteProtocolError: "the answer is no HTTP",
}


def _complaint(status: int, words: str) -> str | None:
    if status < _FIRST_REDIRECT:
        return None
    said = f": {words}" if words else ""
    if status < _FIRST_ERROR:
        return f"answered {status}; redirects are not followed{said}"
    return f"answered {status}{said}"


def _read_some(response: httpcore.Response) -> str:
    """Return the beginning of an answer's body. The status counts, however its body ends."""
    found = b""
    with suppress(httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError):
        for chunk in response.iter_stream():
            found += chunk
            if len(found) >= MOST_READ:
                break
    return _printable(found[:MOST_READ].decode(errors="replace"))


def _printable(text: str) -> str:
    words = "".join(sign if sign.isprintable() else " " for sign in text)
    return " ".join(words.split())[:_SHOWN]


class _Leash:
    """Cuts every connection once its time is up, in whatever they are stuck: a handshake that drips, too."""

    def __init__(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True
        self._held: list[socket.socket] = []
        self._lock = threading.Lock()
        self.cut = False

    def hold(self, connection: socket.socket) -> None:
        """Put a connection on the leash."""
        with self._lock:
            # A socket of its own for the same connection: TLS takes the first one over.
            self._held.append(connection.dup())
        if self.cut:
            self._cut()

    def _cut(self) -> None:
        with self._lock:
            self.cut = True
            for one in self._held:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *exc: object) -> None:
        self._timer.cancel()
        with self._lock:
            for one in self._held:
                one.close()


class _Road(httpcore.NetworkBackend):
    """Opens connections, after a look at where they lead."""

    def __init__(
        self,
        judge: Callable[[str], str | None],
        resolver: Resolve,
        leash: _Leash,
        sockets: httpcore.NetworkBackend,
    ) -> None:
        self._judge = judge
        self._resolver = resolver
        self._leash = leash
        self._sockets = sockets

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first address of ``host`` that answers. One that is refused refuses all."""
        failure: Exception = _NoAddressError(f"the name {host} has no address")
        for address in self._judged(host, port)[:_ADDRESSES]:
            if self._leash.cut:
                raise httpcore.ConnectTimeout
            try:
                stream = self._sockets.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
                continue
            self._leash.hold(stream.get_extra_info("socket"))
            return stream
        raise failure

    def _judged(self, host: str, port: int) -> list[str]:
        try:
            found = list(self._resolver(host, port))
        except (OSError, UnicodeError):
            found = []
        for address in found:
            words = self._judge(address)
            if words is not None:
                raise _AddressRefusedError(words if address == host else f"{words}, and {host} leads there")
        return found
