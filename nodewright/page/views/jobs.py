"""Jobs: found by what they are, a page at a time, and chosen for a retry or a cancel."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from starlette.datastructures import QueryParams

from jobs.cancelling import UNBOUGHT
from jobs.listing import LOOKED_AT, JobFilter, JobPage, Sort, is_place
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
_LESS: Final = ("error_code", "type", "region", "tag", "since")
"""What is asked for less often: the form shows it when it is."""
_ANY: Final[frozenset[str]] = frozenset(State)
NOTHING: Final = JobPage((), None)
Wanted = Mapping[str, str | None]
"""What a query asks for, as it was typed; None: it does not say."""
SORTS: Final[Mapping[str, str]] = {
    "": "as they come",
    Sort.NEWEST: "newest first",
    Sort.OLDEST: "oldest first",
    Sort.LABEL: "by label",
}


def show_jobs(deps: ServiceDeps, asked: Asked) -> Shown:
    """Show jobs that fit the query, a page of them."""
    query = asked.query
    fleet = _fleet(deps, asked)
    wanted = {name: text_in(query, name) for name in FIELDS}
    unknown = wanted["fleet"] is not None and fleet is None
    with deps.service.reading() as tx:
        now = tx.now
    counted = counts(deps, asked, wanted, fleet)
    page = _page(deps, asked, wanted, None if fleet is None else fleet.id, unknown=unknown)
    state = state_in(query)
    context = {
        "wanted": wanted,
        "states": list(State),
        "sorts": SORTS,
        "more_fields": any(wanted[name] for name in _LESS),
        "filtered": any(value for name, value in wanted.items() if name != "sort"),
        "fleet": fleet,
        "notes": [*faults(query), *([f"There is no fleet {wanted['fleet']!r}."] if unknown else [])],
        "counts": counted,
        "chips": {state.value: link("/jobs", {**wanted, "state": state}) for state in State},
        "every": link("/jobs", {**wanted, "state": None}),
        "fields": {"all": "1", **{name: value for name, value in wanted.items() if value and name != "sort"}},
        # By the address alone: boxes must not go while somebody ticks them.
        "for_chosen": offered(_ANY if state is None else frozenset({state})),
        "for_all": offered(states_in(query, counted, page)),
        "looked_at": LOOKED_AT,
        "walked": _walked(wanted, page),
        **page,
    }
    return Shown("Jobs", parts("jobs.html", asked, now, **context))


def _page(
    deps: ServiceDeps, asked: Asked, wanted: Wanted, fleet_id: str | None, *, unknown: bool
) -> dict[str, Any]:
    """Return the jobs of a page, and where the others are; of an unknown fleet there are none."""
    query = asked.query
    where, sort = replace(filter_in(query), fleet_id=fleet_id), sort_in(query)
    place = query.get("after", "")
    after = place if place and is_place(place, where, sort) else None
    page = NOTHING
    if not unknown:
        page = deps.service.job_page(asked.visitor.tenant, where, sort=sort, limit=PAGE, after=after)
    return {
        "jobs": page.jobs,
        "first": link("/jobs", wanted) if after else None,
        "more": link("/jobs", wanted, after=page.next) if page.next else None,
    }


def offered(states: frozenset[str]) -> dict[str, bool]:
    """Return what can do something for jobs in these states."""
    return {"retry": State.FAILED in states, "cancel": not states.isdisjoint(UNBOUGHT)}


def states_in(query: QueryParams, counted: Mapping[str, int], page: Mapping[str, Any]) -> frozenset[str]:
    """Return in which states the jobs that fit may be; none where the query is not understood."""
    if faults(query):
        return frozenset()
    if state := state_in(query):
        return frozenset({state})
    if counted:
        return frozenset(name for name, count in counted.items() if count)
    whole = page["first"] is None and page["more"] is None
    return frozenset(job.state for job in page["jobs"]) if whole else _ANY


def _walked(wanted: Wanted, page: Mapping[str, Any]) -> tuple[str, str]:
    """Return which jobs a page looked through that found none, and which ones are left."""
    if page["first"] is not None:
        return "next", "those after them"
    if wanted["sort"] == Sort.NEWEST or not (wanted["sort"] or wanted["fleet"]):
        return "newest", "older ones"
    return ("oldest", "newer ones") if wanted["sort"] == Sort.OLDEST else ("first", "those after them")


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


def _fleet(deps: ServiceDeps, asked: Asked) -> FleetView | None:
    ref = text_in(asked.query, "fleet")
    if ref is None:
        return None
    try:
        return deps.service.fleet(ref, asked.visitor.tenant)
    except NotFound:
        return None


def counts(deps: ServiceDeps, asked: Asked, wanted: Wanted, fleet: FleetView | None) -> dict[str, int]:
    """Return how many jobs are in which state, where nothing but fleet and state is asked for: else it is dear."""
    if any(value for name, value in wanted.items() if name not in {"fleet", "state", "sort"}):
        return {}
    if wanted["fleet"]:
        return {} if fleet is None else fleet.states
    return deps.service.status(asked.visitor.tenant).states
