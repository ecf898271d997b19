"""What a request leaves open: alternatives of type and region, and instances spread over regions. Pure.

A group's alternatives are the pairs of its types and regions as written, type by type over its regions: the same type
elsewhere comes before another type. ``prefer: cheapest`` tries them by price. A job's ``choice`` is the place of its
present pair in the order as written, whatever the order of trying.

A spread (``regions``) says how many instances go where, and that holds: such a job takes another type in its region,
but never another region.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from jobs.catalog import Catalog, Price
from jobs.cost import job_price
from jobs.requests import GroupRequest


class Choice(NamedTuple):
    """One type in one region."""

    type: str
    region: str

    def __str__(self) -> str:
        return f"{self.type} in {self.region}"


class Share(NamedTuple):
    """So many of a group's instances, one after the other, in ``region`` (None: wherever it has alternatives)."""

    region: str | None
    size: int


def types_of(group: GroupRequest) -> tuple[str, ...]:
    """Return the group's types, as written."""
    return (group.type,) if isinstance(group.type, str) else tuple(group.type)


def regions_of(group: GroupRequest) -> tuple[str, ...]:
    """Return the group's regions, as written: alternatives, or those that it is spread over."""
    if isinstance(group.region, str):
        return (group.region,)
    return tuple(group.regions or group.region or ())


def place_of(group: GroupRequest, key: str, name: str) -> tuple[str | int, ...]:
    """Return where in the group's document one of its types or regions stands; ``key``: type, region or image."""
    if key == "region" and group.regions is not None:
        key = "regions"
    members = getattr(group, key)
    if isinstance(members, list):
        return (key, members.index(name))
    return (key, name) if isinstance(members, dict) else (key,)


def shares(group: GroupRequest) -> list[Share]:
    """Return how many of a group's instances go where, by largest remainder; the first one wins a draw."""
    if group.regions is None:
        return [Share(None, group.count)]
    weights = dict.fromkeys(group.regions, 1) if isinstance(group.regions, list) else group.regions
    whole = sum(weights.values())
    counts = {region: group.count * weight // whole for region, weight in weights.items()}
    remainders = {region: group.count * weight % whole for region, weight in weights.items()}
    left = group.count - sum(counts.values())
    for region in sorted(remainders, key=lambda one: -remainders[one])[:left]:
        counts[region] += 1
    return [Share(region, count) for region, count in counts.items() if count]


def alternatives(group: GroupRequest, region: str | None) -> tuple[Choice, ...]:
    """Return the pairs that a job may take, as written. ``region``: where it is, which matters in a spread only."""
    regions = regions_of(group) if group.regions is None or region is None else (region,)
    return tuple(Choice(one, other) for one in types_of(group) for other in regions)


def price_of(group: GroupRequest, choice: Choice, catalog: Catalog | None) -> Price | None:
    """Return what one instance costs, or None where nobody knows."""
    plan = None if catalog is None else catalog.types.get(choice.type)
    return None if plan is None else job_price(plan, region=choice.region, backups=group.backups_enabled)


def in_order(
    group: GroupRequest, choices: Sequence[Choice], catalog: Catalog | None
) -> list[tuple[int, Choice]]:
    """Return alternatives in the order in which they are tried, each with its place as written."""
    found = list(enumerate(choices))
    if group.prefer == "order" or catalog is None:
        return found

    def price(one: tuple[int, Choice]) -> float:
        known = price_of(group, one[1], catalog)
        return float("inf") if known is None else known.hourly

    return sorted(found, key=price)


def rest(
    group: GroupRequest, region: str, choice: int, catalog: Catalog | None
) -> Iterator[tuple[int, Choice]]:
    """Yield what a job may take after its present choice, in the order of trying, each with its place as written."""
    following = False
    for index, one in in_order(group, alternatives(group, region), catalog):
        if following:
            yield index, one
        following = following or index == choice


def dearest(group: GroupRequest, choices: Sequence[Choice], catalog: Catalog | None) -> Price:
    """Return the highest price among alternatives."""
    known = [price for one in choices if (price := price_of(group, one, catalog)) is not None]
    return max(known, key=lambda price: price.hourly, default=Price())
