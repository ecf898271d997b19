"""What can be bought, from the catalogs that the workers keep: so that no caller needs a token of its own."""

from collections.abc import Callable, Iterable
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from jobs.catalog import Catalog, Image, PlanType, PriceList, Region
from jobs.views import moment, usd
from nodewright import answers as shapes
from nodewright.service.access import Reader
from nodewright.service.deps import Deps
from nodewright.service.openapi import answers
from nodewright.service.paging import After, Limit, seal, unseal

Search = Annotated[
    str | None,
    Query(
        min_length=1,
        max_length=128,
        description="Only those whose id or label holds this, whatever its case.",
    ),
]


def list_types(
    key: Reader, deps: Deps, q: Search = None, limit: Limit = 100, after: After = None
) -> JSONResponse:
    """List the types of instances with their prices."""
    catalog = deps.service.catalog(key.tenant)
    return _page("types", catalog, map(_type, catalog.types.values()), q, limit, after)


def list_regions(
    key: Reader, deps: Deps, q: Search = None, limit: Limit = 100, after: After = None
) -> JSONResponse:
    """List the regions with their capabilities."""
    catalog = deps.service.catalog(key.tenant)
    return _page("regions", catalog, map(_region, catalog.regions.values()), q, limit, after)


def list_images(
    key: Reader, deps: Deps, q: Search = None, limit: Limit = 100, after: After = None
) -> JSONResponse:
    """List the images, the private ones of the tenant's own account among them."""
    catalog = deps.service.catalog(key.tenant)
    return _page("images", catalog, map(_image, catalog.images.values()), q, limit, after)


def _page(
    kind: str,
    catalog: Catalog,
    rows: Iterable[dict[str, Any]],
    q: str | None,
    limit: int,
    after: str | None,
) -> JSONResponse:
    asked = {"list": kind, **({} if q is None else {"q": q})}
    place = unseal(after, asked)
    found = sorted((row for row in rows if _matches(row, q)), key=lambda row: str(row["id"]))
    if place is not None:
        found = [row for row in found if row["id"] > place]
    more = seal(found[limit - 1]["id"], asked) if len(found) > limit else None
    return JSONResponse({kind: found[:limit], "next": more, "fetched_at": moment(catalog.fetched_at)})


def _matches(row: dict[str, Any], q: str | None) -> bool:
    return q is None or q.casefold() in f"{row['id']}\n{row['label']}".casefold()


def _type(plan: PlanType) -> dict[str, Any]:
    return {
        "id": plan.id,
        "label": plan.label,
        "class": plan.klass,
        "memory": plan.memory,
        "disk": plan.disk,
        "vcpus": plan.vcpus,
        "gpus": plan.gpus,
        "price": _price(plan.prices),
        "backups": _price(plan.backups),
    }


def _price(prices: PriceList) -> dict[str, Any]:
    elsewhere = [
        {"region": region, "hourly_usd": usd(price.hourly), "monthly_usd": usd(price.monthly)}
        for region, price in sorted(prices.regions.items())
    ]
    base = prices.base
    return {"hourly_usd": usd(base.hourly), "monthly_usd": usd(base.monthly), "regions": elsewhere}


def _region(region: Region) -> dict[str, Any]:
    return {
        "id": region.id,
        "label": region.label,
        "country": region.country,
        "status": region.status,
        "capabilities": None if region.capabilities is None else sorted(region.capabilities),
    }


def _image(image: Image) -> dict[str, Any]:
    return {
        "id": image.id,
        "label": image.label,
        "status": image.status,
        "deprecated": image.deprecated,
        "eol": moment(image.eol),
        "size": image.size,
        "capabilities": None if image.capabilities is None else sorted(image.capabilities),
        "regions": sorted(image.regions),
        "is_public": image.is_public,
    }


_ROUTES: Final[tuple[tuple[str, Callable[..., JSONResponse], type[shapes.Answer]], ...]] = (
    ("types", list_types, shapes.TypePage),
    ("regions", list_regions, shapes.RegionPage),
    ("images", list_images, shapes.ImagePage),
)


def install(router: APIRouter) -> None:
    """Put the routes on ``router``."""
    for kind, route, model in _ROUTES:
        router.add_api_route(f"/catalog/{kind}", route, methods=["GET"], tags=["catalog"], **answers(model))
