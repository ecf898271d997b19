"""Pages of a collection: ``{"data", "page", "pages", "results"}`` (API.md, "Paging and filters")."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from simulator.wire import refusal

T = TypeVar("T")

DEFAULT_SIZE = 100
SMALLEST, LARGEST = 25, 500
_TOO_LONG = 10


def paginate(
    items: Sequence[T],
    query: Mapping[str, str],
    *,
    show: Callable[[T], Any],
    pages_when_empty: int = 1,
) -> dict[str, Any]:
    """Cut the asked page out of ``items`` and render only that. There is no snapshot across pages.

    A page past the end answers 404; that is our guess, the real words are unknown.
    """
    size = _number(query, "page_size", DEFAULT_SIZE, SMALLEST, LARGEST, f"Must be {SMALLEST}-{LARGEST}")
    page = _number(query, "page", 1, 1, None, "Must be 1 or greater")
    pages = -(-len(items) // size) or pages_when_empty
    if page > max(pages, 1):
        raise refusal(404, "Not found")
    shown = [show(item) for item in items[(page - 1) * size : page * size]]
    return {"data": shown, "page": min(page, pages), "pages": pages, "results": len(items)}


def _number(
    query: Mapping[str, str], field: str, default: int, low: int, high: int | None, reason: str
) -> int:
    text = query.get(field)
    if text is None:
        return default
    digits = text.isascii() and text.isdigit() and len(text) < _TOO_LONG
    if not digits or int(text) < low or (high is not None and int(text) > high):
        raise refusal(400, reason, field)
    return int(text)
