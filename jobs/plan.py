"""What a submit would do, said before it is done: what is bought where, for how much, and what is refused. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jobs.catalog import Catalog, Price
from jobs.choices import Choice
from jobs.estimate import Estimate
from jobs.requests import FleetRequest, GroupRequest, RequestFault, RequestWarning
from jobs.starts import Start, starts_of
from jobs.validation import Report
from jobs.views import moment, usd

Key = tuple[str, str]


@dataclass(frozen=True)
class Portion:
    """A group's jobs that begin with the same type in the same region."""

    group: GroupRequest
    start: Start
    count: int
    accepted: int


@dataclass(frozen=True)
class PlanLine:
    """What is asked for of one type in one region, backups included; no prices where the catalog has no such type.

    others: what is taken in its place where it cannot be had, in the order of trying.
    """

    type: str
    region: str
    count: int
    accepted: int
    price: Price | None
    backups: Price | None
    others: tuple[Choice, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able mapping."""
        return {
            "type": self.type,
            "region": self.region,
            "count": self.count,
            "accepted": self.accepted,
            "hourly_usd": None if self.price is None else usd(self.price.hourly),
            "monthly_usd": None if self.price is None else usd(self.price.monthly),
            "backups_hourly_usd": None if self.backups is None else usd(self.backups.hourly),
            "alternatives": [one._asdict() for one in self.others],
        }


@dataclass(frozen=True)
class Quota:
    """One guard of the tenant: what it allows, and what is used of it now."""

    limit: int
    used: int


@dataclass(frozen=True)
class Plan:
    """What a submit of the request would do."""

    request: FleetRequest
    lines: tuple[PlanLine, ...]
    accepted: int
    faults: tuple[RequestFault, ...]
    warnings: tuple[RequestWarning, ...]
    total: Price
    """What all that would be accepted costs."""
    dearest: Price
    """The most that it may come to cost, by its alternatives."""
    instances: Quota
    spend: Quota
    """In micro-dollars per hour."""
    estimate: Estimate | None
    catalog_fetched_at: datetime

    @property
    def verdict(self) -> str:
        """``accept``, ``accept_some`` (the others would be rejected) or ``refuse`` (nothing would be stored)."""
        if not self.faults:
            return "accept"
        return "accept_some" if self.accepted else "refuse"

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able mapping."""
        after = self.spend.used + self.dearest.hourly
        return {
            "name": self.request.name,
            "count": self.request.total,
            "verdict": self.verdict,
            "accepted": self.accepted,
            "lines": [line.to_json() for line in self.lines],
            "hourly_usd": usd(self.total.hourly),
            "monthly_usd": usd(self.total.monthly),
            "most_hourly_usd": usd(self.dearest.hourly),
            "most_monthly_usd": usd(self.dearest.monthly),
            "errors": [fault.to_json() for fault in self.faults],
            "warnings": [warning.to_json() for warning in self.warnings],
            "quota": {
                "instances": {
                    "limit": self.instances.limit,
                    "used": self.instances.used,
                    "after": self.instances.used + self.accepted,
                },
                "hourly_usd": {
                    "limit": usd(self.spend.limit),
                    "used": usd(self.spend.used),
                    "after": usd(after),
                },
            },
            "estimate": None if self.estimate is None else self.estimate.to_json(),
            "catalog_fetched_at": moment(self.catalog_fetched_at),
        }


def portions(request: FleetRequest, report: Report, catalog: Catalog, now: datetime) -> list[Portion]:
    """Return what the request's jobs begin with, and how many have no fault of their own.

    None has where the request as a whole has one.
    """
    found = []
    for position, group in enumerate(request.groups):
        labels = report.labels[position] if position < len(report.labels) else ()
        first = 0
        for start, count in starts_of(group, catalog, now):
            good = sum(report.fault_for(position, label) is None for label in labels[first : first + count])
            found.append(Portion(group, start, count, 0 if report.refuses_all else good))
            first += count
    return found


def plan_lines(found: Sequence[Portion], catalog: Catalog) -> tuple[PlanLine, ...]:
    """Return one line for each type and region, in the order of the document."""
    lines: dict[Key, PlanLine] = {}
    for portion in found:
        line = _line(portion, catalog)
        key = portion.start.pair
        lines[key] = _together(lines[key], line) if key in lines else line
    return tuple(lines.values())


def _line(portion: Portion, catalog: Catalog) -> PlanLine:
    start, count = portion.start, portion.count
    plan = catalog.types.get(start.pair.type)
    with_backups = plan is not None and portion.group.backups_enabled
    extra = plan.backups.at(start.pair.region) * count if plan and with_backups else None
    price = None if start.price is None else start.price * count
    return PlanLine(*start.pair, count, portion.accepted, price, extra, start.others)


def _together(one: PlanLine, other: PlanLine) -> PlanLine:
    count, accepted = one.count + other.count, one.accepted + other.accepted
    price, extra = _sum(one.price, other.price), _sum(one.backups, other.backups)
    others = tuple(dict.fromkeys((*one.others, *other.others)))
    return PlanLine(one.type, one.region, count, accepted, price, extra, others)


def _sum(one: Price | None, other: Price | None) -> Price | None:
    return one + other if one and other else one or other


def total_price(found: Sequence[Portion]) -> Price:
    """Return what the good jobs cost together, as they begin."""
    return sum((one.start.price * one.accepted for one in found if one.start.price), Price())


def dearest_price(found: Sequence[Portion]) -> Price:
    """Return the most that the good jobs may come to cost together."""
    return sum((one.start.dearest * one.accepted for one in found), Price())
