"""What a form of the page does: retry, cancel, pause, resume. None needs a script, and each goes back where it was."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from starlette.datastructures import QueryParams
from starlette.responses import RedirectResponse, Response

from jobs import holds, picks
from jobs.holds import HoldView, Scope
from jobs.listing import JobFilter
from jobs.picks import MOST_IDS, Pick, Share
from jobs.service import ANY
from nodewright.page import csrf, flash
from nodewright.page.drawing import draw_form
from nodewright.page.forms import Form, came_from
from nodewright.page.verbs import CANCEL, RETRY, Verb, left_out, rehearse
from nodewright.page.views.filters import text_in
from nodewright.page.views.jobs import faults, filter_in
from nodewright.page.views.telling import counted
from nodewright.page.visitor import Administering, Entry, Operating
from nodewright.service.deps import Deps, ServiceDeps
from nodewright.service.problems import Problem

_SHOWN: Final = 8
_OURS: Final = frozenset({csrf.FIELD, "back", "confirmed"})


@dataclass(frozen=True)
class _Act:
    """A form that was sent by somebody who may, and what it goes back to by default."""

    request: Request
    deps: ServiceDeps
    entry: Entry
    form: QueryParams
    default: str

    @property
    def back(self) -> str:
        return came_from(self.request, self.form, self.default)

    def told(self, text: str) -> Response:
        """Go back, and say what was done."""
        response = RedirectResponse(self.back, HTTPStatus.SEE_OTHER)
        flash.say(self.request, response, self.entry.session or "", text)
        return response


# Retry and cancel ----------------------------------------------------------------------------------------------------


def _on_fleet(verb: Verb) -> Callable[..., Response]:
    def act(request: Request, deps: Deps, entry: Operating, form: Form, ref: str) -> Response:
        fleet = deps.service.fleet(ref, entry.visitor.tenant)
        here = _Act(request, deps, entry, form, f"/fleets/{fleet.id}")
        return _do(here, verb, JobFilter(fleet_id=fleet.id), None)

    return act


def _on_job(verb: Verb) -> Callable[..., Response]:
    def act(request: Request, deps: Deps, entry: Operating, form: Form, job_id: str) -> Response:
        job = deps.service.job(job_id, entry.visitor.tenant).job
        here = _Act(request, deps, entry, form, f"/jobs/{job.id}")
        return _do(here, verb, JobFilter(fleet_id=job.fleet_id), (job.id,))

    return act


def _on_jobs(verb: Verb) -> Callable[..., Response]:
    def act(request: Request, deps: Deps, entry: Operating, form: Form) -> Response:
        here = _Act(request, deps, entry, form, "/jobs")
        if form.get("all") == "1":
            return _do(here, verb, _asked_for(here), None)
        ids = tuple(dict.fromkeys(one.lower() for one in form.getlist("job")))
        if not ids:
            return here.told("No job was chosen: tick some first.")
        if len(ids) > MOST_IDS:
            detail = f"{len(ids)} jobs were chosen; at most {MOST_IDS:,} can be at once: find them by a filter instead"
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "too_many_jobs", detail)
        return _do(here, verb, ANY, ids)

    return act


def _asked_for(here: _Act) -> JobFilter:
    """Return which jobs a form's filter fields mean. What is not understood is refused: it would mean everything."""
    if found := faults(here.form):
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_filter", " ".join(found))
    ref, where = text_in(here.form, "fleet"), filter_in(here.form)
    if ref is None:
        return where
    return replace(where, fleet_id=here.deps.service.fleet(ref, here.entry.visitor.tenant).id)


def _do(here: _Act, verb: Verb, where: JobFilter, ids: tuple[str, ...] | None) -> Response:
    """Ask first, then do it to those of the jobs that it is for."""
    pick = Pick(here.entry.visitor.tenant, where, ids)
    with here.deps.service.reading() as tx:
        found = picks.shares(tx, pick)
    if ids is not None and len(ids) > sum(len(share.ids or ()) for share in found):
        raise Problem(HTTPStatus.NOT_FOUND, "not_found", "there is no such job, or not all of them any more")
    meant = [share for share in found if _count([share], verb)]
    if here.form.get("confirmed") == "1" and meant:
        return here.told(verb.does(here.deps, here.entry.visitor, where, meant))
    return _ask(here, verb, pick, meant)


def _count(shares: Sequence[Share], verb: Verb) -> int:
    return sum(share.states.get(state, 0) for share in shares for state in verb.states)


def _ask(here: _Act, verb: Verb, pick: Pick, shares: Sequence[Share]) -> Response:
    """Ask whether it is really meant; where nothing would come of it, say why."""
    count, notes = _foreseen(here, verb, pick, shares)
    sample = []
    if count:
        with here.deps.service.reading() as tx:
            sample = picks.sample(tx, pick, verb.states, _SHOWN)
    names = ", ".join(share.fleet for share in shares[:_SHOWN]) + (", …" if len(shares) > _SHOWN else "")
    which = f" with the error code {pick.where.error_code}" if pick.where.error_code else ""
    asked = verb.question(f"{counted(count, 'job')} of {names}{which}")
    return draw_form(
        here.request,
        here.entry.visitor,
        "confirm.html",
        title=verb.title,
        question=asked if count else verb.none if not shares else verb.not_now,
        possible=count > 0,
        sample=sample,
        left=_count(shares, verb) - len(sample),
        notes=notes,
        action=here.request.url.path,
        fields=[(name, value) for name, value in here.form.multi_items() if name not in _OURS],
        back=here.back,
        kind=verb.kind,
        label=f"{verb.name.capitalize()} {counted(count, 'job')}",
    )


