"""The calls of the HTTP interface as values, what their answers mean, and the errors. Nothing is sent here.

Both clients send them: :class:`nodewright.client.Client` and :class:`nodewright.client.AsyncClient`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, Generic, TypeVar
from urllib.parse import quote

import httpx
from pydantic import ValidationError

from nodewright import answers
from nodewright.answers import Problem
from nodewright.home import Home
from nodewright.settings import Settings

Found = TypeVar("Found")
PAGE: Final = 1000


# Errors


class ClientError(Exception):
    """A call did not end as asked for; the subclass says what to do."""


class ServiceNotReached(ClientError):  # noqa: N818 - it names the case
    """No answer came: the service is not running, or not there. ``sent``: what was asked may have been done."""

    def __init__(self, message: str, *, sent: bool = False) -> None:
        self.sent = sent
        super().__init__(message)


class Answered(ClientError):  # noqa: N818 - it names the case
    """The service answered, but not with a success; ``problem`` is what it said."""

    def __init__(self, problem: Problem, retry_after: float | None = None) -> None:
        self.problem = problem
        self.retry_after = retry_after
        super().__init__(problem.detail or problem.title)


class ServiceUnavailable(Answered):
    """The service cannot do this now, but will later."""


class Throttled(Answered):
    """The key asked too often; it may again after `retry_after` seconds."""


class Refused(Answered):
    """The service will not do this."""


class NotFound(Refused):
    """There is no such thing, or it belongs to somebody else."""


class NotAllowed(Refused):
    """The key is missing, unknown, or may not do this."""


class Unexpected(Answered):
    """An answer that is no success and no refusal: a fault of the service, or not our service at all."""


@dataclass(frozen=True)
class Call(Generic[Found]):
    """One request, and how its answer is read."""

    method: str
    path: str
    read: Callable[[dict[str, Any]], Found]
    params: Mapping[str, Any] = field(default_factory=dict)
    json: Any = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)


# Where the service is


@dataclass(frozen=True)
class Place:
    """Where the service is, and the key for it."""

    url: str
    api_key: str = field(repr=False)


def find_service(settings: Settings | None = None) -> Place:
    """Return where the service is: the settings say, else the running stack of ``NODEWRIGHT_HOME``.

    Raises:
        ServiceNotReached: neither does.

    """
    settings = settings or Settings.load()
    found = Home(settings.home_folder).service()
    url = settings.url or (found.url if found else None)
    if url is None:
        raise ServiceNotReached(
            f"no service is running in {settings.home_folder}; start one with `nodewright up`, "
            "or set NODEWRIGHT_URL and NODEWRIGHT_API_KEY"
        )
    key = settings.api_key.get_secret_value() if settings.api_key else None
    local = found.api_key if found and found.url == url else ""
    return Place(url, key or local)


# The calls


def submit(document: Mapping[str, Any], key: str) -> Call[answers.Submission]:
    """Submit a fleet under an idempotency key."""
    headers = {"Idempotency-Key": key}
    return Call("POST", "/v1/fleets", _as(answers.Submission), json=dict(document), headers=headers)


def plan(document: Mapping[str, Any]) -> Call[answers.Plan]:
    """Ask what a submit would do."""
    return Call("POST", "/v1/plan", _part(answers.Plan, "plan"), json=dict(document))


def fleets(*, limit: int, after: str | None = None) -> Call[answers.FleetPage]:
    """Ask for a page of fleets."""
    return Call("GET", "/v1/fleets", _as(answers.FleetPage), params=_given(limit=limit, after=after))


def fleet(ref: str) -> Call[answers.Fleet]:
    """Ask for one fleet."""
    return Call("GET", f"/v1/fleets/{_segment(ref)}", _part(answers.Fleet, "fleet"))


def outlook(ref: str) -> Call[answers.Outlook]:
    """Ask what is still to come of a fleet."""
    return Call("GET", f"/v1/fleets/{_segment(ref)}/outlook", _as(answers.Outlook))


def failures(ref: str) -> Call[answers.Failures]:
    """Ask why jobs of a fleet failed."""
    return Call("GET", f"/v1/fleets/{_segment(ref)}/failures", _as(answers.Failures))


def groups(ref: str) -> Call[answers.Groups]:
    """Ask for the groups of a fleet's request."""
    return Call("GET", f"/v1/fleets/{_segment(ref)}/groups", _as(answers.Groups))


def cancel(ref: str, **asked: Any) -> Call[answers.Cancelled]:  # noqa: ANN401 - filters and ids
    """Cancel what a fleet has not bought yet, or a part of it."""
    body = _given(**asked) or None
    return Call("POST", f"/v1/fleets/{_segment(ref)}/cancel", _as(answers.Cancelled), json=body)


def cancel_job(job_id: str) -> Call[answers.JobCancelled]:
    """Cancel one job."""
    return Call("POST", f"/v1/jobs/{_segment(job_id)}/cancel", _as(answers.JobCancelled))


