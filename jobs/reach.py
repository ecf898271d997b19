"""Which addresses a webhook may be sent to: what the world can reach, and no more unless the operator allows it.

A tenant chooses the URL, and our machine sends the request from inside our network. So it is the address that is about
to be connected to that is judged, whatever name led there. IPv6 is taken from what is given out for use in the world,
and an IPv4 address within one (mapped, NAT64) is judged as itself.
"""

import ipaddress
import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Final
from urllib.parse import SplitResult, urlsplit

from jobs.requests import INVALID_REQUEST, RequestFault, printable

LONGEST_URL: Final = 2048
HTTPS_PORT: Final = 443
FIRST_FREE_PORT: Final = 1024
LAST_PORT: Final = 65535
LOCAL_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
"""Where a URL without TLS may lead, where loopback is allowed at all."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Reach(StrEnum):
    """How far inwards webhooks may reach."""

    PUBLIC = "no"
    """Only what everybody in the world can reach."""
    LOOPBACK = "loopback"
    """This machine too, also without TLS: for a stack of one's own."""
    PRIVATE = "yes"
    """Private networks too. Never link-local ones, where clouds keep their metadata."""


_KINDS_V4: Final = {
    "unspecified": ("0.0.0.0/8",),
    "loopback": ("127.0.0.0/8",),
    "private": ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"),
    "link-local": ("169.254.0.0/16",),
    "multicast": ("224.0.0.0/4",),
    "reserved": (
        *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24"),
        *("203.0.113.0/24", "240.0.0.0/4"),
    ),
}
_KINDS_V6: Final = {
    "unspecified": ("::/128",),
    "loopback": ("::1/128",),
    "private": ("fc00::/7",),
    "link-local": ("fe80::/10",),
    "multicast": ("ff00::/8",),
    "reserved": ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"),
}
_V4: Final = {kind: [ipaddress.IPv4Network(net) for net in networks] for kind, networks in _KINDS_V4.items()}
_V6: Final = {kind: [ipaddress.IPv6Network(net) for net in networks] for kind, networks in _KINDS_V6.items()}
_GIVEN_OUT: Final = ipaddress.IPv6Network("2000::/3")
_WITHIN: Final = (ipaddress.IPv6Network("::ffff:0:0/96"), ipaddress.IPv6Network("64:ff9b::/96"))
"""IPv6 networks whose last 32 bits are an IPv4 address: mapped, and NAT64."""
_ALLOWED: Final = {
    Reach.PUBLIC: frozenset({None}),
    Reach.LOOPBACK: frozenset({None, "loopback"}),
    Reach.PRIVATE: frozenset({None, "loopback", "private"}),
}


def kind_of(address: Address) -> str | None:
    """Return what keeps an address from being the world's, such as ``loopback``; None: it is the world's.

    >>> kind_of(ipaddress.ip_address("::ffff:10.0.0.1")), kind_of(ipaddress.ip_address("1.1.1.1"))
    ('private', None)
    """
    if isinstance(address, ipaddress.IPv4Address):
        return next((kind for kind, nets in _V4.items() if any(address in net for net in nets)), None)
    bare = ipaddress.IPv6Address(int(address))  # without a zone
    if any(bare in net for net in _WITHIN):
        return kind_of(ipaddress.IPv4Address(int(bare) & 0xFFFFFFFF))
    found = next((kind for kind, nets in _V6.items() if any(bare in net for net in nets)), None)
    return found if found or bare in _GIVEN_OUT else "reserved"


def refusal(address: str, reach: Reach, *, encrypted: bool = True) -> str | None:
    """Return why ``address`` may not be connected to, or None: it may.

    Args:
        address: an IPv4 or IPv6 address.
        reach: what the operator allows.
        encrypted: whether TLS is spoken; without it only loopback will do.

    """
    kind = kind_of(ipaddress.ip_address(address))
    if kind not in _ALLOWED[reach]:
        return f"{address} is a {kind} address"
    if not encrypted and kind != "loopback":
        return f"{address} is not this machine, and the URL is without TLS"
    return None


# URLs ----------------------------------------------------------------------------------------------------------------

_HOST: Final = re.compile(
    r"(?=.{1,253}\.?$)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z]([a-z0-9-]{0,61}[a-z0-9])?\.?",
    re.IGNORECASE,
)
"""A DNS name. The last label begins with a letter: `127.1` and `0x7f000001` are addresses in disguise."""


def url_faults(url: object, reach: Reach) -> list[RequestFault]:
    """Return everything that is wrong with an endpoint's URL; an address in it is judged at once."""
    return [
        RequestFault(
            code=INVALID_REQUEST,
            pointer="/url",
            field="url",
            value=printable(_without_password(url)) if isinstance(url, str) else None,
            message=message,
            remedy=remedy,
        )
        for message, remedy in _wrong(url, reach)
    ]


def _without_password(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//…@", url)


def _wrong(url: object, reach: Reach) -> Iterator[tuple[str, str]]:
    if not isinstance(url, str) or not url.startswith(("https://", "http://")):
        yield "expected the URL of your endpoint", "write it like https://example.com/nodewright"
        return
    if len(url) > LONGEST_URL or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        yield (
            f"expected at most {LONGEST_URL} printable ASCII characters without spaces",
            "encode what is not ASCII (punycode in the name, %XX after it)",
        )
        return
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        yield "this is no URL that can be read", "write it like https://example.com/nodewright"
        return
    yield from _wrong_parts(parts, port, reach)


def _wrong_parts(parts: SplitResult, port: int | None, reach: Reach) -> Iterator[tuple[str, str]]:
    host = parts.hostname or ""
    if parts.username is not None or parts.password is not None:
        yield "names a user or a password", "take them out; deliveries are signed, so check the signature"
    if parts.fragment:
        yield "has a fragment", "take `#` and what follows it out: nothing is ever sent of it"
    if port is not None and not (port in {80, HTTPS_PORT} or FIRST_FREE_PORT <= port <= LAST_PORT):
        yield f"port {port} is no web server's", f"use 443, or one from {FIRST_FREE_PORT} to {LAST_PORT}"
    if parts.scheme == "http" and not (reach is not Reach.PUBLIC and host in LOCAL_NAMES):
        yield "is without TLS", _plain_remedy(reach)
    yield from _wrong_host(host, reach)


def _plain_remedy(reach: Reach) -> str:
    only = "" if reach is Reach.PUBLIC else "; http is for http://127.0.0.1 and http://localhost only"
    return f"use https{only}"


def _wrong_host(host: str, reach: Reach) -> Iterator[tuple[str, str]]:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if not _HOST.fullmatch(host):
            yield "has no host that can be looked up", "name your endpoint's host, as example.com"
            return
        words = "localhost is this machine itself" if _is_local(host) and reach is Reach.PUBLIC else None
    else:
        words = refusal(host, reach)
    if words is not None:
        yield words, "use an address that the world can reach, or have NODEWRIGHT_WEBHOOK_ALLOW_PRIVATE set"


def _is_local(name: str) -> bool:
    return f".{name.rstrip('.').lower()}".endswith(".localhost")
