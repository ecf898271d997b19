"""The service's HTTP interface as Python: submit fleets, follow them, cancel them.

>>> with Client() as client:
...     document = {"name": "web", "count": 3, "type": "g6-nanode-1", "region": "us-east"}
...     fleet = client.submit(document).fleet
...     print(client.fleet(fleet.id).states)

Every answer is a frozen value. Errors are cut by what the caller does next:

ClientError
  x ServiceNotReached    no answer                          -> start the service, or try again later
  x ServiceUnavailable   503, it will do later              -> try again after `retry_after` seconds
  x Refused              a definite no                      -> read `problem.faults`
    + NotFound           there is no such fleet or job
    + NotAllowed         the key is missing, unknown or may not do this
  x Unexpected           an answer that this client does not understand

It imports nothing of ours but small modules of `nodewright`: it works beside a foreign `jobs` package.
"""

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nodewright.home import Home
from nodewright.settings import Settings

SETTLED: Final = frozenset({"running", "failed", "rejected", "cancelled", "deleted"})
"""States that nobody but a person changes."""
PAUSES: Final = frozenset({"unauthorized", "missing_scope", "account_limit"})
"""Codes of alarms with which an account takes no creates."""
SUBMIT_PAUSES: Final = (0.2, 0.5, 1.0)
"""Seconds before a submit without answer is sent again; the key makes all of them one fleet."""
PAGE: Final = 1000


class _Answer(BaseModel):
    """A part of an answer; fields that a newer service adds are kept."""

    model_config = ConfigDict(frozen=True, extra="allow")

    def to_json(self) -> dict[str, Any]:
        """Return it as the service sent it."""
        return self.model_dump(mode="json")


class JobError(_Answer):
    """Why a job ended otherwise, or what it waits for."""

    code: str
    reason: str | None = None
    field: str | None = None


class Job(_Answer):
    """One job: one instance asked for."""

    id: str
    label: str
    state: str
    linode_id: int | None = None
    ipv4: str | None = None
    ipv6: str | None = None
    error: JobError | None = None


class TimelineEvent(_Answer):
    """One line of a job's timeline."""

    at: str
    event: str
    state: str
    actor: str
    detail: dict[str, Any] | None = None


class JobDetail(Job):
    """A job with its timeline."""

    timeline: tuple[TimelineEvent, ...] = ()


class Fleet(_Answer):
    """One accepted request, and how many of its jobs are in which state."""

    id: str
    name: str
    count: int
    states: dict[str, int] = Field(default_factory=dict)

    @property
    def settled(self) -> bool:
        """Whether nothing is under way any more."""
        return all(state in SETTLED for state, count in self.states.items() if count)

    @property
    def all_running(self) -> bool:
        """Whether every job ended with a running instance."""
        return self.states.get("running", 0) == self.count


class RootPassword(_Answer):
    """A root password that was made for one group of the document."""

    group: int
    name: str | None = None
    root_pass: str = Field(repr=False)


class Submission(_Answer):
    """An accepted request; ``replayed`` says that an earlier one with the same key was found."""

    fleet: Fleet
    warnings: tuple[dict[str, Any], ...] = ()
    replayed: bool = False
    root_passwords: tuple[RootPassword, ...] = Field(default=(), repr=False)
    """Those that were made because of ``reveal_root_pass``. No other answer has them."""


class Alarm(_Answer):
    """Something that a person should look at, and what to do about it."""

    code: str
    message: str
    remedy: str = ""
    since: str | None = None

    @property
    def pauses(self) -> bool:
        """Whether nothing is created until somebody acts."""
        return self.code in PAUSES

    @property
    def sentence(self) -> str:
        """What is wrong, and the code."""
        return f"{self.message} ({self.code})"


class Status(_Answer):
    """How the service and its workers are."""

    alarms: tuple[Alarm, ...] = ()


class Page(_Answer):
    """Some jobs, and the cursor after which more follow."""

    jobs: tuple[Job, ...] = ()
    next: str | None = None


class Fault(_Answer):
    """One reason of a refusal."""

    message: str = ""
    code: str = ""
    pointer: str = ""
    field: str | None = None
    value: Any = None
    remedy: str | None = None
    nearest: str | None = None


class Problem(_Answer):
    """An RFC 9457 problem document."""

    title: str = ""
    status: int = 0
    code: str = ""
    detail: str = ""
    faults: tuple[Fault, ...] = Field(default=(), alias="errors")
    request_id: str | None = None


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


class Refused(Answered):
    """The service will not do this."""


class NotFound(Refused):
    """There is no such thing, or it belongs to somebody else."""


class NotAllowed(Refused):
    """The key is missing, unknown, or may not do this."""


class Unexpected(Answered):
    """An answer that is no success and no refusal: a fault of the service, or not our service at all."""


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


