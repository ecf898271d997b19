"""What a form brings: its fields, and where to go back to."""

from http import HTTPStatus
from typing import Annotated, Final
from urllib.parse import parse_qsl, urlsplit

from fastapi import Depends, Request
from starlette.datastructures import QueryParams

from nodewright.service.bodies import check_type, read_bytes
from nodewright.service.problems import malformed

MAX_BYTES: Final = 1024 * 1024
MOST_FIELDS: Final = 2_000
_LONGEST: Final = 2_000


async def read_form(request: Request) -> QueryParams:
    """Return the fields of a form."""
    check_type(request, "application/x-www-form-urlencoded")
    body = await read_bytes(request, MAX_BYTES)
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS
        )
    except ValueError:
        detail = f"the form cannot be read: it is no form of ours, or has more than {MOST_FIELDS} fields"
        raise malformed(detail, status=HTTPStatus.BAD_REQUEST) from None
    return QueryParams(pairs)


Form = Annotated[QueryParams, Depends(read_form)]


def local(text: str, default: str = "/") -> str:
    """Return a path of this service with its query, or the default for whatever leads elsewhere.

    >>> local("/jobs?state=failed")
    '/jobs?state=failed'
    >>> local("//elsewhere.example/")
    '/'
    """
    # A browser reads a backslash as a slash, and leaves out tabs and ends of line before it looks.
    harmless = text.startswith("/") and not text.startswith("//") and "\\" not in text and text.isprintable()
    return text if harmless and len(text) <= _LONGEST and not urlsplit(text).netloc else default


def came_from(request: Request, form: QueryParams, default: str) -> str:
    """Return the page on which a form was: as the form says, else as the browser does."""
    if "back" in form:
        return local(form["back"], default)
    referer = urlsplit(request.headers.get("referer", ""))
    if referer.netloc != request.headers.get("host"):
        return default
    return local(referer.path + (f"?{referer.query}" if referer.query else ""), default)
