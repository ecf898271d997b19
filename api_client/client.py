"""The client: one group of verbs for each kind of thing the API has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from types import TracebackType
from typing import Any, Generic, Self, TypeVar
from urllib.parse import quote

import httpx
from pydantic import JsonValue, SecretStr

from api_client.filters import Filter
from api_client.models import (
    Account,
    Event,
    Image,
    Instance,
    InstanceType,
    Kernel,
    Profile,
    Region,
    RegionAvailability,
    Resource,
)
from api_client.paging import DEFAULT_PAGE, Listing, Page, check_page, check_page_size, read_page
from api_client.replies import Reply
from api_client.requests import InstanceCreate
from api_client.wire import Call, Clock, Limits, Timeouts, Wire

R = TypeVar("R", bound=Resource)

BASE_URL = "https://api.linode.com/v4"


class Collection(Generic[R]):
    """A list of the API, as a whole (`list`) or one page per call (`list_page`).

    `page_size` is 25 to 500 (else ValueError), `where` a filter on fields that the API filters this list by.
    """

    def __init__(self, wire: Wire, path: str, model: type[R]) -> None:
        self._wire = wire
        self._path = path
        self._model = model

    def list(self, *, page_size: int = DEFAULT_PAGE, where: Filter | None = None) -> Listing[R]:
        """All items, page by page; nothing is sent before the listing is used."""
        check_page_size(page_size)
        return Listing(lambda number: self.list_page(number, page_size=page_size, where=where))

    def list_page(
        self, page: int = 1, *, page_size: int = DEFAULT_PAGE, where: Filter | None = None
    ) -> Reply[Page[R]]:
        """One page in one call.

        A page past the end is an empty one, another page, BadRequest or NotFound: the API does not say which.
        """
        params = {"page": str(check_page(page)), "page_size": str(check_page_size(page_size))}
        headers = {} if where is None else {"X-Filter": where.to_header()}
        call = Call("GET", self._path, params=params, headers=headers)
        read_item = self._model.model_validate
        return self._wire.exchange(
            call, lambda found: read_page(found, read_item, asked=page, page_size=page_size)
        )


class Items(Collection[R]):
    """A list whose items can be read one by one."""

    def get(self, item_id: str | int) -> Reply[R]:
        """One item by its id, URL-encoded here (`linode%2Fdebian12`). NotFound when there is none."""
        return self._wire.exchange(Call("GET", self._item(item_id)), self._model.model_validate)

    def _item(self, item_id: str | int, *further: str) -> str:
        return "/".join([self._path, segment(item_id), *further])


class Regions(Items[Region]):
    """Data centres. `availability` says which premium and GPU plans they have; other plans are not listed."""

    def __init__(self, wire: Wire) -> None:
        super().__init__(wire, "/regions", Region)
        self.availability = Collection(wire, "/regions/availability", RegionAvailability)

    def availability_in(self, region_id: str) -> Reply[tuple[RegionAvailability, ...]]:
        """One region's availability, whole: the API answers a bare array, without pages."""
        return self._wire.exchange(
            Call("GET", self._item(region_id, "availability")), _read_array(RegionAvailability)
        )


class Instances(Items[Instance]):
    """Linodes. Filterable are id, label, group, image, ipv4, region and tags, but neither type nor status.

    Every write may raise `OutcomeUnknown`; nothing here sends one twice.
    """

    def __init__(self, wire: Wire) -> None:
        super().__init__(wire, "/linode/instances", Instance)

    def create(self, request: InstanceCreate) -> Reply[Instance]:
        """Buy an instance. It answers while status is `provisioning`; the unique label is its only handle."""
        call = Call("POST", self._path, body=request.to_json(), secrets=request.secrets())
        return self._wire.exchange(call, Instance.model_validate)

    def update(
        self,
        instance_id: int,
        *,
        label: str | None = None,
        tags: tuple[str, ...] | None = None,
        group: str | None = None,
        watchdog_enabled: bool | None = None,
        maintenance_policy: str | None = None,
        alerts: Mapping[str, JsonValue] | None = None,
    ) -> Reply[Instance]:
        """Change what is given and leave the rest; answers the instance as it is afterwards."""
        changes: dict[str, JsonValue] = {
            "label": label,
            "tags": None if tags is None else list(tags),
            "group": group,
            "watchdog_enabled": watchdog_enabled,
            "maintenance_policy": maintenance_policy,
            "alerts": None if alerts is None else dict(alerts),
        }
        call = Call("PUT", self._item(instance_id), body=_given(changes))
        return self._wire.exchange(call, Instance.model_validate)

    def delete(self, instance_id: int) -> Reply[None]:
        """Delete it for good. It is gone when `get` raises NotFound."""
        return self._wire.exchange(Call("DELETE", self._item(instance_id)), _read_nothing)

    def boot(self, instance_id: int, *, config_id: int | None = None) -> Reply[None]:
        """Start an instance that is offline; answers before it runs."""
        return self._power(instance_id, "boot", {"config_id": config_id})

    def reboot(self, instance_id: int, *, config_id: int | None = None) -> Reply[None]:
        """Restart an instance that is running; answers before it does."""
        return self._power(instance_id, "reboot", {"config_id": config_id})

    def shutdown(self, instance_id: int) -> Reply[None]:
        """Stop an instance (it is billed all the same); answers before it is offline."""
        return self._power(instance_id, "shutdown", {})

    def _power(self, instance_id: int, verb: str, body: Mapping[str, JsonValue]) -> Reply[None]:
        call = Call("POST", self._item(instance_id, verb), body=_given(body))
        return self._wire.exchange(call, _read_nothing)