def _foreseen(here: _Act, verb: Verb, pick: Pick, shares: Sequence[Share]) -> tuple[int, list[str]]:
    """Return to how many jobs it would be done, and what else is known of that before."""
    if verb is not RETRY or len(shares) != 1:
        return _count(shares, verb), []
    came = rehearse(here.deps, here.entry.visitor, pick.where, shares[0])
    notes = [f"{came.fault}."] if came.fault else []
    if came.later:
        notes.append(
            f"{counted(came.later, 'instance')} that a failed attempt still owns will be deleted first."
        )
    if came.refused:
        notes.append(" ".join(left_out(came.refused)))
        command = f"nodewright retry {shlex.quote(shares[0].fleet)}"
        notes.append(f"What needs more than a yes is done by `{command}`; see its `--help`.")
    return came.now + came.later, notes


# Pause and resume ----------------------------------------------------------------------------------------------------


def pause_fleet(request: Request, deps: Deps, entry: Operating, form: Form, ref: str) -> Response:
    """Pause a fleet."""
    scope = deps.service.fleet_scope(ref, entry.visitor.tenant)
    return _pause(_Act(request, deps, entry, form, f"/fleets/{scope.id}"), scope)


def resume_fleet(request: Request, deps: Deps, entry: Operating, form: Form, ref: str) -> Response:
    """Let a paused fleet go on."""
    scope = deps.service.fleet_scope(ref, entry.visitor.tenant)
    return _resume(_Act(request, deps, entry, form, f"/fleets/{scope.id}"), scope)


def pause_account(
    request: Request, deps: Deps, entry: Administering, form: Form, account_id: str
) -> Response:
    """Pause an account."""
    return _pause(_Act(request, deps, entry, form, "/limits"), deps.service.account_scope(account_id))


def resume_account(
    request: Request, deps: Deps, entry: Administering, form: Form, account_id: str
) -> Response:
    """Let a paused account go on."""
    return _resume(_Act(request, deps, entry, form, "/limits"), deps.service.account_scope(account_id))


def pause_everything(request: Request, deps: Deps, entry: Administering, form: Form) -> Response:
    """Pause everything, of all tenants."""
    return _pause(_Act(request, deps, entry, form, "/limits"), holds.ALL)


def resume_everything(request: Request, deps: Deps, entry: Administering, form: Form) -> Response:
    """Let everything go on."""
    return _resume(_Act(request, deps, entry, form, "/limits"), holds.ALL)


def _pause(here: _Act, scope: Scope) -> Response:
    done = here.deps.service.pause(scope, actor=here.entry.visitor.actor)
    words = [f"{_named(scope)} {'is' if done.changed else 'was already'} paused: {_kept(done)}."]
    if not done.settled:
        words.append(
            "A worker hangs in the midst of sending: a create may still leave. Pause it once more in a moment."
        )
    return here.told(" ".join(words))


def _kept(done: HoldView) -> str:
    waiting = f"{counted(done.waiting, 'job waits', 'jobs wait')}"
    if not done.in_flight:
        return waiting
    return f"{waiting}, {counted(done.in_flight, 'create')} under way {'is' if done.in_flight == 1 else 'are'} finished"


def _resume(here: _Act, scope: Scope) -> Response:
    done = here.deps.service.resume(scope)
    words = f"{_named(scope)} {'goes on' if done.changed else 'was not paused'}."
    if done.held_by:
        verb = "is" if len(done.held_by) == 1 else "are"
        words += f" It is still held up: {' and '.join(done.held_by)} {verb} paused."
    return here.told(words)


def _named(scope: Scope) -> str:
    return "Everything" if scope.kind == holds.EVERYTHING else f"{scope.kind.capitalize()} {scope.name}"


# Routes --------------------------------------------------------------------------------------------------------------

ACTIONS: Final[Sequence[tuple[str, Callable[..., Any]]]] = (
    ("/fleets/{ref}/cancel", _on_fleet(CANCEL)),
    ("/fleets/{ref}/retry", _on_fleet(RETRY)),
    ("/fleets/{ref}/pause", pause_fleet),
    ("/fleets/{ref}/resume", resume_fleet),
    ("/jobs/cancel", _on_jobs(CANCEL)),
    ("/jobs/retry", _on_jobs(RETRY)),
    ("/jobs/{job_id}/cancel", _on_job(CANCEL)),
    ("/jobs/{job_id}/retry", _on_job(RETRY)),
    ("/accounts/{account_id}/pause", pause_account),
    ("/accounts/{account_id}/resume", resume_account),
    ("/pause", pause_everything),
    ("/resume", resume_everything),
)
"""Each action's path, and what does it."""


def install(app: FastAPI) -> None:
    """Put the routes on ``app``."""
    for path, act in ACTIONS:
        app.add_api_route(path, act, methods=["POST"], include_in_schema=False)
        app.add_api_route(path, _look_instead, methods=["GET", "HEAD"], include_in_schema=False)


def _look_instead(request: Request) -> Response:
    """Lead who loads an action's address, by going back or by an old link, to what it is about."""
    about = request.url.path.rpartition("/")[0]
    known = about.startswith(("/fleets/", "/jobs"))
    return RedirectResponse(about if known else "/limits", HTTPStatus.SEE_OTHER)
