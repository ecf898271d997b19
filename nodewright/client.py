"""The service's HTTP interface as Python: submit fleets, follow them, cancel them.

>>> with Client() as client:
...     document = {"name": "web", "count": 3, "type": "g6-nanode-1", "region": "us-east"}
...     fleet = client.submit(document).fleet
...     print(client.wait(fleet.id).states)

:class:`AsyncClient` is the same with ``await``. Every answer is a frozen value (:mod:`nodewright.answers`). Errors are
cut by what the caller does next:

ClientError
  x ServiceNotReached    no answer                          -> start the service, or try again later
  x ServiceUnavailable   503, it will do later              -> try again after `retry_after` seconds
  x Throttled            429, this key asks too often       -> try again after `retry_after` seconds
  x Refused              a definite no                      -> read `problem.faults`
    + NotFound           there is no such fleet or job
    + NotAllowed         the key is missing, unknown or may not do this
  x Unexpected           an answer that this client does not understand

It imports nothing of ours but small modules of `nodewright`: it works beside a foreign `jobs` package.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import httpx

from nodewright import calls
from nodewright.answers import (
    PAUSES,
    SETTLED,
    Alarm,
    Asked,
    Cancelled,
    Delivery,
    Destroyed,
    DestroyPlan,
    Doomed,
    Estimate,
    Example,
    Extended,
    FailureGroup,
    Fault,
    Fleet,
    FleetEvent,
    FleetSpend,
    Group,
    Hold,
    Image,
    InstanceType,
    Job,
    JobCancelled,
    JobDetail,
    JobError,
    JobRetried,
    Leaving,
    NewWebhook,
    Outlook,
    Page,
    Plan,
    Problem,
    Rate,
    RateWindow,
    Refusal,
    Region,
    RemovedWebhook,
    Retried,
    RootPassword,
    Scaled,
    Spending,
    Status,
    Submission,
    TenantSpend,
    TimelineEvent,
    Webhook,
)
from nodewright.calls import (
    PAGE,
    Answered,
    Call,
    ClientError,
    NotAllowed,
    NotFound,
    Place,
    Refused,
    ServiceNotReached,
    ServiceUnavailable,
    Throttled,
    Unexpected,
    find_service,
)
from nodewright.stream import Message, Messages

__all__ = [
    "PAGE",
    "PAUSES",
    "SETTLED",
    "Alarm",
    "Answered",
    "Asked",
    "AsyncClient",
    "Cancelled",
    "Client",
    "ClientError",
    "Delivery",
    "DestroyPlan",
    "Destroyed",
    "Doomed",
    "Estimate",
    "Example",
    "Extended",
    "FailureGroup",
    "Fault",
    "Fleet",
    "FleetEvent",
    "FleetSpend",
    "Group",
    "Hold",
    "Image",
    "InstanceType",
    "Job",
    "JobCancelled",
    "JobDetail",
    "JobError",
    "JobRetried",
    "Leaving",
    "NewWebhook",
    "NotAllowed",
    "NotFound",
    "Outlook",
    "Page",
    "Place",
    "Plan",
    "Problem",
    "Rate",
    "RateWindow",
    "Refusal",
    "Refused",
    "Region",
    "RemovedWebhook",
    "Retried",
    "RootPassword",
    "Scaled",
    "ServiceNotReached",
    "ServiceUnavailable",
    "Spending",
    "Status",
    "Submission",
    "TenantSpend",
    "Throttled",
    "TimelineEvent",
    "Unexpected",
    "Webhook",
    "find_service",
]

Found = TypeVar("Found")
SUBMIT_PAUSES: Final = (0.2, 0.5, 1.0)
"""Seconds before a submit without answer is sent again; the key makes all of them one fleet."""
LONGEST_PAUSE: Final = 10.0
"""A service that wants to be left alone for longer is not waited for."""
LOOK_SECONDS: Final = (0.5, 5.0)
"""How often a fleet that is waited for is looked at: at first, and in the long run."""
RESUMES: Final = 10
"""So often in a row a stream, or a look at a fleet, may fail before it is given up."""
_QUIET_SECONDS: Final = 60.0
"""A stream sends a sign of life every 15 s; one that is silent for so long is dead."""
_TRANSIENT: Final = (ServiceNotReached, ServiceUnavailable, Throttled)


def _patience(error: ClientError, pause: float) -> float | None:
    """Return how long to wait before the same is sent again, None: the error is final."""
    if isinstance(error, ServiceNotReached):
        return pause
    if not isinstance(error, Throttled):
        return None
    wanted = error.retry_after or pause
    return wanted if wanted <= LONGEST_PAUSE else None


def _looks() -> Iterator[float]:
    pause, longest = LOOK_SECONDS
    while True:
        yield pause
        pause = min(pause * 1.5, longest)


def _late(fleet: Fleet, timeout: float) -> TimeoutError:
    return TimeoutError(f"fleet {fleet.name} is not settled after {timeout:g} s: {dict(fleet.states)}")


class Client:
    """A connection to the service.

    Args:
        url: where the service is; by default `NODEWRIGHT_URL`, else the local stack's.
        api_key: the key; by default `NODEWRIGHT_API_KEY`, else the local stack's.
        timeout: seconds that one answer may take.
        transport: what sends the requests, for tests.
        pause: what waits for so many seconds before something is sent again.

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
        self._timeout = timeout
        self._http = httpx.Client(
            base_url=place.url, headers=headers, timeout=timeout, transport=transport, trust_env=False
        )

    def submit(self, document: Mapping[str, Any], *, idempotency_key: str | None = None) -> Submission:
        """Submit a fleet document. Sent again if no answer comes: with one key it is one fleet.

        Raises:
            Refused: the document is wrong; `problem.faults` says all that is.
            ServiceUnavailable: not now.
            Throttled: this key asks too often, and the wait is long.
            ServiceNotReached: no answer to any try. The fleet may have been accepted all the same.

        """
        call = calls.submit(document, idempotency_key or str(uuid.uuid4()))
        for pause in SUBMIT_PAUSES:
            try:
                return self._send(call)
            except (ServiceNotReached, Throttled) as error:
                wait = _patience(error, pause)
                if wait is None:
                    raise
                self._pause(wait)
        return self._send(call)

    def plan(self, document: Mapping[str, Any]) -> Plan:
        """Return what a submit of this document would do, refusals included. Nothing is stored.

        Raises:
            Refused: the document's shape is wrong.

        """
        return self._send(calls.plan(document))

    def fleets(self, *, limit: int = 100) -> list[Fleet]:
        """Return the newest fleets, newest first."""
        return list(self._send(calls.fleets(limit=limit)).fleets)

    def iter_fleets(self) -> Iterator[Fleet]:
        """Yield every fleet, newest first, reading page by page."""
        after = None
        while True:
            page = self._send(calls.fleets(limit=PAGE, after=after))
            yield from page.fleets
            after = page.next
            if after is None:
                return

    def fleet(self, ref: str) -> Fleet:
        """Return the fleet of this id, or the newest of this name."""
        return self._send(calls.fleet(ref))

    def outlook(self, ref: str) -> Outlook:
        """Return what the rate limit lets through now, and when a fleet would be done."""
        return self._send(calls.outlook(ref))

    def failures(self, ref: str) -> list[FailureGroup]:
        """Return why jobs of a fleet failed or were rejected, grouped by reason, and what to do about each."""
        return list(self._send(calls.failures(ref)).failures)

    def groups(self, ref: str) -> list[Group]:
        """Return the groups of a fleet's request, with their tags; a job's ``group`` is a place in this list."""
        return list(self._send(calls.groups(ref)).groups)

    def wait(self, ref: str, *, timeout: float | None = None) -> Fleet:
        """Wait until nothing of a fleet is under way any more; return it as it then stands.

        Raises:
            TimeoutError: it is not so after ``timeout`` seconds.

        """
        waited, failures = 0.0, 0
        for pause in _looks():
            try:
                fleet = self.fleet(ref)
                failures = 0
            except _TRANSIENT:
                failures += 1
                if failures > RESUMES:
                    raise
            else:
                if fleet.settled:
                    return fleet
                if timeout is not None and waited >= timeout:
                    raise _late(fleet, timeout)
            self._pause(pause)
            waited += pause
        raise AssertionError("looks do not end")

    def events(self, ref: str, *, after: str | None = None) -> Iterator[FleetEvent]:
        """Yield what happens to a fleet's jobs, from its beginning or after an event's ``id``, until it has ended.

        A stream that breaks off is resumed where it was.
        """
        ref, failures = self.fleet(ref).id, 0  # a newer fleet of the same name must not take its place
        while True:
            try:
                for message in self._stream(*calls.events(ref, after)):
                    if message.event == "end":
                        return
                    event = FleetEvent(**message.data)
                    after, failures = event.id, 0
                    yield event
            except _TRANSIENT:
                failures += 1
                if failures > RESUMES:
                    raise
            self._pause(LOOK_SECONDS[0])

    def cancel(self, ref: str, *, jobs: Sequence[str] | None = None, **where: str | None) -> Cancelled:
        """Cancel what is not bought yet; returns how many jobs ended, and how many end once they can.

        ``jobs``: only these, by their ids. ``where``: only those that fit, as for :meth:`page`.
        """
        return self._send(calls.cancel(ref, jobs=None if jobs is None else list(jobs), **where))

    def cancel_job(self, job_id: str) -> JobCancelled:
        """Cancel a job that is not bought yet; one that is being created is finished, then deleted."""
        return self._send(calls.cancel_job(job_id))

    def retry(
        self,
        ref: str,
        *,
        jobs: Sequence[str] | None = None,
        secrets: Sequence[Mapping[str, Any]] = (),
        deadline: str | None = None,
        dry_run: bool = False,
        **where: str | None,
    ) -> Retried:
        """Give a fleet's failed jobs, or a part of them, a new attempt; an instance that one still owns goes first.

        ``jobs`` and ``where`` as for :meth:`cancel`. ``secrets``: those that were erased, given again, such as
        ``[{"root_pass": …}]``, with ``group`` for one group only. ``deadline``: a new one, or ``none``.
        """
        asked = {
            "jobs": None if jobs is None else list(jobs),
            "secrets": list(secrets) or None,
            "deadline": deadline,
        }
        return self._send(calls.retry(ref, **asked, dry_run=dry_run or None, **where))

    def retry_job(
        self, job_id: str, *, secrets: Sequence[Mapping[str, Any]] = (), deadline: str | None = None
    ) -> JobRetried:
        """Give a failed job a new attempt; ``secrets`` and ``deadline`` as for :meth:`retry`."""
        return self._send(calls.retry_job(job_id, secrets=list(secrets) or None, deadline=deadline))

    def scale(
        self,
        ref: str,
        to: int | None = None,
        *,
        group: str | int | None = None,
        jobs: Sequence[str] | None = None,
        confirm: str | None = None,
        dry_run: bool = False,
        secrets: Sequence[Mapping[str, Any]] = (),
    ) -> Scaled:
        """Bring a fleet to ``to`` instances; sent again it changes nothing.

        Fewer, or ``jobs`` that are to go, need the ``confirm`` of a ``dry_run`` that listed them. More are jobs of
        ``group``, by default the last one; ``secrets`` as for :meth:`retry`.
        """
        asked = {"to": to, "group": group, "jobs": None if jobs is None else list(jobs), "confirm": confirm}
        return self._send(calls.scale(ref, **asked, dry_run=dry_run or None, secrets=list(secrets) or None))

    def spend(self, *, limit: int = 100, after: str | None = None) -> Spending:
        """Return what instances have cost so far, by tenant and fleet."""
        return self._send(calls.spend(limit=limit, after=after))

    def extend_ttl(self, ref: str, by: str | int) -> Extended:
        """Lengthen a fleet's time to live by ``2h``, ``3d``, or seconds; returns how many jobs live longer."""
        return self._send(calls.extend_ttl(ref, by))

    def page(
        self,
        *,
        fleet: str | None = None,
        limit: int = PAGE,
        after: str | None = None,
        **where: str | None,
    ) -> Page:
        """Return one page of jobs, which may hold fewer than ``limit`` although there is a next one.

        ``where``: state, label, region, type, tag, error_code, since, q (a search), sort, fields.
        """
        return self._send(calls.jobs(fleet=fleet, limit=limit, after=after, **where))

    def jobs(
        self, *, fleet: str | None = None, limit: int | None = None, **where: str | None
    ) -> Iterator[Job]:
        """Yield every job, or the first ``limit``, reading page by page. ``where`` as for :meth:`page`."""
        left, after = limit, None
        while left is None or left > 0:
            page = self.page(fleet=fleet, limit=min(PAGE, left or PAGE), after=after, **where)
            yield from page.jobs
            left, after = None if left is None else left - len(page.jobs), page.next
            if after is None:
                return

    def job(self, job_id: str) -> JobDetail:
        """Return a job with its timeline."""
        return self._send(calls.job(job_id))

    def resolve(self, job_id: str, *, adopt: int | None = None) -> JobDetail:
        """Settle an uncertain job: it owns the instance ``adopt``, or (None) its instance does not exist."""
        return self._send(calls.resolve(job_id, adopt))

    def types(self, q: str | None = None) -> list[InstanceType]:
        """Return the instance types whose id or label holds ``q``."""
        return list(self._send(calls.types(q=q, limit=PAGE)).types)

    def regions(self, q: str | None = None) -> list[Region]:
        """Return the regions whose id or label holds ``q``."""
        return list(self._send(calls.regions(q=q, limit=PAGE)).regions)

    def images(self, q: str | None = None) -> list[Image]:
        """Return the images, the first thousand, whose id or label holds ``q``."""
        return list(self._send(calls.images(q=q, limit=PAGE)).images)

    def status(self) -> Status:
        """Return how the service and its workers are: alarms, catalogs, rate windows."""
        return self._send(calls.status())

    def rate_windows(self) -> list[RateWindow]:
        """Return what the rate limits still allow."""
        return list(self._send(calls.rate_windows()).rate_windows)

    def pause(
        self, fleet: str | None = None, *, account: str | None = None, everything: bool = False
    ) -> Hold:
        """Pause a fleet, an account or everything: after the answer nothing of it is sent. What waits is kept."""
        return self._send(calls.hold("pause", fleet, account, everything=everything))

    def resume(
        self, fleet: str | None = None, *, account: str | None = None, everything: bool = False
    ) -> Hold:
        """Let a paused fleet, account or everything go on."""
        return self._send(calls.hold("resume", fleet, account, everything=everything))

    def plan_destroy(
        self, fleet: str, *, jobs: Sequence[str] | None = None, **where: str | None
    ) -> DestroyPlan:
        """Return what a destroy of a fleet would do, and the ``confirm`` for exactly that. Nothing is done.

        ``jobs``: only these, by their ids. ``where``: state, label, region, type, tag, error_code, since.
        """
        return self._send(calls.plan_destroy(fleet, jobs, where))

    def destroy(
        self, fleet: str, *, confirm: str, jobs: Sequence[str] | None = None, **where: str | None
    ) -> Destroyed:
        """Delete the instances of a fleet's jobs, and cancel what is not bought, as :meth:`plan_destroy` showed it.

        Raises:
            Refused: what would go has changed since, or the confirmation is older than 15 minutes. Nothing was done.

        """
        return self._send(calls.destroy(fleet, jobs, where, confirm))

    def add_webhook(self, url: str, kinds: Sequence[str] | None = None) -> NewWebhook:
        """Add an endpoint, told of what happens from now on (all kinds, or these). No other answer has its secret.

        Raises:
            Refused: the URL or a kind is wrong; `problem.faults` says all that is.

        """
        return self._send(calls.add_webhook(url, kinds))

    def webhooks(self) -> list[Webhook]:
        """Return every endpoint, oldest first."""
        return list(self._send(calls.webhooks()).webhooks)

    def webhook(self, webhook_id: str) -> Webhook:
        """Return one endpoint."""
        return self._send(calls.webhook(webhook_id))

    def remove_webhook(self, webhook_id: str) -> RemovedWebhook:
        """Remove an endpoint with its log; returns how many deliveries had not arrived."""
        return self._send(calls.remove_webhook(webhook_id))

    def rotate_webhook(self, webhook_id: str) -> NewWebhook:
        """Give an endpoint a new secret; the present one signs too for a day."""
        return self._send(calls.rotate_webhook(webhook_id))

    def test_webhook(self, webhook_id: str) -> Delivery:
        """Send a test soon; returns the delivery, whose state says later whether it arrived."""
        return self._send(calls.test_webhook(webhook_id))

    def deliveries(self, webhook_id: str, *, state: str | None = None) -> Iterator[Delivery]:
        """Yield what was sent to an endpoint or is to be, newest first, reading page by page."""
        after = None
        while True:
            page = self._send(calls.deliveries(webhook_id, state=state, limit=PAGE, after=after))
            yield from page.deliveries
            after = page.next
            if after is None:
                return

    def resend(self, webhook_id: str, delivery_id: str) -> Delivery:
        """Send a delivery again soon, whatever became of it."""
        return self._send(calls.resend(webhook_id, delivery_id))

    def resend_dead(self, webhook_id: str) -> int:
        """Send everything again that was given up; returns how many."""
        return self._send(calls.resend_dead(webhook_id)).resent

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

    def _send(self, call: Call[Found]) -> Found:
        try:
            response = self._http.request(
                call.method, call.path, params=call.params, json=call.json, headers=call.headers
            )
        except httpx.TransportError as error:
            raise calls.not_reached(self.url, error) from error
        return call.read(calls.read(response))

    def _stream(self, path: str, headers: Mapping[str, str]) -> Iterator[Message]:
        messages = Messages()
        timeout = httpx.Timeout(self._timeout, read=_QUIET_SECONDS)
        try:
            with self._http.stream("GET", path, headers=headers, timeout=timeout) as response:
                if response.status_code == httpx.codes.NO_CONTENT:
                    yield Message("end", {})
                elif not response.is_success:
                    response.read()
                    calls.read(response)
                for line in response.iter_lines():
                    if message := messages.add(line):
                        yield message
        except httpx.TransportError as error:
            raise calls.not_reached(self.url, error) from error