class LinodeClient:
    """The Linode API v4 for one token: sends each call once, never sleeps, never retries.

    Share one per process and token among threads: it holds one pool of connections. Close it, or use it as a
    context manager. Each method returns a `Reply`, or raises a `LinodeError` and nothing else; arguments that
    no server would take raise ValueError before anything is sent.

    `base_url` is kept as given but for a trailing slash: it has to name the version (`…/v4`) itself.
    `user_agent` is appended to `nodewright/VERSION`. `transport` replaces the network, `clock` the time.
    """

    def __init__(
        self,
        token: str | SecretStr,
        *,
        base_url: str = BASE_URL,
        user_agent: str | None = None,
        transport: httpx.BaseTransport | None = None,
        timeouts: Timeouts | None = None,
        limits: Limits | None = None,
        clock: Clock | None = None,
    ) -> None:
        token = SecretStr(token) if isinstance(token, str) else token  # no frame keeps it in the clear
        self._wire = wire = Wire(
            token,
            base_url=base_url,
            user_agent=" ".join(filter(None, [default_user_agent(), user_agent])),
            transport=transport,
            timeouts=timeouts or Timeouts(),
            limits=limits or Limits(),
            clock=clock or Clock(),
        )
        self.images = Items(wire, "/images", Image)
        self.types = Items(wire, "/linode/types", InstanceType)
        self.regions = Regions(wire)
        self.kernels = Items(wire, "/linode/kernels", Kernel)
        self.events = Items(wire, "/account/events", Event)
        self.instances = Instances(wire)

    @property
    def base_url(self) -> str:
        """Where the API is, without trailing slash."""
        return self._wire.base_url

    @property
    def timeouts(self) -> Timeouts:
        """The bounds of one call; `timeouts.total` is what a lease must outlast."""
        return self._wire.timeouts

    def profile(self) -> Reply[Profile]:
        """The user behind the token; with the reply's `scopes` the cheapest check of a token."""
        return self._wire.exchange(Call("GET", "/profile"), Profile.model_validate)

    def account(self) -> Reply[Account]:
        """The account behind the token. It needs the scope account:read_only, else it is Unauthorized."""
        return self._wire.exchange(Call("GET", "/account"), Account.model_validate)

    def close(self) -> None:
        """Close the connections; a later call raises NotSent."""
        self._wire.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return "LinodeClient('**********')"


def default_user_agent(distribution: str = "nodewright") -> str:
    """`nodewright/VERSION`, by the metadata of the installed distribution."""
    try:
        return f"{distribution}/{version(distribution)}"
    except PackageNotFoundError:
        return f"{distribution}/unknown"


def segment(item_id: str | int) -> str:
    """An id as one segment of a path, or ValueError for one that would name another path."""
    text = str(item_id)
    if text in {"", ".", ".."}:
        raise ValueError(f"an id can't be {text!r}")
    return quote(text, safe="")


def _given(values: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    return {name: value for name, value in values.items() if value is not None}


def _read_array(model: type[R]) -> Callable[[Any], tuple[R, ...]]:
    def read(found: Any) -> tuple[R, ...]:  # noqa: ANN401 - JSON
        if not isinstance(found, list):
            raise ValueError("expected an array")  # noqa: TRY004 - the data is at fault
        return tuple(model.model_validate(item) for item in found)

    return read


def _read_nothing(found: Any) -> None:  # noqa: ANN401 - JSON
    """Accept an empty reply or an object, which the API sends where there is nothing to say."""
    if found is not None and not isinstance(found, dict):
        raise ValueError("expected an empty object")
