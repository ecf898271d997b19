"""The one place that talks to httpx: sends a call once, and turns what happens into a reply or an error."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, TypeVar

import httpx
from pydantic import JsonValue, SecretStr

from api_client.errors import ErrorDetail, NotSent, OutcomeUnknown
from api_client.replies import Answer, Reply, describe, error_class, read_json

T = TypeVar("T")

# Raised before the first byte of a request is written. Everything else may come after it.
# A ProxyError is a proxy's refusal to open a tunnel.
_NEVER_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
    httpx.InvalidURL,
)
_BEGINS_TO_WRITE = "send_request_headers.started"
_HAS_WRITTEN = "send_request_body.complete"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds that each step of a call may take.

    connect: to open a connection. read: for the server's silence. write: for the server not taking our bytes.
    pool: to get a connection of the pool.
    """

    connect: float = 5.0
    read: float = 30.0
    write: float = 10.0
    pool: float = 5.0

    def __post_init__(self) -> None:
        for name in ("connect", "read", "write", "pool"):
            if not getattr(self, name) > 0:
                raise ValueError(f"the {name} timeout must be above 0 seconds, got {getattr(self, name)}")

    @property
    def before_send(self) -> float:
        """The latest that a call may begin to write, in seconds from its start; later it is not sent."""
        return self.pool + self.connect

    @property
    def body(self) -> float:
        """When the body has to be complete, in seconds from the call's start, however it drips."""
        return self.before_send + self.write + self.read

    @property
    def total(self) -> float:
        """The upper bound of one call in seconds, which a lease must outlast.

        The body's deadline is looked at as bytes come, so the server's last silence is added to it. Outside
        the bound is only a server that drips its header lines, each byte within the read timeout.
        """
        return self.body + self.read


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the pool and of a reply.

    connections: how many calls may be under way at once. keepalive: seconds that an idle connection is kept;
    less than the 5 s after which common servers close theirs, since a request that meets a closing connection
    has an unknown outcome. body: the largest reply in bytes, decompressed.
    """

    connections: int = 100
    keepalive: float = 4.0
    body: int = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Clock:
    """Where time comes from: `monotonic` for durations, `wall` for epoch seconds."""

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time


@dataclass(frozen=True, slots=True)
class Call:
    """One request to make. `path` is relative to the base URL, its segments already encoded."""

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, JsonValue] | None = field(default=None, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)


class _OwnError(Exception):
    """Something of ours ended a call; its text is made for the reader of the error."""


class _TooLateError(_OwnError):
    """The time for the first byte passed before a connection was there."""


class _BodyError(_OwnError):
    """A reply's body was too slow or too large."""


class _Progress:
    """Follows one call from inside httpcore: when it was written; and refuses to begin writing after `latest`."""

    def __init__(self, clock: Clock, timeouts: Timeouts) -> None:
        self.started = clock.monotonic()
        self.written: float | None = None
        self._clock = clock
        self._before_send = timeouts.before_send

    def __call__(self, event: str, _info: Mapping[str, Any]) -> None:
        """Take a trace event of httpcore.

        Pool and connect timeouts can be overrun: DNS has none, and each address of a name gets the whole connect
        timeout.
        """
        if event.endswith(_HAS_WRITTEN):
            self.written = self._clock.monotonic() - self.started
        elif event.endswith(_BEGINS_TO_WRITE) and self._clock.monotonic() - self.started > self._before_send:
            raise _TooLateError(f"no connection within {self._before_send:g} s")