def retry(ref: str, **asked: Any) -> Call[answers.Retried]:  # noqa: ANN401 - filters, ids, secrets
    """Retry a fleet's failed jobs, or a part of them."""
    body = _given(**asked) or None
    return Call("POST", f"/v1/fleets/{_segment(ref)}/retry", _as(answers.Retried), json=body)


def retry_job(job_id: str, **asked: Any) -> Call[answers.JobRetried]:  # noqa: ANN401 - secrets, deadline
    """Retry one failed job."""
    body = _given(**asked) or None
    return Call("POST", f"/v1/jobs/{_segment(job_id)}/retry", _as(answers.JobRetried), json=body)


def scale(ref: str, **asked: Any) -> Call[answers.Scaled]:  # noqa: ANN401 - the wish
    """Bring a fleet to a size."""
    return Call("POST", f"/v1/fleets/{_segment(ref)}/scale", _as(answers.Scaled), json=_given(**asked))


def spend(*, limit: int, after: str | None = None) -> Call[answers.Spending]:
    """Ask what instances have cost so far."""
    return Call("GET", "/v1/spend", _as(answers.Spending), params=_given(limit=limit, after=after))


def extend_ttl(ref: str, by: str | int) -> Call[answers.Extended]:
    """Lengthen a fleet's time to live."""
    return Call("POST", f"/v1/fleets/{_segment(ref)}/ttl", _as(answers.Extended), json={"extend": by})


def jobs(**asked: Any) -> Call[answers.Page]:  # noqa: ANN401 - the filters
    """Ask for a page of jobs."""
    return Call("GET", "/v1/jobs", _as(answers.Page), params=_given(**asked))


def job(job_id: str) -> Call[answers.JobDetail]:
    """Ask for one job."""
    return Call("GET", f"/v1/jobs/{_segment(job_id)}", _part(answers.JobDetail, "job"))


def resolve(job_id: str, adopt: int | None) -> Call[answers.JobDetail]:
    """Settle an uncertain job."""
    body = {"absent": True} if adopt is None else {"adopt": adopt}
    return Call("POST", f"/v1/jobs/{_segment(job_id)}/resolve", _part(answers.JobDetail, "job"), json=body)


def types(**asked: Any) -> Call[answers.TypePage]:  # noqa: ANN401 - search and page
    """Ask for a page of instance types."""
    return Call("GET", "/v1/catalog/types", _as(answers.TypePage), params=_given(**asked))


def regions(**asked: Any) -> Call[answers.RegionPage]:  # noqa: ANN401 - search and page
    """Ask for a page of regions."""
    return Call("GET", "/v1/catalog/regions", _as(answers.RegionPage), params=_given(**asked))


def images(**asked: Any) -> Call[answers.ImagePage]:  # noqa: ANN401 - search and page
    """Ask for a page of images."""
    return Call("GET", "/v1/catalog/images", _as(answers.ImagePage), params=_given(**asked))


def status() -> Call[answers.Status]:
    """Ask how the service is."""
    return Call("GET", "/v1/status", _as(answers.Status))


def rate_windows() -> Call[answers.RateWindows]:
    """Ask what the rate limits still allow."""
    return Call("GET", "/v1/rate-windows", _as(answers.RateWindows))


def plan_destroy(
    ref: str, ids: Sequence[str] | None, where: Mapping[str, str | None]
) -> Call[answers.DestroyPlan]:
    """Ask what a destroy would do."""
    return Call("POST", _destroy(ref), _as(answers.DestroyPlan), json=_given(jobs=ids, **where, dry_run=True))


def destroy(
    ref: str, ids: Sequence[str] | None, where: Mapping[str, str | None], confirm: str
) -> Call[answers.Destroyed]:
    """Destroy what was confirmed."""
    return Call(
        "POST", _destroy(ref), _as(answers.Destroyed), json=_given(jobs=ids, **where, confirm=confirm)
    )


def _destroy(ref: str) -> str:
    return f"/v1/fleets/{_segment(ref)}/destroy"


def hold(verb: str, fleet: str | None, account: str | None, *, everything: bool) -> Call[answers.Hold]:
    """Pause or resume a fleet, an account, or everything. Raises ValueError unless it is exactly one of them."""
    if [fleet is not None, account is not None, everything].count(True) != 1:
        raise ValueError(f"{verb}: expected a fleet, an account or everything=True, exactly one of them")
    place = f"/fleets/{_segment(fleet)}" if fleet is not None else ""
    place = f"/accounts/{_segment(account)}" if account is not None else place
    return Call("POST", f"/v1{place}/{verb}", _as(answers.Hold))


# Webhooks


def add_webhook(url: str, kinds: Sequence[str] | None) -> Call[answers.NewWebhook]:
    """Add an endpoint."""
    body = {"url": url, **({} if kinds is None else {"kinds": list(kinds)})}
    return Call("POST", "/v1/webhooks", _as(answers.NewWebhook), json=body)


