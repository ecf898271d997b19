"""Deliver: tells endpoints what there is to tell. It reads what others wrote down, and sends in threads of its own.

Nothing of provisioning waits for it: no transition knows of endpoints, the chore itself is short, and a receiver that
hangs holds up one thread and nobody else.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from random import Random
from typing import Any, Final

import structlog

from jobs import chores, deliveries, news, signing, webhooks
from jobs.chores import Claim
from jobs.database import Database, Transaction
from jobs.deliveries import Batch, Letter, Result, Turn
from jobs.feed import Horizon
from jobs.news import FleetBusyError
from jobs.vault import UnreadableSecretError, Vault
from worker.egress import Answer

SENDERS: Final = 8
"""So many endpoints are sent to at once."""
BATCH: Final = 20
"""So many deliveries are written down together; so many come again, at most, when a worker dies."""
TURN_SECONDS: Final = 20.0
"""Then others' endpoints come first."""
PATIENCE_SECONDS: Final = 3600.0
"""So long a transaction that stays open may still bring news; what is seen already is told meanwhile."""
_PAUSE: Final = timedelta(seconds=1)
_LOOK_SECONDS: Final = 1.0
_TELLING_SECONDS: Final = 5.0
_TTL_SECONDS: Final = 5.0
_TTL_AGAIN: Final = timedelta(seconds=60)
_PRUNE_EVERY: Final = timedelta(hours=1)
_LARGEST_WAIT: Final = 7 * 86_400
_AGENT: Final = {"content-type": "application/json", "user-agent": "nodewright-webhooks"}

Post = Callable[[str, Mapping[str, str], bytes], Answer]


