"""With which of its alternatives a job begins: the first that the catalog does not refuse. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from jobs.catalog import Catalog, Price
from jobs.choices import Choice, alternatives, dearest, in_order, price_of, shares
from jobs.requests import GroupRequest
from jobs.validation import judge, spec_of


@dataclass(frozen=True)
class Start:
    """What a job begins with.

    choice: its place among the alternatives as written. price: of one instance; None: nobody knows. dearest: the most
    that an instance of it may cost. others: what may be taken in its place, in the order of trying.
    """

    choice: int
    pair: Choice
    price: Price | None
    dearest: Price
    others: tuple[Choice, ...] = ()


def start_of(group: GroupRequest, region: str | None, catalog: Catalog | None, now: datetime) -> Start:
    """Return what a job of the group begins with. ``region``: the part of a spread that it belongs to."""
    pairs = alternatives(group, region)
    ordered = in_order(group, pairs, catalog)
    at = _first_open(group, [pair for _, pair in ordered], catalog, now)
    index, pair = ordered[at]
    others = tuple(other for _, other in ordered[at + 1 :])
    price = price_of(group, pair, catalog)
    return Start(index, pair, price, dearest(group, (pair, *others), catalog), others)


def _first_open(group: GroupRequest, pairs: Sequence[Choice], catalog: Catalog | None, now: datetime) -> int:
    if catalog is None or len(pairs) == 1:
        return 0
    for at, pair in enumerate(pairs):
        if all(verdict.level != "fault" for verdict in judge(spec_of(group, pair), catalog, now=now)):
            return at
    return 0


def starts_of(group: GroupRequest, catalog: Catalog | None, now: datetime) -> list[tuple[Start, int]]:
    """Return what the group's jobs begin with, and how many of them, in the order of their positions."""
    return [(start_of(group, share.region, catalog, now), share.size) for share in shares(group)]
