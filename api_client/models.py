"""What the API sends, as frozen values.

Only an identifier is required. Any other field that is missing, null or of another shape than documented
becomes None, or is left out of a tuple. Fields that are not known are ignored. Statuses are plain strings, so
that a new one is kept. Field meanings: the provider's OpenAPI document, 4.189.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

T = TypeVar("T")


def _or_none(value: object, validate: ValidatorFunctionWrapHandler) -> Any:  # noqa: ANN401 - any field's type
    try:
        return validate(value)
    except ValidationError:
        return None


def _items(value: object) -> Sequence[object]:
    return value if isinstance(value, list | tuple) else ()


def _without_nulls(items: tuple[T, ...]) -> tuple[T, ...]:
    return tuple(item for item in items if item is not None)


def _in_utc(value: datetime | None) -> datetime | None:
    """The API writes times in UTC without saying so (`2018-01-01T00:01:01`)."""
    return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


Maybe = Annotated[T | None, WrapValidator(_or_none)]
Many = Annotated[
    tuple[Annotated[T, WrapValidator(_or_none)], ...],
    BeforeValidator(_items),
    AfterValidator(_without_nulls),
]
Moment = Annotated[datetime | None, AfterValidator(_in_utc), WrapValidator(_or_none)]
NumericId = Annotated[int, Field(strict=True, ge=1)]
TextId = Annotated[str, Field(min_length=1)]


class Resource(BaseModel):
    """Anything the API returns: frozen, and deaf to fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True, hide_input_in_errors=True)


class Price(Resource):
    """US dollars; `monthly` is the cap of what the hours of a month add up to."""

    hourly: Maybe[float] = None
    monthly: Maybe[float] = None


class RegionPrice(Price):
    """The price where it differs from the general one; `id` is the region."""

    id: Maybe[str] = None


class BackupsAddon(Resource):
    """What automatic backups cost on top of a type."""

    price: Maybe[Price] = None
    region_prices: Many[RegionPrice] = ()


class Addons(Resource):
    """What can be bought with a type."""

    backups: Maybe[BackupsAddon] = None


class InstanceType(Resource):
    """A plan: memory and disk in MB, transfer in GB per month, network_out in Mbit/s.

    `class_` is the API's `class` (nanode, standard, dedicated, premium, gpu, …).
    """

    id: TextId
    label: Maybe[str] = None
    class_: Maybe[str] = Field(default=None, alias="class")
    memory: Maybe[int] = None
    disk: Maybe[int] = None
    vcpus: Maybe[int] = None
    gpus: Maybe[int] = None
    transfer: Maybe[int] = None
    network_out: Maybe[int] = None
    price: Maybe[Price] = None
    region_prices: Many[RegionPrice] = ()
    addons: Maybe[Addons] = None
    successor: Maybe[str] = None


class Region(Resource):
    """A data centre; `capabilities` holds names such as `GPU Linodes`, `Premium Plans` and `Metadata`."""

    id: TextId
    label: Maybe[str] = None
    country: Maybe[str] = None
    capabilities: Many[str] = ()
    status: Maybe[str] = None
    site_type: Maybe[str] = None


class RegionAvailability(Resource):
    """Whether a plan can be had in a region. Only premium and GPU plans are listed: absent says nothing."""

    region: Maybe[str] = None
    plan: Maybe[str] = None
    available: Maybe[bool] = None


class ImageRegion(Resource):
    """A region that holds a copy of an image."""

    region: Maybe[str] = None
    status: Maybe[str] = None


class Image(Resource):
    """Something to deploy: `linode/…` is public, `private/…` ours; `size` (MB) must fit the type's disk."""

    id: TextId
    label: Maybe[str] = None
    status: Maybe[str] = None
    type: Maybe[str] = None
    vendor: Maybe[str] = None
    description: Maybe[str] = None
    deprecated: Maybe[bool] = None
    is_public: Maybe[bool] = None
    size: Maybe[int] = None
    total_size: Maybe[int] = None
    capabilities: Many[str] = ()
    regions: Many[ImageRegion] = ()
    tags: Many[str] = ()
    created: Moment = None
    eol: Moment = None


class Kernel(Resource):
    """A kernel an instance can boot."""

    id: TextId
    label: Maybe[str] = None
    version: Maybe[str] = None
    architecture: Maybe[str] = None
    kvm: Maybe[bool] = None
    pvops: Maybe[bool] = None
    deprecated: Maybe[bool] = None
    built: Moment = None


class Profile(Resource):
    """The user behind the token; `restricted` users have grants."""

    username: Maybe[str] = None
    email: Maybe[str] = None
    uid: Maybe[int] = None
    restricted: Maybe[bool] = None
    timezone: Maybe[str] = None


class Account(Resource):
    """The account that the token's user belongs to. `euuid` is its own id, the same for every token of it."""

    euuid: Maybe[str] = None
    company: Maybe[str] = None
    email: Maybe[str] = None


class InstanceSpecs(Resource):
    """What an instance has: memory and disk in MB, transfer in GB per month."""

    disk: Maybe[int] = None
    memory: Maybe[int] = None
    vcpus: Maybe[int] = None
    gpus: Maybe[int] = None
    transfer: Maybe[int] = None


class InstancePlacementGroup(Resource):
    """The placement group an instance belongs to."""

    id: Maybe[int] = None
    label: Maybe[str] = None
    placement_group_type: Maybe[str] = None
    placement_group_policy: Maybe[str] = None


class Instance(Resource):
    """A Linode. Secrets (root password, keys, metadata) are never echoed by the API, so none is here.

    `region` may read back under another name than was asked for (`us-south` as `us-central`).
    """

    id: NumericId
    label: Maybe[str] = None
    status: Maybe[str] = None
    type: Maybe[str] = None
    region: Maybe[str] = None
    image: Maybe[str] = None
    tags: Many[str] = ()
    ipv4: Many[str] = ()
    ipv6: Maybe[str] = None
    created: Moment = None
    updated: Moment = None
    group: Maybe[str] = None
    hypervisor: Maybe[str] = None
    host_uuid: Maybe[str] = None
    specs: Maybe[InstanceSpecs] = None
    has_user_data: Maybe[bool] = None
    watchdog_enabled: Maybe[bool] = None
    capabilities: Many[str] = ()
    disk_encryption: Maybe[str] = None
    interface_generation: Maybe[str] = None
    maintenance_policy: Maybe[str] = None
    lke_cluster_id: Maybe[int] = None
    placement_group: Maybe[InstancePlacementGroup] = None


class EventEntity(Resource):
    """What an event is about; `type` is `linode` for an instance."""

    id: Maybe[int | str] = None
    type: Maybe[str] = None
    label: Maybe[str] = None
    url: Maybe[str] = None


class Event(Resource):
    """Something that happened or is under way: scheduled, started, then finished or failed."""

    id: NumericId
    action: Maybe[str] = None
    status: Maybe[str] = None
    percent_complete: Maybe[int] = None
    entity: Maybe[EventEntity] = None
    secondary_entity: Maybe[EventEntity] = None
    created: Moment = None
    duration: Maybe[float] = None
    message: Maybe[str] = None
    username: Maybe[str] = None
