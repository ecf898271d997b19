"""What a page says once about what was just done: a cookie that is gone as soon as it was read.

It is signed for the session that it is for: nobody else can put words into our mouth, neither by a link nor by a cookie
from a neighbouring host.
"""

import hmac
from typing import Final
from urllib.parse import quote, unquote

from fastapi import Request
from starlette.responses import Response

from nodewright.page import csrf
from nodewright.page.visitor import read_cookie, set_cookie

_NAME: Final = "nodewright-said"
_SECONDS: Final = 60
_LONGEST: Final = 900


def say(request: Request, response: Response, session: str, text: str) -> None:
    """Let the next page that is shown say ``text``."""
    value = quote(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…")
    set_cookie(request, response, _NAME, f"{csrf.signed(session, 'said', value)}.{value}", seconds=_SECONDS)


def said(request: Request, session: str | None) -> str | None:
    """Return what is to be said."""
    signature, _, value = (read_cookie(request, _NAME) or "").partition(".")
    if not value or session is None:
        return None
    good = hmac.compare_digest(csrf.signed(session, "said", value).encode(), signature.encode())
    return unquote(value) if good else None


def forget(request: Request, response: Response) -> None:
    """Take the cookie away, where there is one."""
    if read_cookie(request, _NAME):
        set_cookie(request, response, _NAME, "", seconds=0)
