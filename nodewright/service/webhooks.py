"""Webhooks: endpoints, their secrets, and the log of what was sent to them."""

from enum import StrEnum
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from jobs.deliveries import STATES
from jobs.queries import as_id
from jobs.reach import LONGEST_URL
from jobs.webhooks import KINDS, parse_endpoint
from nodewright import answers as shapes
from nodewright.service.access import Operator, Reader
from nodewright.service.bodies import JsonBody
from nodewright.service.deps import Deps
from nodewright.service.openapi import answers, takes
from nodewright.service.paging import After, Limit, not_ours, seal, unseal

DeliveryState = StrEnum("DeliveryState", {name.upper(): name for name in STATES})  # type: ignore[misc]
StateQuery = Annotated[DeliveryState | None, Query(description="Only deliveries in this state.")]
_ENDPOINT: Final[dict[str, Any]] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["url"],
    "properties": {
        "url": {
            "type": "string",
            "minLength": 1,
            "maxLength": LONGEST_URL,
            "description": "Where to: https, an address that the world can reach.",
        },
        "kinds": {
            "type": "array",
            "minItems": 1,
            "items": {"type": "string", "enum": list(KINDS)},
            "description": "What to be told of; all of it where nothing is said.",
        },
    },
}


def add_webhook(key: Operator, body: JsonBody, deps: Deps) -> JSONResponse:
    """Add an endpoint of the key's tenant, told of what happens from now on. Its secret is shown this once."""
    made = deps.hooks.add(parse_endpoint(body, deps.hooks.reach), key.tenant)
    return JSONResponse({"webhook": made.webhook.to_json(), "secret": made.secret}, 201)


def list_webhooks(key: Reader, deps: Deps) -> JSONResponse:
    """List the tenant's endpoints, oldest first, with what waits and what was given up."""
    return JSONResponse({"webhooks": [one.to_json() for one in deps.hooks.endpoints(key.tenant)]})


def show_webhook(key: Reader, deps: Deps, webhook_id: str) -> JSONResponse:
    """Show one endpoint."""
    return JSONResponse({"webhook": deps.hooks.show(webhook_id, key.tenant).to_json()})


def remove_webhook(key: Operator, deps: Deps, webhook_id: str) -> JSONResponse:
    """Remove an endpoint with its log. `dropped`: how many deliveries had not arrived."""
    found, dropped = deps.hooks.remove(webhook_id, key.tenant)
    return JSONResponse({"webhook": found.to_json(), "dropped": dropped})


def rotate_webhook(key: Operator, deps: Deps, webhook_id: str) -> JSONResponse:
    """Give an endpoint a new secret, shown this once. The present one signs too for 24 hours, an older one no more."""
    made = deps.hooks.rotate(webhook_id, key.tenant)
    return JSONResponse({"webhook": made.webhook.to_json(), "secret": made.secret})


def test_webhook(key: Operator, deps: Deps, webhook_id: str) -> JSONResponse:
    """Send `webhook.test` soon, also to a disabled endpoint: if it arrives, that is enabled again."""
    return JSONResponse({"delivery": deps.hooks.test(webhook_id, key.tenant).to_json()}, 202)


def list_deliveries(
    key: Reader,
    deps: Deps,
    webhook_id: str,
    state: StateQuery = None,
    limit: Limit = 100,
    after: After = None,
) -> JSONResponse:
    """List what was sent to an endpoint, or is to be, newest first; `state=dead` is what was given up."""
    found = deps.hooks.show(webhook_id, key.tenant)
    asked = {"list": f"deliveries {found.id}", **({} if state is None else {"state": state.value})}
    place = unseal(after, asked)
    if place is not None and as_id(place) is None:
        raise not_ours(after or "")
    rows = deps.hooks.deliveries(
        found.id, key.tenant, state=None if state is None else state.value, limit=limit + 1, after=place
    )
    more = seal(rows[limit - 1].id, asked) if len(rows) > limit else None
    return JSONResponse({"deliveries": [one.to_json() for one in rows[:limit]], "next": more})


def resend_delivery(key: Operator, deps: Deps, webhook_id: str, delivery_id: str) -> JSONResponse:
    """Send a delivery again soon, whatever became of it: the same id, the same body."""
    return JSONResponse({"delivery": deps.hooks.resend(webhook_id, delivery_id, key.tenant).to_json()}, 202)


def resend_dead(key: Operator, deps: Deps, webhook_id: str) -> JSONResponse:
    """Send everything again that was given up; `resent`: how many."""
    return JSONResponse({"resent": deps.hooks.resend_dead(webhook_id, key.tenant)}, 202)


def install(router: APIRouter) -> None:
    """Put the routes on ``router``."""
    one = "/webhooks/{webhook_id}"
    with_body = {
        **answers(shapes.NewWebhook, 400, 408, 409, 413, 415, status=201),
        "openapi_extra": takes(_ENDPOINT),
    }
    for path, method, route, documented in (
        ("/webhooks", "POST", add_webhook, with_body),
        ("/webhooks", "GET", list_webhooks, answers(shapes.Webhooks)),
        (one, "GET", show_webhook, answers(shapes.OneWebhook, 404)),
        (one, "DELETE", remove_webhook, answers(shapes.RemovedWebhook, 404)),
        (f"{one}/rotate", "POST", rotate_webhook, answers(shapes.NewWebhook, 404)),
        (f"{one}/test", "POST", test_webhook, answers(shapes.OneDelivery, 404, status=202)),
        (f"{one}/deliveries", "GET", list_deliveries, answers(shapes.DeliveryPage, 404)),
        (f"{one}/deliveries/resend", "POST", resend_dead, answers(shapes.Resent, 404, 409, status=202)),
        (
            f"{one}/deliveries/{{delivery_id}}/resend",
            "POST",
            resend_delivery,
            answers(shapes.OneDelivery, 404, 409, status=202),
        ),
    ):
        router.add_api_route(path, route, methods=[method], tags=["webhooks"], **documented)
