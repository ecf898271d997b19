"""Jobs: found by what they are, a page at a time, and chosen for a retry or a cancel."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from starlette.datastructures import QueryParams

from jobs.listing import JobFilter, JobPage, Sort, is_place
from jobs.service import NotFound
from jobs.states import State
from jobs.views import FleetView
from nodewright.page.shown import Asked, Shown
from nodewright.page.views.filters import moment_in, state_in, text_in
from nodewright.page.views.rendering import link, parts
from nodewright.service.deps import ServiceDeps

PAGE: Final = 50
FIELDS: Final = ("q", "fleet", "state", "type", "region", "error_code", "tag", "since", "sort")
"""What a query may ask for."""
SORTS: Final[Mapping[str, str]] = {
    "": "as they come",
    Sort.NEWEST: "newest first",
    Sort.OLDEST: "oldest first",
    Sort.LABEL: "by label",
}


def show_jobs(deps: ServiceDeps, asked: Asked) -> Shown:
    """Show jobs that fit the query, a page of them."""
    tenant, query = asked.visitor.tenant, asked.query
    notes = faults(query)
    where = filter_in(query)
    fleet = _fleet(deps, tenant, query)
    if text_in(query, "fleet") and fleet is None:
        notes.append(f"There is no fleet {text_in(query, 'fleet')!r}.")
    if fleet is not None:
        where = replace(where, fleet_id=fleet.id)
    sort, place = sort_in(query), query.get("after")
    after = place if place and is_place(place, where, sort) else None
    unknown = bool(text_in(query, "fleet")) and fleet is None
    page = JobPage((), None) if unknown else deps.service.job_page(tenant, where, sort=sort, limit=PAGE, after=after)
    wanted = {name: text_in(query, name) for name in FIELDS}
    with deps.service.reading() as tx:
        now = tx.now
    return Shown(
        "Jobs",
        parts(
            "jobs.html",
            asked,
            now,
            wanted=wanted,
            filtered=any(value for name, value in wanted.items() if name != "sort"),
            states=list(State),
            fleet=fleet,
            jobs=page.jobs,
            sorts=SORTS,
            more_fields=any(wanted[name] for name in ("error_code", "type", "region", "tag", "since")),
            counts=counts(deps, asked, wanted, fleet),
            chips={state.value: link("/jobs", {**wanted, "state": state}) for state in State},
            every=link("/jobs", {**wanted, "state": None}),
            notes=notes,
            first=link("/jobs", wanted) if after else None,
            more=link("/jobs", wanted, after=page.next) if page.next else None,
            fields={"all": "1", **{name: value for name, value in wanted.items() if value and name != "sort"}},
        ),
    )


def filter_in(query: QueryParams) -> JobFilter:
    """Return which jobs a query asks for, but for the fleet."""
    return JobFilter(
        state=state_in(query),
        q=text_in(query, "q"),
        type=text_in(query, "type"),
        region=text_in(query, "region"),
        tag=text_in(query, "tag"),
        error_code=text_in(query, "error_code"),
        since=moment_in(query, "since"),
    )


def sort_in(query: QueryParams) -> Sort | None:
    """Return the order that is asked for; None: the usual one."""
    found = query.get("sort", "")
    return Sort(found) if found in set(Sort) else None


def faults(query: QueryParams) -> list[str]:
    """Return what of a query is not understood, and so left out."""
    found = []
    if text_in(query, "state") and state_in(query) is None:
        found.append(f"There is no state {text_in(query, 'state')!r}: jobs in any state are shown.")
    if text_in(query, "since") and moment_in(query, "since") is None:
        found.append(f"{text_in(query, 'since')!r} is no day and no moment: jobs of any age are shown.")
    return found


def _fleet(deps: ServiceDeps, tenant: str, query: QueryParams) -> FleetView | None:
    ref = text_in(query, "fleet")
    if ref is None:
        return None
    try:
        return deps.service.fleet(ref, tenant)
    except NotFound:
        return None


def counts(
    deps: ServiceDeps, asked: Asked, wanted: Mapping[str, str | None], fleet: FleetView | None
) -> dict[str, int]:
    """Return how many jobs are in which state, where nothing but fleet and state is asked for: else it is dear."""
    if any(value for name, value in wanted.items() if name not in {"fleet", "state", "sort"}):
        return {}
    if wanted["fleet"]:
        return {} if fleet is None else fleet.states
    return deps.service.status(asked.visitor.tenant).states
