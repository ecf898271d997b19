"""Scale: how many instances a fleet is to have."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from jobs.regiven import read_given
from jobs.scaling import Scaled, Wish
from nodewright import answers as shapes
from nodewright.service import asked
from nodewright.service.access import Operator
from nodewright.service.bodies import JsonBody
from nodewright.service.deps import Deps
from nodewright.service.openapi import answers, takes


def scale_fleet(key: Operator, body: JsonBody, deps: Deps, ref: str) -> JSONResponse:
    """Bring the fleet to so many instances. Sent again it changes nothing: `to` is absolute (`unchanged`).

    More are jobs of `group` (an index or a name; by default the last one). For fewer, or for `jobs` to go, a `dry_run`
    lists what would go, and its `confirm` sent along does it.
    """
    wanted = asked.read(asked.Scale, body)
    wish = Wish(
        to=wanted.to,
        group=wanted.group,
        ids=asked.ids_of(wanted.jobs),
        confirm=wanted.confirm,
        dry_run=wanted.dry_run,
        secrets=read_given([one.model_dump() for one in wanted.secrets]),
    )
    fleet = deps.service.fleet(ref, key.tenant)
    done = deps.service.scale(fleet.id, key.tenant, wish, actor=f"key {key.key_id}")
    return JSONResponse({"fleet": deps.service.fleet(fleet.id, key.tenant).to_json(), **_told(done)})


def _told(done: Scaled) -> dict[str, object]:
    return {
        "was": done.was,
        "to": done.to,
        "failed": done.failed,
        "labels": list(done.labels),
        "leaving": [one.to_json() for one in done.leaving],
        "confirm": done.confirm,
        "dry_run": done.dry_run,
        "unchanged": done.was == done.to,
    }


def install(router: APIRouter) -> None:
    """Put the routes on ``router``."""
    router.add_api_route(
        "/fleets/{ref}/scale",
        scale_fleet,
        methods=["POST"],
        tags=["fleets"],
        **answers(shapes.Scaled, 400, 404, 408, 409, 413, 415),
        openapi_extra=takes(asked.schema(asked.Scale)),
    )
