"""What can be bought: types, regions, images, kernels, availability; size and facts are the real API's.

The rows live in ``data/*.tsv``: tables of our own, made from recorded public catalogs (API.md, "Catalogs").
Types have MB of memory and disk, GB of transfer, Mbit/s of network, prices in USD.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any, Self

Row = dict[str, Any]

MONITORED = ("Linodes", "Managed Databases", "NodeBalancers", "Object Storage")
DEARER_REGIONS = ("id-cgk", "br-gru")
RECORDED_DATE = "2018-01-02T03:04:05"
"""The recordings had their dates replaced by this one; so have we, but for ends of life that are still ahead."""
END_OF_LIFE = "2038-01-02T03:04:05"
"""Ours: the recorded date would make every image an ended one, and every request a warning."""

REGION_ALIASES = {"us-south": "us-central"}
"""Names that are accepted and read back as another (recorded)."""

CAPABILITY_OF_CLASS = {"gpu": "GPU Linodes", "premium": "Premium Plans"}
"""What a region must be able to do for a type of that class."""


@dataclass(frozen=True)
class Catalog:
    """An immutable set of rows by id, as the API shows them. Worlds share it: a deep copy is itself."""

    types: Mapping[str, Row]
    regions: Mapping[str, Row]
    images: Mapping[str, Row]
    all_images: Mapping[str, Row]
    """Public images and the private ones that every simulated account owns."""
    kernels: tuple[Row, ...]
    """330 rows; two ids were recorded twice, so this is no mapping."""
    availability: tuple[Row, ...]
    unavailable: frozenset[tuple[str, str]]
    """The (region, plan) pairs whose row says that nothing is left."""

    def __deepcopy__(self, memo: object) -> Self:
        return self


@lru_cache(maxsize=1)
def load_catalog() -> Catalog:
    """Read the package's own tables, once per process."""
    availability = tuple(_availability())
    gone = frozenset((row["region"], row["plan"]) for row in availability if not row["available"])
    images = {row["id"]: row for row in map(_image, _table("images"))}
    return Catalog(
        types={row["id"]: row for row in map(_type, _table("types"))},
        regions={row["id"]: row for row in _regions()},
        images=images,
        all_images={**images, **{row["id"]: row for row in _private_images()}},
        kernels=tuple(map(_kernel, _table("kernels"))),
        availability=availability,
        unavailable=gone,
    )


def _private_images() -> Iterator[Row]:
    """A small one with cloud-init, and one that fits no disk below 80 GB."""
    yield _private_image(1001, "golden-web", 2600)
    yield _private_image(1002, "golden-database", 60_000)


def _private_image(number: int, label: str, size_mb: int) -> Row:
    return {
        **_image([str(number), label, "", str(size_mb), "c"]),
        "id": f"private/{number}",
        "is_public": False,
        "vendor": None,
        "created_by": "simulated",
    }


def _table(name: str) -> Iterator[list[str]]:
    text = resources.files("simulator").joinpath("data", f"{name}.tsv").read_text("utf-8")
    for line in text.splitlines():
        if not line.startswith("#"):
            yield line.split("\t")


def _bits(mask: str, names: tuple[str, ...]) -> list[str]:
    return [name for bit, name in enumerate(names) if int(mask, 16) >> bit & 1]


def _price(text: str) -> Row:
    hourly, monthly = text.split("/")
    return {"hourly": float(hourly), "monthly": float(monthly)}


def _dearer(text: str) -> list[Row]:
    prices = [] if text == "-" else text.split(" ")
    return [
        {"id": region, **_price(price)} for region, price in zip(DEARER_REGIONS, prices, strict=bool(prices))
    ]


def _type(cells: list[str]) -> Row:
    (
        ident,
        label,
        klass,
        memory,
        disk,
        vcpus,
        gpus,
        transfer,
        network,
        price,
        dearer,
        backup,
        backup_dearer,
    ) = cells
    return {
        "id": ident,
        "label": label,
        "price": _price(price),
        "region_prices": _dearer(dearer),
        "addons": {"backups": {"price": _price(backup), "region_prices": _dearer(backup_dearer)}},
        "memory": int(memory),
        "disk": int(disk),
        "transfer": int(transfer),
        "vcpus": int(vcpus),
        "gpus": int(gpus),
        "network_out": int(network),
        "class": klass,
        "successor": None,
    }


def _regions() -> Iterator[Row]:
    names = tuple(cells[0] for cells in _table("capabilities"))
    for ident, label, country, capabilities, monitors in _table("regions"):
        watched = _bits(monitors, MONITORED)
        yield {
            "id": ident,
            "label": label,
            "country": country,
            "capabilities": _bits(capabilities, names),
            "monitors": {"alerts": watched, "metrics": watched},
            "status": "ok",
            "resolvers": {"ipv4": "192.0.2.1,192.0.2.2", "ipv6": "2001:db8::1,2001:db8::2"},
            "placement_group_limits": {
                "maximum_pgs_per_customer": None,
                "maximum_linodes_per_pg": 5,
                "maximum_linodes_per_flexible_pg": 250,
            },
            "site_type": "core",
        }


def _image(cells: list[str]) -> Row:
    ident, label, vendor, size, flags = cells
    return {
        "id": f"linode/{ident}",
        "label": label,
        "description": "",
        "created": RECORDED_DATE,
        "updated": RECORDED_DATE,
        "created_by": "linode",
        "type": "manual",
        "is_public": True,
        "deprecated": "d" in flags,
        "vendor": vendor,
        "size": int(size),
        "total_size": int(size),
        "status": "available",
        "eol": END_OF_LIFE if "e" in flags else RECORDED_DATE if "x" in flags else None,
        "expiry": None,
        "capabilities": ["cloud-init"] if "c" in flags else [],
        "regions": [],
        "tags": [],
    }


def _kernel(cells: list[str]) -> Row:
    ident, flags, version, label = (*cells, "", "")[:4]
    return {
        "id": f"linode/{ident}",
        "label": (label[:-1] + " " if label.endswith("_") else label) or ident,
        "version": {"-": "", "": ident.split("-")[0]}.get(version, version),
        "kvm": "k" in flags,
        "architecture": "x86_64" if "6" in flags else "i386",
        "pvops": "p" in flags,
        "deprecated": "d" in flags,
        "built": None if "n" in flags else RECORDED_DATE,
    }


def _availability() -> Iterator[Row]:
    (plans,), *rows = _table("availability")
    names = tuple(plans.split(" "))
    for region, mask in rows:
        available = _bits(mask, names)
        for plan in names:
            yield {"region": region, "plan": plan, "available": plan in available}
