"""What Linode offers: plans, regions, images and availability, as one frozen value.

Rows are those of the API's public lists. Implementations of that API differ, so unknown fields are ignored
and missing ones tolerated: what a row does not say is None and is not judged, never guessed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from functools import cached_property
from types import MappingProxyType
from typing import Any, Self, TypeAlias

Row: TypeAlias = Mapping[str, Any]

MICRO = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class Price:
    """A price in micro-USD: 7500 is $0.0075."""

    hourly: int = 0
    monthly: int = 0

    def __add__(self, other: "Price") -> "Price":
        return Price(self.hourly + other.hourly, self.monthly + other.monthly)

    def __mul__(self, count: int) -> "Price":
        return Price(self.hourly * count, self.monthly * count)


@dataclass(frozen=True, slots=True)
class PriceList:
    """A price, and the regions where another one holds."""

    base: Price = field(default_factory=Price)
    regions: Mapping[str, Price] = field(default_factory=dict)

    def at(self, region: str) -> Price:
        """Return the price in a region."""
        return self.regions.get(region, self.base)


@dataclass(frozen=True, slots=True)
class PlanType:
    """A plan (`g6-nanode-1`). `memory` and `disk` are in MB; None where the API did not say."""

    id: str
    label: str
    klass: str
    memory: int | None
    disk: int | None
    vcpus: int | None
    gpus: int
    prices: PriceList
    backups: PriceList

    @property
    def hourly_microusd(self) -> int:
        """The price of an hour where no region price holds, in micro-USD."""
        return self.prices.base.hourly

    @property
    def monthly_microusd(self) -> int:
        """The price of a month where no region price holds, in micro-USD."""
        return self.prices.base.monthly

    @property
    def needs(self) -> str | None:
        """The region capability without which this plan is not offered (API.md, Catalogs)."""
        if self.klass == "gpu" or self.gpus > 0:
            return "GPU Linodes"
        return "Premium Plans" if self.klass == "premium" else None

    @classmethod
    def from_row(cls, row: Row) -> Self:
        """Read a row of GET /linode/types."""
        return cls(
            id=str(row["id"]),
            label=str(row.get("label") or row["id"]),
            klass=str(row.get("class") or ""),
            memory=_integer(row.get("memory")),
            disk=_integer(row.get("disk")),
            vcpus=_integer(row.get("vcpus")),
            gpus=_integer(row.get("gpus")) or 0,
            prices=_price_list(row),
            backups=_price_list(_mapping(_mapping(row.get("addons")).get("backups"))),
        )


@dataclass(frozen=True, slots=True)
class Region:
    """A region (`us-east`). `capabilities` is None where the API did not say."""

    id: str
    label: str
    country: str
    status: str
    capabilities: frozenset[str] | None

    def lacks(self, capability: str) -> bool:
        """Whether the region is known not to have a capability."""
        return self.capabilities is not None and capability not in self.capabilities

    @classmethod
    def from_row(cls, row: Row) -> Self:
        """Read a row of GET /regions."""
        return cls(
            id=str(row["id"]),
            label=str(row.get("label") or row["id"]),
            country=str(row.get("country") or ""),
            status=str(row.get("status") or "ok"),
            capabilities=_names(row.get("capabilities")),
        )


@dataclass(frozen=True, slots=True)
class Image:
    """An image (`linode/debian12`, `private/123`). `size` is in MB.

    `regions` are those that hold a copy; empty where the API did not say. `eol` is timezone-aware.
    """

    id: str
    label: str
    status: str
    deprecated: bool
    eol: datetime | None
    size: int | None
    capabilities: frozenset[str] | None
    regions: frozenset[str]
    is_public: bool

    def lacks(self, capability: str) -> bool:
        """Whether the image is known not to have a capability."""
        return self.capabilities is not None and capability not in self.capabilities

    @classmethod
    def from_row(cls, row: Row) -> Self:
        """Read a row of GET /images."""
        identifier = str(row["id"])
        return cls(
            id=identifier,
            label=str(row.get("label") or identifier),
            status=str(row.get("status") or "available"),
            deprecated=row.get("deprecated") is True,
            eol=_instant(row.get("eol")),
            size=_integer(row.get("size")),
            capabilities=_names(row.get("capabilities")),
            regions=_names(row.get("regions")) or frozenset(),
            is_public=bool(row.get("is_public", not identifier.startswith("private/"))),
        )


@dataclass(frozen=True)
class Catalog:
    """Everything that requests are checked against, as it was at `fetched_at`; `version` names this content.

    `availability` maps (region, plan) to whether the plan can be had there now; an absent pair means nothing,
    since the API lists premium and GPU plans only.
    """

    types: Mapping[str, PlanType]
    regions: Mapping[str, Region]
    images: Mapping[str, Image]
    availability: Mapping[tuple[str, str], bool]
    version: str
    fetched_at: datetime

    @classmethod
    def from_rows(
        cls,
        *,
        types: Iterable[Row],
        regions: Iterable[Row],
        images: Iterable[Row],
        availability: Iterable[Row],
        version: str,
        fetched_at: datetime,
    ) -> Self:
        """Build a catalog from the API's rows; rows without an id are skipped."""
        return cls(
            types=MappingProxyType({row["id"]: PlanType.from_row(row) for row in types if row.get("id")}),
            regions=MappingProxyType({row["id"]: Region.from_row(row) for row in regions if row.get("id")}),
            images=MappingProxyType({row["id"]: Image.from_row(row) for row in images if row.get("id")}),
            availability=MappingProxyType(_availability(availability)),
            version=version,
            fetched_at=fetched_at,
        )

    def is_unavailable(self, region: str, plan: str) -> bool:
        """Whether the API says that a plan can't be had in a region now."""
        return self.availability.get((region, plan)) is False

    @cached_property
    def type_ids(self) -> tuple[str, ...]:
        """All plan ids, sorted."""
        return tuple(sorted(self.types))

    @cached_property
    def region_ids(self) -> tuple[str, ...]:
        """All region ids, sorted."""
        return tuple(sorted(self.regions))

    @cached_property
    def image_ids(self) -> tuple[str, ...]:
        """All image ids, sorted."""
        return tuple(sorted(self.images))

    def regions_with(self, capability: str) -> list[str]:
        """Return the ids of the regions that say they have a capability, sorted."""
        return [name for name in self.region_ids if capability in (self.regions[name].capabilities or ())]


