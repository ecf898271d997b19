"""What a submit would do, said before it is done: what is bought where, for how much, and what is refused. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jobs.catalog import Catalog, Price
from jobs.cost import job_price
from jobs.estimate import Estimate
from jobs.requests import FleetRequest, GroupRequest, RequestFault, RequestWarning
from jobs.validation import Report
from jobs.views import moment, usd

Key = tuple[str, str]


@dataclass(frozen=True)
class PlanLine:
    """What is asked for of one type in one region, backups included; no prices where the catalog has no such type."""

    type: str
    region: str
    count: int
    accepted: int
    price: Price | None
    backups: Price | None

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
        after = self.spend.used + self.total.hourly
        return {
            "name": self.request.name,
            "count": self.request.total,
            "verdict": self.verdict,
            "accepted": self.accepted,
            "lines": [line.to_json() for line in self.lines],
            "hourly_usd": usd(self.total.hourly),
            "monthly_usd": usd(self.total.monthly),
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


def good_jobs(request: FleetRequest, report: Report) -> list[int]:
    """Return how many jobs of each group have no fault of their own; none where the request as a whole has one."""
    if report.refuses_all:
        return [0 for _ in request.groups]
    return [
        sum(report.fault_for(position, label) is None for label in report.labels[position])
        if position < len(report.labels) and report.labels[position]
        else 0
        for position in range(len(request.groups))
    ]


def plan_lines(request: FleetRequest, catalog: Catalog, good: Sequence[int]) -> tuple[PlanLine, ...]:
    """Return one line for each type and region, in the order of the document."""
    found: dict[Key, PlanLine] = {}
    for group, accepted in zip(request.groups, good, strict=True):
        key = (group.type, group.region)
        line = _line(group, catalog, accepted)
        found[key] = _together(found[key], line) if key in found else line
    return tuple(found.values())


def _line(group: GroupRequest, catalog: Catalog, accepted: int) -> PlanLine:
    plan = catalog.types.get(group.type)
    if plan is None:
        return PlanLine(group.type, group.region, group.count, accepted, None, None)
    price = job_price(plan, region=group.region, backups=group.backups_enabled) * group.count
    extra = plan.backups.at(group.region) * group.count if group.backups_enabled else None
    return PlanLine(group.type, group.region, group.count, accepted, price, extra)


def _together(one: PlanLine, other: PlanLine) -> PlanLine:
    count, accepted = one.count + other.count, one.accepted + other.accepted
    price = _sum(one.price, other.price)
    return PlanLine(one.type, one.region, count, accepted, price, _sum(one.backups, other.backups))


def _sum(one: Price | None, other: Price | None) -> Price | None:
    return one + other if one and other else one or other


def total_price(request: FleetRequest, catalog: Catalog, good: Sequence[int]) -> Price:
    """Return what the good jobs cost together."""
    whole = Price()
    for group, accepted in zip(request.groups, good, strict=True):
        plan = catalog.types.get(group.type)
        if plan is not None:
            whole += job_price(plan, region=group.region, backups=group.backups_enabled) * accepted
    return whole
