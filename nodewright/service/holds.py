"""The kill switch: pause and resume a fleet, an account, or everything."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from jobs import holds
from nodewright import answers as shapes
from nodewright.service.access import Admin, Operator
from nodewright.service.deps import Deps
from nodewright.service.openapi import answers


def pause_fleet(key: Operator, deps: Deps, ref: str) -> JSONResponse:
    """Pause a fleet: after the answer nothing is sent for it. What waits is kept, what is in flight is finished."""
    scope = deps.service.fleet_scope(ref, key.tenant)
    return JSONResponse(deps.service.pause(scope, actor=f"key {key.key_id}").to_json())


def resume_fleet(key: Operator, deps: Deps, ref: str) -> JSONResponse:
    """Let a paused fleet go on."""
    return JSONResponse(deps.service.resume(deps.service.fleet_scope(ref, key.tenant)).to_json())


def pause_account(key: Admin, deps: Deps, account_id: str) -> JSONResponse:
    """Pause an account: after the answer nothing is created in it."""
    scope = deps.service.account_scope(account_id)
    return JSONResponse(deps.service.pause(scope, actor=f"key {key.key_id}").to_json())


def resume_account(key: Admin, deps: Deps, account_id: str) -> JSONResponse:  # noqa: ARG001 - the key's scope is what counts
    """Let a paused account go on."""
    return JSONResponse(deps.service.resume(deps.service.account_scope(account_id)).to_json())


def pause_everything(key: Admin, deps: Deps) -> JSONResponse:
    """Pause everything, of all tenants: after the answer nothing is created."""
    return JSONResponse(deps.service.pause(holds.ALL, actor=f"key {key.key_id}").to_json())


def resume_everything(key: Admin, deps: Deps) -> JSONResponse:  # noqa: ARG001 - the key's scope is what counts
    """Let everything go on, but for fleets and accounts that are paused themselves."""
    return JSONResponse(deps.service.resume(holds.ALL).to_json())


_ROUTES = (
    ("/fleets/{ref}/pause", pause_fleet),
    ("/fleets/{ref}/resume", resume_fleet),
    ("/accounts/{account_id}/pause", pause_account),
    ("/accounts/{account_id}/resume", resume_account),
    ("/pause", pause_everything),
    ("/resume", resume_everything),
)


def install(router: APIRouter) -> None:
    """Put the routes on ``router``."""
    for path, endpoint in _ROUTES:
        known = answers(shapes.Hold, *((404,) if "{" in path else ()))
        router.add_api_route(path, endpoint, methods=["POST"], tags=["pause"], **known)