def micro_usd(amount: object) -> int:
    """Return a JSON price in USD as whole micro-USD, exactly; 0 where there is none."""
    try:
        price = Decimal(str(amount))
    except InvalidOperation:
        return 0
    return int((price * MICRO).quantize(Decimal(1), rounding=ROUND_HALF_UP)) if price.is_finite() else 0


def _availability(rows: Iterable[Row]) -> dict[tuple[str, str], bool]:
    return {
        (str(row["region"]), str(row["plan"])): row["available"] is not False
        for row in rows
        if row.keys() >= {"region", "plan", "available"}
    }


def _price_list(row: Row) -> PriceList:
    regions = row.get("region_prices") or ()
    return PriceList(
        base=_price(_mapping(row.get("price"))),
        regions={str(entry["id"]): _price(entry) for entry in regions if entry.get("id")},
    )


def _price(row: Row) -> Price:
    return Price(hourly=micro_usd(row.get("hourly")), monthly=micro_usd(row.get("monthly")))


def _mapping(value: object) -> Row:
    return value if isinstance(value, Mapping) else {}


def _integer(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) else None


def _names(value: object) -> frozenset[str] | None:
    if not isinstance(value, list | tuple):
        return None
    return frozenset(str(entry["region"] if isinstance(entry, Mapping) else entry) for entry in value)


def _instant(value: object) -> datetime | None:
    """Read a time as the API writes it: ISO 8601 in UTC, without an offset."""
    try:
        instant = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)
