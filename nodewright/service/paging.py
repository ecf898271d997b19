"""Cursors: where a page ended, sealed so that callers need not understand it and cannot use it for another list."""

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Final

from fastapi import Query

from nodewright.service.problems import Problem, bad_parameter, refused_parameters

_SEAL: Final = 9
"""Bytes of the seal: it tells mistakes apart, and is no secret. Whose rows a page shows never depends on it."""

Limit = Annotated[int, Query(ge=1, le=1000, description="How many at most.")]
After = Annotated[
    str | None,
    Query(min_length=1, max_length=512, description="Where to go on: `next` of the page before, as it came."),
]


def seal(place: str, query: Mapping[str, str]) -> str:
    """Return the cursor for the page after ``place`` of what ``query`` asks for."""
    return base64.urlsafe_b64encode(_seal(place, query) + place.encode()).decode().rstrip("=")


def unseal(cursor: str | None, query: Mapping[str, str]) -> str | None:
    """Return the place that a cursor stands for.

    Raises:
        Problem: it is not one of ours, or another list's.

    """
    if cursor is None:
        return None
    found = _decoded(cursor)
    place = found[_SEAL:].decode(errors="replace")
    if found[:_SEAL] != _seal(place, query):
        raise not_ours(cursor)
    return place


def not_ours(cursor: str) -> Problem:
    """Return the refusal of a cursor."""
    message = "this is no cursor of this list"
    remedy = "send `next` of the page before unchanged, with the same filters, or begin without `after`"
    return refused_parameters([bad_parameter("after", message, remedy, value=cursor, code="invalid_cursor")])


def _decoded(cursor: str) -> bytes:
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return b""


def _seal(place: str, query: Mapping[str, str]) -> bytes:
    text = json.dumps([place, dict(query)], sort_keys=True)
    return hashlib.sha256(text.encode()).digest()[:_SEAL]