class Client:
    """A connection to the service.

    Args:
        url: where the service is; by default `NODEWRIGHT_URL`, else the local stack's.
        api_key: the key; by default `NODEWRIGHT_API_KEY`, else the local stack's.
        timeout: seconds that one answer may take.
        transport: what sends the requests, for tests.
        pause: what waits for so many seconds before a submit is sent again.

    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = 30.0,
        transport: httpx.BaseTransport | None = None,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        place = Place(url, api_key or "") if url else find_service()
        headers = {"Authorization": f"Bearer {place.api_key}"} if place.api_key else {}
        self.url = place.url
        self._pause = pause
        self._http = httpx.Client(
            base_url=place.url, headers=headers, timeout=timeout, transport=transport, trust_env=False
        )

    def submit(self, document: Mapping[str, Any], *, idempotency_key: str | None = None) -> Submission:
        """Submit a fleet document. Sent again if no answer comes: with one key it is one fleet.

        Raises:
            Refused: the document is wrong; `problem.faults` says all that is.
            ServiceUnavailable: not now.
            ServiceNotReached: no answer to any try. The fleet may have been accepted all the same.

        """
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        for pause in SUBMIT_PAUSES:
            try:
                return Submission(**self._call("POST", "/v1/fleets", json=document, headers=headers))
            except ServiceNotReached:
                self._pause(pause)
        return Submission(**self._call("POST", "/v1/fleets", json=document, headers=headers))

    def fleets(self, *, limit: int = 100) -> list[Fleet]:
        """Return the newest fleets, newest first."""
        found = self._call("GET", "/v1/fleets", params={"limit": limit})
        return [Fleet(**one) for one in found["fleets"]]

    def fleet(self, ref: str) -> Fleet:
        """Return the fleet of this id, or the newest of this name."""
        return Fleet(**self._call("GET", f"/v1/fleets/{_segment(ref)}")["fleet"])

    def cancel(self, ref: str) -> dict[str, Any]:
        """Cancel what is not bought yet; returns how many jobs ended, and how many end once they can."""
        return self._call("POST", f"/v1/fleets/{_segment(ref)}/cancel")

    def page(
        self,
        *,
        fleet: str | None = None,
        state: str | None = None,
        limit: int = PAGE,
        after: str | None = None,
    ) -> Page:
        """Return one page of jobs in the order of their submission."""
        asked = {"fleet": fleet, "state": state, "limit": limit, "after": after}
        params = {name: value for name, value in asked.items() if value is not None}
        return Page(**self._call("GET", "/v1/jobs", params=params))

    def jobs(
        self, *, fleet: str | None = None, state: str | None = None, limit: int | None = None
    ) -> Iterator[Job]:
        """Yield every job, or the first ``limit``, reading page by page."""
        left, after = limit, None
        while left is None or left > 0:
            page = self.page(fleet=fleet, state=state, limit=min(PAGE, left or PAGE), after=after)
            yield from page.jobs
            left, after = None if left is None else left - len(page.jobs), page.next
            if after is None:
                return

    def job(self, job_id: str) -> JobDetail:
        """Return a job with its timeline."""
        return JobDetail(**self._call("GET", f"/v1/jobs/{_segment(job_id)}")["job"])

    def resolve(self, job_id: str, *, adopt: int | None = None) -> JobDetail:
        """Settle an uncertain job: it owns the instance ``adopt``, or (None) its instance does not exist."""
        body = {"absent": True} if adopt is None else {"adopt": adopt}
        found = self._call("POST", f"/v1/jobs/{_segment(job_id)}/resolve", json=body)
        return JobDetail(**found["job"])

    def status(self) -> Status:
        """Return how the service and its workers are: alarms, catalogs, rate windows."""
        return Status(**self._call("GET", "/v1/status"))

    def rate_windows(self) -> list[dict[str, Any]]:
        """Return what the rate limits still allow."""
        windows: list[dict[str, Any]] = self._call("GET", "/v1/rate-windows")["rate_windows"]
        return windows

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

    def _call(self, method: str, path: str, **asked: Any) -> dict[str, Any]:  # noqa: ANN401 - httpx's options
        try:
            response = self._http.request(method, path, **asked)
        except httpx.TransportError as error:
            sent = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
            raise ServiceNotReached(f"no answer from {self.url} ({_words(error)})", sent=sent) from error
        return _read(response)


def _words(error: httpx.TransportError) -> str:
    return str(error) or type(error).__name__


def _segment(text: str) -> str:
    if text in {"", ".", ".."}:
        raise NotFound(
            Problem(title="Not Found", status=404, code="not_found", detail=f"nothing is called {text!r}")
        )
    return quote(text, safe="")


def _read(response: httpx.Response) -> dict[str, Any]:
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