class Deliver:
    """Enqueues news and sends them.

    Args:
        database: where they are.
        vault: opens the endpoints' secrets; None: nothing can be signed.
        post: sends one request.
        executor: where requests are sent.
        dice: randomness for ids and waits.
        monotonic: the process's clock.
        log: a structlog logger.

    """

    name = "deliver"
    lease = timedelta(seconds=60)

    def __init__(
        self,
        database: Database,
        vault: Vault | None,
        post: Post,
        executor: Executor,
        *,
        dice: Random,
        monotonic: Callable[[], float] = time.monotonic,
        log: Any = None,  # noqa: ANN401 - a structlog logger
    ) -> None:
        self._database = database
        self._vault = vault
        self._post = post
        self._executor = executor
        self._dice = dice
        self._monotonic = monotonic
        self._log: Any = structlog.get_logger("worker.deliver") if log is None else log
        self._horizon = Horizon(monotonic, patience=PATIENCE_SECONDS)
        self._ahead = 0
        """Up to which event news beyond the horizon were told."""
        self._looked: tuple[float, datetime | None] | None = None
        self._ttl_looked: float | None = None
        self._busy: set[str] = set()
        self._recording = threading.Lock()
        """One sender writes at a time, so that all of them together use one connection more."""
        self._closing = threading.Event()

    def close(self) -> None:
        """Send nothing more; what is being sent is finished."""
        self._closing.set()
        self._executor.shutdown(wait=True, cancel_futures=True)

    # When ------------------------------------------------------------------------------------------------------------

    def wanted(self, tx: Transaction) -> datetime | None:
        """Return now where there are news, or when a delivery is due. It looks once a second at most."""
        now = self._monotonic()
        if self._looked is None or now - self._looked[0] >= _LOOK_SECONDS:
            self._looked = (now, self._next(tx))
        return self._looked[1]

    def _next(self, tx: Transaction) -> datetime | None:
        if not news.any_endpoints(tx):
            return None
        state = chores.remembered(tx, self.name)
        if webhooks.latest_event(tx) > state.get("cursor", 0):
            return tx.now
        if sorted(news.pauses(tx)) != state.get("pauses", []):
            return tx.now
        moments = [deliveries.next_due(tx), _moment(state.get("prune_at"), tx.now)]
        if news.next_expiry(tx) is not None:
            moments.append(_moment(state.get("ttl_at"), tx.now))
        return min((at for at in moments if at is not None), default=None)

    def run(self, claim: Claim) -> datetime:
        """Enqueue what there is to tell, and begin to send what is due; return when to do it again."""
        state = claim.state
        try:
            self._tell_events(state)
            self._tell_pauses(state)
            self._tell_ttl(state)
        except FleetBusyError:
            pass  # it is tried again in a moment
        self._prune(state)
        self._send()
        with self._database.read() as tx:
            return tx.now + _PAUSE

    # Telling ---------------------------------------------------------------------------------------------------------

    def _tell_events(self, state: dict[str, Any]) -> None:
        with self._database.read() as tx:
            # First up to where, then for whom: who came in between has no news below that.
            self._horizon.advance(tx)
            settled, latest = self._horizon.settled, self._horizon.latest
            found = news.endpoints(tx)
        names = {one.tenant for one in found}
        if not names:
            state["cursor"] = max(settled, state.get("cursor", 0))
            return
        cursor = state["cursor"] = news.start_of(found, state.get("cursor", 0))
        for end in self._tell_between(cursor, settled, names):
            state["cursor"] = end
        if state["cursor"] < settled:
            return  # there is much; the rest comes in the next run
        for end in self._tell_between(max(state["cursor"], self._ahead), latest, names):
            self._ahead = end

    def _tell_between(self, after: int, upto: int, names: set[str]) -> Iterator[int]:
        """Tell what happened between two events; yield up to where that is done."""
        began = self._monotonic()
        while after < upto and self._monotonic() - began < _TELLING_SECONDS:
            with self._database.read() as tx:
                pieces, after = news.read(tx, names, after=after, upto=upto)
            if pieces:
                with self._database.write() as tx:
                    news.tell(tx, pieces, self._dice)
            yield after

    def _tell_pauses(self, state: dict[str, Any]) -> None:
        with self._database.read() as tx:
            found = news.pauses(tx)
        fresh = [message for subject, message in found.items() if subject not in state.get("pauses", [])]
        if fresh:
            with self._database.write() as tx:
                news.tell_pauses(tx, fresh, self._dice)
        state["pauses"] = sorted(found)

    def _tell_ttl(self, state: dict[str, Any]) -> None:
        now = self._monotonic()
        if self._ttl_looked is not None and now - self._ttl_looked < _TTL_SECONDS:
            return
        self._ttl_looked = now
        with self._database.read() as tx:
            names = {one.tenant for one in news.endpoints(tx) if "instance.ttl_soon" in one.kinds}
            rows = news.expiring(tx, names=names) if names else []
            moment = tx.now
            pieces = news.untold(tx, list(news.soon_over(rows, moment)))
        if pieces:
            with self._database.write() as tx:
                news.tell_soon(tx, pieces, self._dice)
        upcoming = (news.soon_at(row.expires_at, row.ttl_seconds) for row in rows)
        state["ttl_at"] = min((at for at in upcoming if at > moment), default=moment + _TTL_AGAIN).isoformat()

    def _prune(self, state: dict[str, Any]) -> None:
        with self._database.read() as tx:
            due = _moment(state.get("prune_at"), tx.now) <= tx.now
        if due:
            with self._database.write() as tx:
                more = deliveries.prune(tx)
                state["prune_at"] = (tx.now if more else tx.now + _PRUNE_EVERY).isoformat()

    # Sending ---------------------------------------------------------------------------------------------------------

    def _send(self) -> None:
        free = SENDERS - len(self._busy)
        with self._database.read() as tx:
            first = deliveries.next_due(tx)
            if free <= 0 or first is None or first > tx.now:
                return
        with self._database.write() as tx:
            turns = deliveries.claim(tx, most=free)
        for turn in turns:
            self._busy.add(turn.webhook_id)
            self._executor.submit(self._serve, turn)

    def _serve(self, turn: Turn) -> None:
        """Send to one endpoint until nothing is due, a try fails, or others' turn has come."""
        began = self._monotonic()
        try:
            while self._serve_batch(turn):
                if self._monotonic() - began >= TURN_SECONDS or self._closing.is_set():
                    break
            with self._recording, self._database.write() as tx:
                deliveries.give_back(tx, turn)
        except Exception as error:  # noqa: BLE001 - whatever it was: the lease ends, and somebody goes on
            self._log.warning("deliveries broke off", webhook=turn.webhook_id, error=type(error).__name__)
        finally:
            self._busy.discard(turn.webhook_id)

    def _serve_batch(self, turn: Turn) -> bool:
        """Send some of what is due; return whether to go on."""
        with self._database.read() as tx:
            batch = deliveries.load(tx, turn, limit=BATCH)
            now = tx.now
        if batch is None:
            return False
        results = self._tries(batch, now)
        with self._recording, self._database.write() as tx:
            deliveries.record(tx, turn, results, self._dice)
        for result in results:
            self._log.info(
                "webhook",
                webhook=turn.webhook_id,
                delivery=result.letter.id,
                kind=result.letter.kind,
                attempt=result.letter.tries + 1,
                status=result.status,
                delivered=result.delivered,
            )
        return len(batch.letters) == BATCH and all(result.delivered for result in results)

    def _tries(self, batch: Batch, now: datetime) -> list[Result]:
        """Send one after the other, up to the first that fails."""
        results: list[Result] = []
        began = self._monotonic()
        for letter in batch.letters:
            results.append(self._try(batch, letter, now))
            late = self._monotonic() - began >= TURN_SECONDS
            if late or self._closing.is_set() or not results[-1].delivered:
                break
        return results

    def _try(self, batch: Batch, letter: Letter, now: datetime) -> Result:
        try:
            secrets = self._secrets(batch, now)
        except UnreadableSecretError as error:
            return Result(letter, error=f"not sent: {error} (NODEWRIGHT_ENCRYPTION_KEYS)")
        signed = signing.headers(
            secrets, message_id=letter.id, timestamp=int(now.timestamp()), body=letter.payload
        )
        answer = self._post(batch.url, {**_AGENT, **signed}, letter.payload.encode())
        return Result(letter, answer.status, answer.error, wait_of(answer.retry_after, now))

    def _secrets(self, batch: Batch, now: datetime) -> list[str]:
        if self._vault is None:
            raise UnreadableSecretError("no encryption key is configured")
        return webhooks.secrets_of(self._vault, batch.sealed, batch.previous_until, now)


def _moment(text: str | None, otherwise: datetime) -> datetime:
    return otherwise if text is None else datetime.fromisoformat(text)


def wait_of(text: str | None, now: datetime) -> timedelta | None:
    """Return what ``Retry-After`` asks for, in seconds or as a date; None: nothing that can be read.

    >>> wait_of("120", datetime(2026, 3, 1, tzinfo=UTC))
    datetime.timedelta(seconds=120)
    """
    if text is None:
        return None
    if text.isascii() and text.isdecimal():
        return timedelta(seconds=min(int(text[:10]), _LARGEST_WAIT))
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max((at if at.tzinfo else at.replace(tzinfo=UTC)) - now, timedelta())