class AsyncClient:
    """A connection to the service, for asyncio: :class:`Client` with ``await``.

    Args:
        url: where the service is; by default `NODEWRIGHT_URL`, else the local stack's.
        api_key: the key; by default `NODEWRIGHT_API_KEY`, else the local stack's.
        timeout: seconds that one answer may take.
        transport: what sends the requests, for tests.
        pause: what waits for so many seconds before something is sent again.

    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = 30.0,
        transport: httpx.AsyncBaseTransport | None = None,
        pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        place = Place(url, api_key or "") if url else find_service()
        headers = {"Authorization": f"Bearer {place.api_key}"} if place.api_key else {}
        self.url = place.url
        self._pause = pause
        self._timeout = timeout
        self._http = httpx.AsyncClient(
            base_url=place.url, headers=headers, timeout=timeout, transport=transport, trust_env=False
        )

    async def submit(self, document: Mapping[str, Any], *, idempotency_key: str | None = None) -> Submission:
        """Submit a fleet document; see :meth:`Client.submit`."""
        call = calls.submit(document, idempotency_key or str(uuid.uuid4()))
        for pause in SUBMIT_PAUSES:
            try:
                return await self._send(call)
            except (ServiceNotReached, Throttled) as error:
                wait = _patience(error, pause)
                if wait is None:
                    raise
                await self._pause(wait)
        return await self._send(call)

    async def plan(self, document: Mapping[str, Any]) -> Plan:
        """Return what a submit of this document would do; see :meth:`Client.plan`."""
        return await self._send(calls.plan(document))

    async def fleets(self, *, limit: int = 100) -> list[Fleet]:
        """Return the newest fleets, newest first."""
        return list((await self._send(calls.fleets(limit=limit))).fleets)

    async def iter_fleets(self) -> AsyncIterator[Fleet]:
        """Yield every fleet, newest first, reading page by page."""
        after = None
        while True:
            page = await self._send(calls.fleets(limit=PAGE, after=after))
            for fleet in page.fleets:
                yield fleet
            after = page.next
            if after is None:
                return

    async def fleet(self, ref: str) -> Fleet:
        """Return the fleet of this id, or the newest of this name."""
        return await self._send(calls.fleet(ref))

    async def outlook(self, ref: str) -> Outlook:
        """Return what is still to come of a fleet; see :meth:`Client.outlook`."""
        return await self._send(calls.outlook(ref))

    async def failures(self, ref: str) -> list[FailureGroup]:
        """Return why jobs of a fleet failed, grouped by reason; see :meth:`Client.failures`."""
        return list((await self._send(calls.failures(ref))).failures)

    async def groups(self, ref: str) -> list[Group]:
        """Return the groups of a fleet's request; see :meth:`Client.groups`."""
        return list((await self._send(calls.groups(ref))).groups)

    async def wait(self, ref: str, *, timeout: float | None = None) -> Fleet:  # noqa: ASYNC109 - as Client has it
        """Wait until nothing of a fleet is under way any more; see :meth:`Client.wait`."""
        waited, failures = 0.0, 0
        for pause in _looks():
            try:
                fleet = await self.fleet(ref)
                failures = 0
            except _TRANSIENT:
                failures += 1
                if failures > RESUMES:
                    raise
            else:
                if fleet.settled:
                    return fleet
                if timeout is not None and waited >= timeout:
                    raise _late(fleet, timeout)
            await self._pause(pause)
            waited += pause
        raise AssertionError("looks do not end")

    async def events(self, ref: str, *, after: str | None = None) -> AsyncIterator[FleetEvent]:
        """Yield what happens to a fleet's jobs until it has ended; see :meth:`Client.events`."""
        ref, failures = (await self.fleet(ref)).id, 0
        while True:
            try:
                async for message in self._stream(*calls.events(ref, after)):
                    if message.event == "end":
                        return
                    event = FleetEvent(**message.data)
                    after, failures = event.id, 0
                    yield event
            except _TRANSIENT:
                failures += 1
                if failures > RESUMES:
                    raise
            await self._pause(LOOK_SECONDS[0])

    async def cancel(self, ref: str, *, jobs: Sequence[str] | None = None, **where: str | None) -> Cancelled:
        """Cancel what is not bought yet; see :meth:`Client.cancel`."""
        return await self._send(calls.cancel(ref, jobs=None if jobs is None else list(jobs), **where))

    async def cancel_job(self, job_id: str) -> JobCancelled:
        """Cancel a job that is not bought yet; see :meth:`Client.cancel_job`."""
        return await self._send(calls.cancel_job(job_id))

    async def retry(
        self,
        ref: str,
        *,
        jobs: Sequence[str] | None = None,
        secrets: Sequence[Mapping[str, Any]] = (),
        deadline: str | None = None,
        dry_run: bool = False,
        **where: str | None,
    ) -> Retried:
        """Give a fleet's failed jobs, or a part of them, a new attempt; see :meth:`Client.retry`."""
        asked = {
            "jobs": None if jobs is None else list(jobs),
            "secrets": list(secrets) or None,
            "deadline": deadline,
        }
        return await self._send(calls.retry(ref, **asked, dry_run=dry_run or None, **where))

    async def retry_job(
        self, job_id: str, *, secrets: Sequence[Mapping[str, Any]] = (), deadline: str | None = None
    ) -> JobRetried:
        """Give a failed job a new attempt; see :meth:`Client.retry_job`."""
        return await self._send(calls.retry_job(job_id, secrets=list(secrets) or None, deadline=deadline))

    async def scale(
        self,
        ref: str,
        to: int | None = None,
        *,
        group: str | int | None = None,
        jobs: Sequence[str] | None = None,
        confirm: str | None = None,
        dry_run: bool = False,
        secrets: Sequence[Mapping[str, Any]] = (),
    ) -> Scaled:
        """Bring a fleet to ``to`` instances; see :meth:`Client.scale`."""
        asked = {"to": to, "group": group, "jobs": None if jobs is None else list(jobs), "confirm": confirm}
        return await self._send(
            calls.scale(ref, **asked, dry_run=dry_run or None, secrets=list(secrets) or None)
        )

    async def spend(self, *, limit: int = 100, after: str | None = None) -> Spending:
        """Return what instances have cost so far, by tenant and fleet; see :meth:`Client.spend`."""
        return await self._send(calls.spend(limit=limit, after=after))

    async def extend_ttl(self, ref: str, by: str | int) -> Extended:
        """Lengthen a fleet's time to live; see :meth:`Client.extend_ttl`."""
        return await self._send(calls.extend_ttl(ref, by))

    async def page(
        self, *, fleet: str | None = None, limit: int = PAGE, after: str | None = None, **where: str | None
    ) -> Page:
        """Return one page of jobs; see :meth:`Client.page`."""
        return await self._send(calls.jobs(fleet=fleet, limit=limit, after=after, **where))

    async def jobs(
        self, *, fleet: str | None = None, limit: int | None = None, **where: str | None
    ) -> AsyncIterator[Job]:
        """Yield every job, or the first ``limit``, reading page by page."""
        left, after = limit, None
        while left is None or left > 0:
            page = await self.page(fleet=fleet, limit=min(PAGE, left or PAGE), after=after, **where)
            for job in page.jobs:
                yield job
            left, after = None if left is None else left - len(page.jobs), page.next
            if after is None:
                return

    async def job(self, job_id: str) -> JobDetail:
        """Return a job with its timeline."""
        return await self._send(calls.job(job_id))

    async def resolve(self, job_id: str, *, adopt: int | None = None) -> JobDetail:
        """Settle an uncertain job; see :meth:`Client.resolve`."""
        return await self._send(calls.resolve(job_id, adopt))

    async def types(self, q: str | None = None) -> list[InstanceType]:
        """Return the instance types whose id or label holds ``q``."""
        return list((await self._send(calls.types(q=q, limit=PAGE))).types)

    async def regions(self, q: str | None = None) -> list[Region]:
        """Return the regions whose id or label holds ``q``."""
        return list((await self._send(calls.regions(q=q, limit=PAGE))).regions)

    async def images(self, q: str | None = None) -> list[Image]:
        """Return the images, the first thousand, whose id or label holds ``q``."""
        return list((await self._send(calls.images(q=q, limit=PAGE))).images)

    async def status(self) -> Status:
        """Return how the service and its workers are: alarms, catalogs, rate windows."""
        return await self._send(calls.status())

    async def rate_windows(self) -> list[RateWindow]:
        """Return what the rate limits still allow."""
        return list((await self._send(calls.rate_windows())).rate_windows)

    async def pause(
        self, fleet: str | None = None, *, account: str | None = None, everything: bool = False
    ) -> Hold:
        """Pause a fleet, an account or everything: after the answer nothing of it is sent. What waits is kept."""
        return await self._send(calls.hold("pause", fleet, account, everything=everything))

    async def resume(
        self, fleet: str | None = None, *, account: str | None = None, everything: bool = False
    ) -> Hold:
        """Let a paused fleet, account or everything go on."""
        return await self._send(calls.hold("resume", fleet, account, everything=everything))

    async def plan_destroy(
        self, fleet: str, *, jobs: Sequence[str] | None = None, **where: str | None
    ) -> DestroyPlan:
        """Return what a destroy of a fleet would do, and the ``confirm`` for exactly that. Nothing is done.

        ``jobs``: only these, by their ids. ``where``: state, label, region, type, tag, error_code, since.
        """
        return await self._send(calls.plan_destroy(fleet, jobs, where))

    async def destroy(
        self, fleet: str, *, confirm: str, jobs: Sequence[str] | None = None, **where: str | None
    ) -> Destroyed:
        """Delete the instances of a fleet's jobs, and cancel what is not bought, as :meth:`plan_destroy` showed it.

        Raises:
            Refused: what would go has changed since, or the confirmation is older than 15 minutes. Nothing was done.

        """
        return await self._send(calls.destroy(fleet, jobs, where, confirm))

    async def add_webhook(self, url: str, kinds: Sequence[str] | None = None) -> NewWebhook:
        """Add an endpoint; see :meth:`Client.add_webhook`."""
        return await self._send(calls.add_webhook(url, kinds))

    async def webhooks(self) -> list[Webhook]:
        """Return every endpoint, oldest first."""
        return list((await self._send(calls.webhooks())).webhooks)

    async def webhook(self, webhook_id: str) -> Webhook:
        """Return one endpoint."""
        return await self._send(calls.webhook(webhook_id))

    async def remove_webhook(self, webhook_id: str) -> RemovedWebhook:
        """Remove an endpoint with its log; returns how many deliveries had not arrived."""
        return await self._send(calls.remove_webhook(webhook_id))

    async def rotate_webhook(self, webhook_id: str) -> NewWebhook:
        """Give an endpoint a new secret; the present one signs too for a day."""
        return await self._send(calls.rotate_webhook(webhook_id))

    async def test_webhook(self, webhook_id: str) -> Delivery:
        """Send a test soon; returns the delivery, whose state says later whether it arrived."""
        return await self._send(calls.test_webhook(webhook_id))

    async def deliveries(self, webhook_id: str, *, state: str | None = None) -> AsyncIterator[Delivery]:
        """Yield what was sent to an endpoint or is to be, newest first, reading page by page."""
        after = None
        while True:
            page = await self._send(calls.deliveries(webhook_id, state=state, limit=PAGE, after=after))
            for delivery in page.deliveries:
                yield delivery
            after = page.next
            if after is None:
                return

    async def resend(self, webhook_id: str, delivery_id: str) -> Delivery:
        """Send a delivery again soon, whatever became of it."""
        return await self._send(calls.resend(webhook_id, delivery_id))

    async def resend_dead(self, webhook_id: str) -> int:
        """Send everything again that was given up; returns how many."""
        return (await self._send(calls.resend_dead(webhook_id))).resent

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"AsyncClient({self.url!r})"

    async def _send(self, call: Call[Found]) -> Found:
        try:
            response = await self._http.request(
                call.method, call.path, params=call.params, json=call.json, headers=call.headers
            )
        except httpx.TransportError as error:
            raise calls.not_reached(self.url, error) from error
        return call.read(calls.read(response))

    async def _stream(self, path: str, headers: Mapping[str, str]) -> AsyncIterator[Message]:
        messages = Messages()
        timeout = httpx.Timeout(self._timeout, read=_QUIET_SECONDS)
        try:
            async with self._http.stream("GET", path, headers=headers, timeout=timeout) as response:
                if response.status_code == httpx.codes.NO_CONTENT:
                    yield Message("end", {})
                elif not response.is_success:
                    await response.aread()
                    calls.read(response)
                async for line in response.aiter_lines():
                    if message := messages.add(line):
                        yield message
        except httpx.TransportError as error:
            raise calls.not_reached(self.url, error) from error