class Wire:
    """One pool of connections to one API with one token, shared by threads.

    Sends each call exactly once: httpx is used without redirects and without retries, and httpcore takes
    another connection only when the one that it was given refused the call before the first byte.
    Cookies are not kept. Proxies and certificate bundles of the environment are honoured as httpx does (who
    runs behind a proxy expects it), except that a loopback address is reached directly: no proxy could do it.
    """

    def __init__(
        self,
        token: SecretStr,
        *,
        base_url: str,
        user_agent: str,
        transport: httpx.BaseTransport | None,
        timeouts: Timeouts,
        limits: Limits,
        clock: Clock,
    ) -> None:
        self.base_url = check_base_url(base_url)
        self.timeouts = timeouts
        self._token = check_token(token)
        self._limits = limits
        self._clock = clock
        self._http = httpx.Client(
            headers=_default_headers(self._token, user_agent),
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            timeout=httpx.Timeout(
                connect=timeouts.connect, read=timeouts.read, write=timeouts.write, pool=timeouts.pool
            ),
            limits=httpx.Limits(
                max_connections=limits.connections,
                max_keepalive_connections=limits.connections,
                keepalive_expiry=limits.keepalive,
            ),
            follow_redirects=False,
            trust_env=not is_loopback(self.base_url),
            transport=transport,
        )

    def close(self) -> None:
        """Close the pool; a later call is `NotSent`."""
        self._http.close()

    def exchange(self, call: Call, read: Callable[[Any], T]) -> Reply[T]:
        """Send the call once and read its JSON with `read`, which raises ValueError for what it can't read.

        Raises one of the classes of `api_client.errors`, or ValueError for a call that can't be written down.
        """
        sent_at, progress = self._clock.wall(), _Progress(self._clock, self.timeouts)
        answer = self._send(call, progress)
        detail = replace(self._describe(call, answer), written=progress.written)
        if not answer.ok:
            raise error_class(answer.status, has_words=bool(detail.errors))(detail) from answer.cause
        try:
            value = read(read_json(answer.body or b""))
        except Exception as exc:  # noqa: BLE001 - an unreadable success is unknown, why ever
            raise OutcomeUnknown(replace(detail, summary="the reply could not be read")) from scrubbed(exc)
        return Reply(
            value=value,
            rate=detail.rate,
            status=answer.status,
            request_id=detail.request_id,
            scopes=detail.scopes,
            sent_at=sent_at,
            elapsed=self._clock.monotonic() - progress.started,
            written=progress.written,
        )

    def _describe(self, call: Call, answer: Answer) -> ErrorDetail:
        secrets = (self._token.get_secret_value(), *call.secrets)
        return describe(_bare(call), answer, now=self._clock.wall(), secrets=secrets)

    def _send(self, call: Call, progress: _Progress) -> Answer:
        """The one place where foreign errors become ours."""
        if self._http.is_closed:
            raise NotSent(_bare(call, "the client is closed"))
        request = self._request(call, progress)
        try:
            response = self._http.send(request, stream=True)
        except (*_NEVER_SENT, _TooLateError) as exc:
            raise NotSent(_bare(call, _words(exc))) from scrubbed(exc)
        except Exception as exc:  # noqa: BLE001 - whatever else it was, the request may have left
            detail = replace(_bare(call, _words(exc)), written=progress.written)
            raise OutcomeUnknown(detail) from scrubbed(exc)
        return self._receive(response, progress.started)

    def _request(self, call: Call, progress: _Progress) -> httpx.Request:
        try:
            return self._http.build_request(
                call.method,
                self.base_url + call.path,
                params=call.params or None,
                headers=call.headers,
                json=call.body,
                extensions={"trace": progress},
            )
        except (httpx.InvalidURL, ValueError, TypeError):
            # NaN, half a surrogate pair, an endless id. The cause would quote the body.
            raise ValueError(f"{call.method} {call.path[:200]} cannot be written as a request") from None

    def _receive(self, response: httpx.Response, started: float) -> Answer:
        headers = {name.lower(): value for name, value in response.headers.items()}
        try:
            body = self._body(response, started + self.timeouts.body)
        except Exception as exc:  # noqa: BLE001 - the status and headers are still there to judge by
            return Answer(response.status_code, headers, None, flaw=_words(exc), cause=scrubbed(exc))
        finally:
            response.close()
        return Answer(response.status_code, headers, body)

    def _body(self, response: httpx.Response, deadline: float) -> bytes:
        """The whole body, within the deadline: the read timeout alone never ends a reply that drips."""
        body = bytearray()
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > self._limits.body:
                raise _BodyError(f"the reply is larger than {self._limits.body} bytes")
            if self._clock.monotonic() > deadline:
                raise _BodyError(f"the reply took more than {self.timeouts.body:g} s")
        return bytes(body)


def check_base_url(base_url: str) -> str:
    """The base URL without trailing slash, or ValueError when it can't be one."""
    try:
        url = httpx.URL(base_url)
        url.host.encode("idna")  # else looking the name up fails, with an error that httpx does not know
    except (httpx.InvalidURL, TypeError, UnicodeError):
        raise ValueError("the base URL is not a URL") from None
    if url.userinfo:
        raise ValueError("the base URL must not hold a user or password")
    if url.scheme not in {"http", "https"} or not url.host or url.query or url.fragment:
        raise ValueError(f"the base URL must look like https://host/path, got {base_url!r}")
    return base_url.rstrip("/")


def check_token(token: SecretStr) -> SecretStr:
    """The token, or ValueError (which does not quote it) when no header can carry it."""
    if not _is_one_word(token.get_secret_value()):
        raise ValueError("the token must be printable ASCII without spaces, and not empty")
    return token


def check_user_agent(user_agent: str) -> str:
    """The user agent, or ValueError when no header can carry it."""
    if not all(map(_is_one_word, user_agent.split(" "))):
        raise ValueError(f"the user agent must be printable ASCII, got {user_agent!r}")
    return user_agent


def is_loopback(base_url: str) -> bool:
    """Whether the URL's host is this machine, by name or address."""
    host = httpx.URL(base_url).host
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def scrubbed(exc: BaseException) -> BaseException:
    """The same exception and its causes, without what may hold headers or bodies.

    Dropped are the request on httpx's errors and each traceback, whose frames hold the bytes that were sent.
    """
    link: BaseException | None = exc
    while link is not None:
        link.__traceback__ = None
        if isinstance(link, httpx.RequestError):
            link._request = None  # noqa: SLF001 - the public setter takes no None
        link = link.__cause__ or link.__context__
    return exc


def _is_one_word(text: str) -> bool:
    return bool(text) and text.isascii() and text.isprintable() and " " not in text


def _default_headers(token: SecretStr, user_agent: str) -> httpx.Headers:
    """As a value whose repr masks the token."""
    return httpx.Headers(
        {
            "Authorization": f"Bearer {token.get_secret_value()}",
            "User-Agent": check_user_agent(user_agent),
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
        }
    )


def _bare(call: Call, summary: str = "") -> ErrorDetail:
    return ErrorDetail(method=call.method, path=call.path, summary=summary)


def _words(exc: Exception) -> str:
    """What went wrong, in the words of the error; httpx puts neither headers nor body into them."""
    if isinstance(exc, _OwnError):
        return str(exc)
    return f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
