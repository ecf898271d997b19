"""What a person should look at: each alarm says what is wrong, since when, and what to do. Reads rows only."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, exists, func, select

from jobs import expiry
from jobs.admission import FAULTS_BEFORE_PROBING
from jobs.chores import remembered
from jobs.database import Transaction
from jobs.records import accounts, fleets, installation, jobs, tokens
from jobs.states import WAITING, State
from jobs.views import Alarm

CODES: Final = (
    *("no_worker", "paused", "fleet_paused", "unauthorized", "missing_scope", "account_limit"),
    *("api_failing", "token_refused", "parked", "ttl_soon", "not_ours", "delete_failed"),
    *("strange_instance", "untagged_instance", "orphan_instance"),
)
"""Every code that an alarm can have."""
WORKER_SILENT: Final = timedelta(seconds=30)
"""A worker's loop writes its heartbeat every 10 s; three missed ones are an alarm."""
ORPHAN_STAYS: Final = timedelta(minutes=5)
"""What reconcile wants gone and still sees so much later resists."""
REFUSED_DELETES: Final = 3
"""A delete that fails so often in a row is no hiccup."""
_NAMED: Final = 3
_GO_ON: Final = "the waiting jobs go on by themselves"
_AGAIN: Final = (
    "and start `nodewright up` (or the workers) again, or replace it with `nodewright accounts add-token`"
)
_PAUSED: Final = {
    "unauthorized": f"set a token that the API accepts in LINODE_TOKEN {_AGAIN}; {_GO_ON}",
    "missing_scope": f"make a token with linodes:read_write, set it in LINODE_TOKEN {_AGAIN}; {_GO_ON}",
    "account_limit": "ask Linode support for a higher limit, or delete instances; a create now and then finds out "
    f"whether it is over, and {_GO_ON}",
}


def alarms(tx: Transaction, *account_ids: str, tenant: str | None = None) -> tuple[Alarm, ...]:
    """Return every alarm of these accounts, the gravest first; with ``tenant`` none that tells of other tenants."""
    found = [
        *_worker(tx),
        *_held(tx, account_ids, tenant),
        *_account(tx, account_ids),
        *_tokens(tx, account_ids),
    ]
    for account_id in account_ids:
        mine = jobs.c.account_id == account_id
        if tenant is not None:
            mine = and_(mine, jobs.c.tenant_id == tenant)
        found += [*_parked(tx, mine), *_deletes(tx, mine), *_expiring(tx, mine)]
        if tenant is None:
            found += _instances(tx, account_id)
    return tuple(found)


def _worker(tx: Transaction) -> Iterator[Alarm]:
    seen: datetime = tx.execute(select(installation.c.alive_at)).scalar_one()
    if tx.now - seen > WORKER_SILENT:
        seconds = round((tx.now - seen).total_seconds())
        words = f"no worker was seen for {_span(seconds)}, so nothing moves"
        yield Alarm(
            "no_worker", words, seen, "start one: `nodewright up`, or `nodewright worker`; its log says more"
        )


def _held(tx: Transaction, account_ids: Sequence[str], tenant: str | None) -> Iterator[Alarm]:
    """Yield what a person has paused."""
    since = tx.execute(select(installation.c.held_at)).scalar()
    if since is not None:
        words = "everything is paused by a person, so nothing is created"
        yield Alarm("paused", words, since, "`nodewright resume --all`")
    held = select(accounts.c.id, accounts.c.held_at).where(accounts.c.held_at.is_not(None))
    for row in tx.execute(held.where(accounts.c.id.in_(account_ids)).order_by(accounts.c.id)):
        words = f"account {row.id} is paused by a person, so nothing is created in it"
        yield Alarm("paused", words, row.held_at, f"`nodewright resume --account {row.id}`")
    yield from _held_fleets(tx, tenant)


def _held_fleets(tx: Transaction, tenant: str | None) -> Iterator[Alarm]:
    waiting = jobs.c.state.in_([state.value for state in WAITING])
    mine = [fleets.c.held_at.is_not(None), exists().where(jobs.c.fleet_id == fleets.c.id, waiting)]
    if tenant is not None:
        mine.append(fleets.c.tenant_id == tenant)
    held = tx.execute(select(fleets.c.name, fleets.c.held_at).where(*mine).order_by(fleets.c.held_at)).all()
    if held:
        names = _listed([row.name for row in held[:_NAMED]], len(held))
        words = (
            f"{'1 fleet is' if len(held) == 1 else f'{len(held)} fleets are'} paused by a person ({names})"
        )
        yield Alarm("fleet_paused", words, held[0].held_at, "`nodewright resume FLEET`")


def _account(tx: Transaction, account_ids: Sequence[str]) -> Iterator[Alarm]:
    mine = accounts.c.id.in_(account_ids)
    for row in tx.execute(select(accounts).where(mine).order_by(accounts.c.id)):
        if row.paused_at is not None:
            words = f"account {row.id} is paused: {row.paused_reason}"
            yield Alarm(row.paused_code, words, row.paused_at, _PAUSED.get(row.paused_code, ""))
        elif row.faults >= FAULTS_BEFORE_PROBING:
            words = f"the Linode API fails or is not reached: {row.faults} creates in a row"
            remedy = (
                "nothing: one create at a time finds out whether it is over; see https://status.linode.com"
            )
            yield Alarm("api_failing", words, None, remedy)


