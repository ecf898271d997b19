"""A typed client of the Linode API v4 over httpx; it stands alone and imports nothing of the project.

>>> with LinodeClient(token) as client:
...     for image in client.images.list(where=F("vendor").eq("Debian")):
...         print(image.id)

Each call is sent once and ends in a `Reply` (value, rate window, scopes) or in a `LinodeError`, whose class
says what to do next; `api_client.errors` opens with the tree.
"""

from api_client.client import BASE_URL, Collection, Instances, Items, LinodeClient, Regions
from api_client.errors import (
    BadRequest,
    ErrorDetail,
    Forbidden,
    LinodeError,
    MethodNotAllowed,
    NotFound,
    NotSent,
    OutcomeUnknown,
    Reason,
    Rejected,
    ServerFault,
    Throttled,
    Unauthorized,
)
from api_client.filters import F, Filter, order_by
from api_client.models import (
    Account,
    Addons,
    BackupsAddon,
    Event,
    EventEntity,
    Image,
    ImageRegion,
    Instance,
    InstancePlacementGroup,
    InstanceSpecs,
    InstanceType,
    Kernel,
    Price,
    Profile,
    Region,
    RegionAvailability,
    RegionPrice,
    Resource,
)
from api_client.paging import DEFAULT_PAGE, LARGEST_PAGE, SMALLEST_PAGE, Listing, Page
from api_client.rates import UNKNOWN_RATE, RateInfo, parse_rate
from api_client.replies import Reply
from api_client.requests import InstanceCreate, Metadata, PlacementGroup
from api_client.wire import Clock, Limits, Timeouts

__all__ = [
    "BASE_URL",
    "DEFAULT_PAGE",
    "LARGEST_PAGE",
    "SMALLEST_PAGE",
    "UNKNOWN_RATE",
    "Account",
    "Addons",
    "BackupsAddon",
    "BadRequest",
    "Clock",
    "Collection",
    "ErrorDetail",
    "Event",
    "EventEntity",
    "F",
    "Filter",
    "Forbidden",
    "Image",
    "ImageRegion",
    "Instance",
    "InstanceCreate",
    "InstancePlacementGroup",
    "InstanceSpecs",
    "InstanceType",
    "Instances",
    "Items",
    "Kernel",
    "Limits",
    "LinodeClient",
    "LinodeError",
    "Listing",
    "Metadata",
    "MethodNotAllowed",
    "NotFound",
    "NotSent",
    "OutcomeUnknown",
    "Page",
    "PlacementGroup",
    "Price",
    "Profile",
    "RateInfo",
    "Reason",
    "Region",
    "RegionAvailability",
    "RegionPrice",
    "Regions",
    "Rejected",
    "Reply",
    "Resource",
    "ServerFault",
    "Throttled",
    "Timeouts",
    "Unauthorized",
    "order_by",
    "parse_rate",
]
