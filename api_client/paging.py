"""Pages of a list, and a reading of all of them that ends whatever the list does meanwhile."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

from api_client.errors import BadRequest, NotFound
from api_client.replies import Reply

T = TypeVar("T")

SMALLEST_PAGE = 25
LARGEST_PAGE = 500
DEFAULT_PAGE = 100


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list.

    data: its items. page: its number, from 1 (0 in an empty list of some kinds). pages: how many there are.
    results: how many items the whole list has. The API takes no snapshot: the next page may see another list.
    """

    data: tuple[T, ...]
    page: int
    pages: int
    results: int

    @property
    def is_last(self) -> bool:
        """Whether no page follows, as far as this one knows."""
        return self.page >= self.pages


def check_page_size(page_size: int) -> int:
    """The page size, or ValueError when the API would refuse it (`Must be 25-500`)."""
    if not SMALLEST_PAGE <= page_size <= LARGEST_PAGE:
        raise ValueError(f"page_size must be {SMALLEST_PAGE} to {LARGEST_PAGE}, got {page_size}")
    return page_size


def check_page(number: int) -> int:
    """The page number, or ValueError when it is below 1."""
    if number < 1:
        raise ValueError(f"page must be 1 or more, got {number}")
    return number


def read_page(found: Any, read_item: Callable[[Any], T], *, asked: int, page_size: int) -> Page[T]:  # noqa: ANN401 - JSON
    """A page from JSON; numbers that are missing or absurd are made up from what is there.

    Raises ValueError when it is no object with a `data` list, or when an item cannot be read.
    """
    if not isinstance(found, dict) or not isinstance(found.get("data"), list):
        # The data is at fault, not the caller's types.
        raise ValueError("expected a page: an object with a list named data")  # noqa: TRY004 - a reply's fault, no caller's
    data = tuple(read_item(item) for item in found["data"])
    results = _count(found.get("results"), (asked - 1) * page_size + len(data))
    return Page(
        data=data,
        page=_count(found.get("page"), asked),
        pages=_count(found.get("pages"), max(1, math.ceil(results / page_size))),
        results=results,
    )


class Listing(Generic[T]):
    """One reading of a whole list: iterate it for the items, or `pages()` for the replies.

    Nothing is fetched before it is needed; the first page is fetched once and kept, so `total` costs no call
    of its own. Make a new listing to read again. Raises what its calls raise.

    The list may change while it is read. Items may then come twice, and an item that moves to a page already
    read is missed; whoever needs certainty reads again. The reading always ends: after the last page that the
    latest reply knows of; at an empty page; at a page past the end, which may be answered by 400 or 404 (the
    same call was fine a page ago) or by some other page, whose `pages` tells; and at the latest after twice
    the pages of the first reply and 16 more, however fast the list grows. The page number that a reply claims
    for itself decides nothing.
    """

    def __init__(self, fetch: Callable[[int], Reply[Page[T]]]) -> None:
        self._fetch = fetch

    @cached_property
    def first(self) -> Reply[Page[T]]:
        """The first page."""
        return self._fetch(1)

    @property
    def total(self) -> int:
        """How many items the list had when its first page was read."""
        return self.first.value.results

    def pages(self) -> Iterator[Reply[Page[T]]]:
        """Every page in turn, each with its rate; one call per page."""
        yield self.first
        latest = self.first.value
        highest = 2 * latest.pages + 16
        for number in range(2, highest + 1):
            reply = self._next(number, latest)
            if reply is None:
                return
            yield reply
            latest = reply.value

    def __iter__(self) -> Iterator[T]:
        for reply in self.pages():
            yield from reply.value.data

    def _next(self, number: int, latest: Page[T]) -> Reply[Page[T]] | None:
        """The numbered page, or None when the list ends before it."""
        if not latest.data or latest.pages < number:
            return None
        try:
            reply = self._fetch(number)
        except (BadRequest, NotFound):
            return None
        return reply if reply.value.data and reply.value.pages >= number else None


def _count(found: object, otherwise: int) -> int:
    if isinstance(found, int) and not isinstance(found, bool) and found >= 0:
        return found
    return otherwise