def _tokens(tx: Transaction, account_ids: Sequence[str]) -> Iterator[Alarm]:
    mine = (tokens.c.account_id.in_(account_ids), tokens.c.probe_at.is_not(None))
    for row in tx.execute(select(tokens).where(*mine).order_by(tokens.c.id)):
        words = (
            f"token {row.id} of account {row.account_id} is refused ({row.refused_reason}); the others go on"
        )
        remedy = f"replace it: `nodewright accounts add-token {row.account_id} --replace {row.id}`"
        yield Alarm("token_refused", words, row.refused_at, remedy)


def _parked(tx: Transaction, mine: ColumnElement[bool]) -> Iterator[Alarm]:
    where = _in(mine, State.UNCERTAIN, jobs.c.parked_at.is_not(None))
    count, names = _some(tx, where)
    if count:
        since = tx.execute(select(func.min(jobs.c.parked_at)).where(where)).scalar()
        words = f"{_jobs(count)} parked ({names}): nobody knows whether the instance exists"
        remedy = (
            "look for it by label and tag (`nodewright show JOB`), then say so with `nodewright resolve JOB`"
        )
        yield Alarm("parked", words, since, remedy)


def _expiring(tx: Transaction, mine: ColumnElement[bool]) -> Iterator[Alarm]:
    for one in expiry.soon(tx, mine):
        at = one.expires_at.isoformat(timespec="seconds").replace("+00:00", "Z")
        words = (
            f"{one.count} instances of fleet {one.fleet} are deleted from {at} on: their time to live is over"
        )
        remedy = f"nothing, or `nodewright show {one.fleet} --extend-ttl 2h`"
        yield Alarm("ttl_soon", words, None, remedy)


def _deletes(tx: Transaction, mine: ColumnElement[bool]) -> Iterator[Alarm]:
    count, names = _some(tx, _in(mine, State.DELETING, jobs.c.error_code == "not_ours"))
    if count:
        words = (
            f"{_jobs(count)} to be deleted ({names}), but the instance carries another job's tag; left alone"
        )
        yield Alarm("not_ours", words, None, "look at the instance: somebody changed its tags")
    stubborn = and_(jobs.c.error_code == "delete_failed", jobs.c.looks >= REFUSED_DELETES)
    count, names = _some(tx, _in(mine, State.DELETING, stubborn))
    if count:
        words = f"{_jobs(count)} to be deleted ({names}), and the API fails or refuses again and again"
        yield Alarm("delete_failed", words, None, "`nodewright show JOB` has the API's words; it is tried on")


def _instances(tx: Transaction, account_id: str) -> Iterator[Alarm]:
    """Yield what the last reconcile found and may not touch, or could not remove."""
    state = remembered(tx, f"reconcile:{account_id}")
    if strange := state.get("strange"):
        words = f"{_instance_list(strange)} our tag, and no job of ours knows of it; left alone"
        remedy = "look at it in the Cloud Manager: delete it, or take the tag off; it costs money"
        yield Alarm("strange_instance", words, None, remedy)
    if untagged := state.get("untagged"):
        words = (
            f"{_instance_list(untagged, verb='lost')} our tag; the job still owns it, nothing is bought again"
        )
        yield Alarm("untagged_instance", words, None, "put the tags back: `nodewright show JOB` names them")
    late = [number for number, since in state.get("orphans", {}).items() if _stays(since, tx.now)]
    if late:
        words = f"{_instance_list(late)} the tag of a job that ended, and cannot be removed"
        remedy = "delete it in the Cloud Manager; the workers' logs say why it stays"
        yield Alarm("orphan_instance", words, None, remedy)


def _stays(since: str, now: datetime) -> bool:
    return now - datetime.fromisoformat(since) > ORPHAN_STAYS


def _in(mine: ColumnElement[bool], state: State, more: ColumnElement[bool]) -> ColumnElement[bool]:
    return and_(mine, jobs.c.state == state.value, more)


def _some(tx: Transaction, where: ColumnElement[bool]) -> tuple[int, str]:
    """Return how many jobs there are, and a few of their labels."""
    count: int = tx.execute(select(func.count()).select_from(jobs).where(where)).scalar_one()
    first = select(jobs.c.label).where(where).order_by(jobs.c.label).limit(_NAMED)
    return count, _listed(list(tx.execute(first).scalars()), count) if count else ""


def _jobs(count: int) -> str:
    return "1 job is" if count == 1 else f"{count} jobs are"


def _instance_list(numbers: Sequence[Any], *, verb: str = "") -> str:
    one = len(numbers) == 1
    carries = verb or ("carries" if one else "carry")
    return f"instance{'' if one else 's'} {_listed([str(one) for one in numbers[:_NAMED]], len(numbers))} {carries}"


def _listed(names: Sequence[str], count: int) -> str:
    more = count - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")


def _span(seconds: int) -> str:
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min"  # noqa: PLR2004 - two minutes
