"""What a page's query asks for. What it does not understand it says, and leaves out: a link may be old or mistyped."""

from datetime import UTC, datetime
from typing import Final

from starlette.datastructures import QueryParams

from jobs.states import State

_LONGEST: Final = 128
_LARGEST: Final = 10**9


def text_in(query: QueryParams, name: str) -> str | None:
    """Return a word of the query, without what no row can hold; None: it is not asked for."""
    found = "".join(one for one in query.get(name, "") if one.isprintable()).strip()
    return found[:_LONGEST] or None


def state_in(query: QueryParams, name: str = "state") -> State | None:
    """Return the state that is asked for; None: any."""
    found = query.get(name, "")
    return State(found) if found in set(State) else None


def position_in(query: QueryParams, name: str) -> int | None:
    """Return a job's position; None: none is asked for."""
    found = query.get(name, "")
    return int(found) if found.isascii() and found.isdecimal() and len(found) < len(str(_LARGEST)) else None


def moment_in(query: QueryParams, name: str) -> datetime | None:
    """Return a moment, in UTC where it names no offset; None: none is asked for, or it is none."""
    try:
        found = datetime.fromisoformat(query.get(name, ""))
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