def webhooks() -> Call[answers.Webhooks]:
    """Ask for every endpoint."""
    return Call("GET", "/v1/webhooks", _as(answers.Webhooks))


def webhook(webhook_id: str) -> Call[answers.Webhook]:
    """Ask for one endpoint."""
    return Call("GET", f"/v1/webhooks/{_segment(webhook_id)}", _part(answers.Webhook, "webhook"))


def remove_webhook(webhook_id: str) -> Call[answers.RemovedWebhook]:
    """Remove an endpoint."""
    return Call("DELETE", f"/v1/webhooks/{_segment(webhook_id)}", _as(answers.RemovedWebhook))


def rotate_webhook(webhook_id: str) -> Call[answers.NewWebhook]:
    """Give an endpoint a new secret."""
    return Call("POST", f"/v1/webhooks/{_segment(webhook_id)}/rotate", _as(answers.NewWebhook))


def test_webhook(webhook_id: str) -> Call[answers.Delivery]:
    """Send a test."""
    path = f"/v1/webhooks/{_segment(webhook_id)}/test"
    return Call("POST", path, _part(answers.Delivery, "delivery"))


def deliveries(webhook_id: str, **asked: Any) -> Call[answers.DeliveryPage]:  # noqa: ANN401 - state and page
    """Ask for a page of an endpoint's deliveries."""
    path = f"/v1/webhooks/{_segment(webhook_id)}/deliveries"
    return Call("GET", path, _as(answers.DeliveryPage), params=_given(**asked))


def resend(webhook_id: str, delivery_id: str) -> Call[answers.Delivery]:
    """Send a delivery again."""
    path = f"/v1/webhooks/{_segment(webhook_id)}/deliveries/{_segment(delivery_id)}/resend"
    return Call("POST", path, _part(answers.Delivery, "delivery"))


def resend_dead(webhook_id: str) -> Call[answers.Resent]:
    """Send everything again that was given up."""
    path = f"/v1/webhooks/{_segment(webhook_id)}/deliveries/resend"
    return Call("POST", path, _as(answers.Resent))


def events(ref: str, after: str | None) -> tuple[str, dict[str, str]]:
    """Return path and headers of a fleet's event stream."""
    headers = {"Accept": "text/event-stream", **({} if after is None else {"Last-Event-ID": after})}
    return f"/v1/fleets/{_segment(ref)}/events", headers


def _given(**asked: Any) -> dict[str, Any]:  # noqa: ANN401 - query parameters
    return {name: value for name, value in asked.items() if value is not None}


def _segment(text: str) -> str:
    if text in {"", ".", ".."}:
        raise NotFound(
            Problem(title="Not Found", status=404, code="not_found", detail=f"nothing is called {text!r}")
        )
    return quote(text, safe="")


def _as(model: type[Found]) -> Callable[[dict[str, Any]], Found]:
    def made(found: dict[str, Any]) -> Found:
        return model(**found)

    return made


def _part(model: type[Found], name: str) -> Callable[[dict[str, Any]], Found]:
    def made(found: dict[str, Any]) -> Found:
        return model(**found[name])

    return made


# What answers mean


def not_reached(url: str, error: httpx.TransportError) -> ServiceNotReached:
    """Return the error of a request that got no answer."""
    sent = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
    return ServiceNotReached(f"no answer from {url} ({str(error) or type(error).__name__})", sent=sent)


def read(response: httpx.Response) -> dict[str, Any]:
    """Return what an answer says. Raises the error that it stands for, where it is no success."""
    if response.is_success:
        return _success(response)
    raise _error(response)


def _success(response: httpx.Response) -> dict[str, Any]:
    try:
        found = response.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Unexpected(_problem(response))
    return found


def _error(response: httpx.Response) -> Answered:
    problem = _problem(response)
    status = HTTPStatus(response.status_code) if response.status_code in _STATUSES else None
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        return ServiceUnavailable(problem, _seconds(response.headers.get("retry-after")))
    if status is HTTPStatus.TOO_MANY_REQUESTS:
        return Throttled(problem, _seconds(response.headers.get("retry-after")))
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return NotAllowed(problem)
    if status is HTTPStatus.NOT_FOUND and problem.code:
        return NotFound(problem)
    return Refused(problem) if response.is_client_error and problem.code else Unexpected(problem)


_STATUSES: Final = frozenset(int(status) for status in HTTPStatus)


def _problem(response: httpx.Response) -> Problem:
    try:
        found = Problem(**response.json())
    except (ValueError, TypeError, ValidationError):
        found = Problem()
    if not found.code:
        where = response.request.url.copy_with(query=None)
        detail = f"{where} answered {response.status_code}, and not as Nodewright does; is that its address?"
        return Problem(title=response.reason_phrase, status=response.status_code, detail=detail)
    return found


def _seconds(text: str | None) -> float | None:
    return float(text) if text and text.isdecimal() else None
