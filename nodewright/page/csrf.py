"""Whether a form was sent by our own page, on behalf of whoever is logged in. Pure.

Two proofs, each enough by itself against a page of somebody else's: the browser's own word for where the form came
from, and a token that only our pages hold.
"""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

FIELD: Final = "csrf"


def token_of(session: str) -> str:
    """Return what the forms of a session carry. It tells nothing of the session's own token."""
    return signed(session, "csrf", "")


def signed(session: str, purpose: str, text: str) -> str:
    """Return the signature of a text that only this session can have made, for one purpose."""
    return hmac.new(session.encode(), f"{purpose}\n{text}".encode(), hashlib.sha256).hexdigest()


def is_token(session: str, given: str) -> bool:
    """Whether a form carries the session's token."""
    return hmac.compare_digest(token_of(session).encode(), given.encode(errors="replace"))


def is_from_us(headers: Mapping[str, str]) -> bool:
    """Whether the browser says that one of our own pages sent this.

    >>> is_from_us({"origin": "http://127.0.0.1:8420", "host": "127.0.0.1:8420"})
    True
    >>> is_from_us({"origin": "https://elsewhere.example", "host": "127.0.0.1:8420"})
    False
    >>> is_from_us({"sec-fetch-site": "same-site", "host": "127.0.0.1:8420"})
    False
    """
    # No page can set either header. Sec-Fetch-Site comes from each browser since 2023, but not over plain HTTP to a
    # machine with a name; Origin is compared without its scheme, because a proxy may end TLS before us.
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    sender = _place(headers.get("origin", ""))
    return sender is not None and sender == _place(f"//{headers.get('host', '')}")


def _place(url: str) -> tuple[str, int | None] | None:
    """Return where a URL leads to; None: nowhere."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if not parts.hostname:
        return None
    return parts.hostname, None if port in {80, 443} else port
