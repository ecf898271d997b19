"""Where a request's jobs may go: a tenant's accounts, their catalogs, and what binds a group to one of them.

The account is chosen at submit, when everything about the request is judged at once: whether a label is free and which
private images there are depends on it. It may still change until the job's first send: an account that has room and
nothing to do takes over what waits for another (:func:`take_over`). From the first send on it is fixed, because from
then on an instance may exist there.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import and_, bindparam, exists, func, select

from jobs import admission, queries, tenants, transitions
from jobs.admission import CREATE
from jobs.catalog import Catalog
from jobs.database import Database, Transaction
from jobs.records import accounts, in_state, installation, jobs, tenant_accounts, tokens
from jobs.requests import INVALID_REQUEST, FleetRequest, GroupRequest, InvalidRequest, RequestFault, nearest
from jobs.spread import Lane, assign, rate_of
from jobs.states import State
from jobs.validation import Report

Catalogs = Callable[[str], Catalog | None]
BOUND: Final = (
    *("authorized_users", "backup_id", "firewall_id", "interfaces", "ipv4"),
    *("placement_group", "stackscript_id"),
)
"""The fields of a group that name things which one account has."""
_MOST_COUNTED: Final = 5_000
_LOOKED_AT: Final = 200
"""How far down another account's queue one looks for jobs to take over."""
_UNKNOWN_RATE: Final = 20 / 15.0
PATIENCE: Final = timedelta(seconds=1)
"""A job that waits for no longer than this is left to its own account: perhaps it is about to be admitted there."""


@dataclass(frozen=True)
class Places:
    """The accounts that a request's jobs may go to, those first that take creates now."""

    accounts: tuple[str, ...]
    catalogs: Mapping[str, Catalog]
    """Of those accounts that have one yet."""
    named: bool = False
    """Whether the request itself names the account."""

    @property
    def catalog(self) -> Catalog | None:
        """What all of them offer together: they differ in their private images only."""
        known = [self.catalogs[name] for name in self.accounts if name in self.catalogs]
        if len(known) <= 1:
            return known[0] if known else None
        images = {key: image for one in reversed(known) for key, image in one.images.items()}
        return replace(known[0], images=images, version="+".join(one.version for one in known))

    def of_group(self, group: GroupRequest) -> tuple[str, ...]:
        """Return the accounts that a group's jobs may go to: those that have its image."""
        if group.image is None:
            return self.accounts
        have = [
            name
            for name in self.accounts
            if name in self.catalogs and group.image in self.catalogs[name].images
        ]
        return tuple(have) or self.accounts

    def pins(self, request: FleetRequest) -> list[bool]:
        """Return of each group whether its jobs must stay in the account that they are given."""
        return [self.named or is_private(one.image) or bool(bound_fields(one)) for one in request.groups]

    def judged(self, request: FleetRequest, report: Report) -> Report:
        """Return the report with a fault for each group that names things of one account, and nobody knows of which."""
        if self.named or len(self.accounts) == 1 or report.refuses_all:
            return report
        bound = ((position, bound_fields(group)) for position, group in enumerate(request.groups))
        found = [_which(request, position, names[0], self.accounts) for position, names in bound if names]
        bad = report.bad_groups | {fault.group for fault in found if fault.group is not None}
        return replace(report, faults=(*report.faults, *found), bad_groups=bad)


def bound_fields(group: GroupRequest) -> list[str]:
    """Return the fields of a group that name things which one account has."""
    return [name for name in BOUND if getattr(group, name)]


def is_private(image: str | None) -> bool:
    """Whether an image is an account's own."""
    return image is not None and image.startswith("private/")


def _which(request: FleetRequest, position: int, name: str, known: Sequence[str]) -> RequestFault:
    pointer, field = request.place(position, name)
    return RequestFault(
        code=INVALID_REQUEST,
        pointer=pointer,
        field=field,
        message=f"names something of one account, and there are several ({', '.join(known)})",
        remedy="say which by `account`",
        group=position,
    )


def names_for(tx: Transaction, tenant: str, request: FleetRequest) -> tuple[str, ...]:
    """Return the accounts that the request may go to, those first that take creates now.

    Raises:
        InvalidRequest: it names an account that is not the tenant's.

    """
    mine = tenants.accounts_of(tx, tenant)
    if request.account is None:
        return _open_first(tx, mine)
    if request.account not in mine:
        raise InvalidRequest([_not_yours(request, request.account, mine)])
    return (request.account,)


def _not_yours(request: FleetRequest, account: str, mine: Sequence[str]) -> RequestFault:
    pointer, field = request.place(None, "account")
    close = nearest(account, tuple(mine))
    return RequestFault(
        code=INVALID_REQUEST,
        pointer=pointer,
        field=field,
        value=account,
        message=f"you have no account {account!r}",
        remedy=f"choose {', '.join(mine)}, or leave it out",
        nearest=close,
    )


def _open_first(tx: Transaction, names: tuple[str, ...]) -> tuple[str, ...]:
    if len(names) == 1:
        return names
    served = exists().where(tokens.c.account_id == accounts.c.id)
    open_ = and_(accounts.c.paused_at.is_(None), accounts.c.held_at.is_(None))
    fit = and_(accounts.c.id.in_(names), open_, served)
    fitting = set(tx.execute(select(accounts.c.id).where(fit)).scalars())
    return tuple(name for name in names if name in fitting) or names


def ready(names: tuple[str, ...], found: Mapping[str, Catalog], *, named: bool) -> Places:
    """Return the places of these accounts: those without a catalog yet are left out where another one has it."""
    return Places(tuple(name for name in names if name in found) or names, found, named=named)


def catalogs_of(
    database: Database, catalogs: Catalogs, tenant: str, fleet_id: str | None
) -> dict[str, Catalog]:
    """Return the catalogs of the accounts that a fleet's jobs are in, or new ones may go to.

    Not within a transaction: reading a catalog may need a connection of its own.
    """
    with database.read() as tx:
        here = select(accounts.c.id).where(
            exists().where(jobs.c.fleet_id == fleet_id, jobs.c.account_id == accounts.c.id)
        )
        names = dict.fromkeys([*tenants.accounts_of(tx, tenant), *tx.execute(here).scalars()])
    return {name: catalog for name in names if (catalog := catalogs(name)) is not None}


def taken_labels(tx: Transaction, places: Places, labels: list[str]) -> set[str]:
    """Return which labels are in use in any of the accounts: a job may be taken over by each of them."""
    return set().union(*(queries.taken_labels(tx, name, labels) for name in places.accounts))


def lanes(tx: Transaction, names: Sequence[str]) -> dict[str, Lane]:
    """Return how fast each account is, and how much waits for it already."""
    return {name: Lane(_rate(tx, name), _waiting(tx, name)) for name in names}


def _rate(tx: Transaction, account: str) -> float:
    sound = (tokens.c.account_id == account, tokens.c.probe_at.is_(None))
    ids = tx.execute(select(tokens.c.id).where(*sound)).scalars().all()
    known = [windows for token in ids if (windows := admission.read_windows(tx, token, CREATE))]
    return rate_of(known) if known else _UNKNOWN_RATE


def _waiting(tx: Transaction, account: str) -> int:
    ready = (jobs.c.account_id == account, in_state(State.QUEUED), jobs.c.run_after.is_(None))
    # In the order of the index, and no further than a choice between accounts needs: taking over mends the rest.
    some = select(jobs.c.id).where(*ready).order_by(jobs.c.tenant_id)
    return int(
        tx.execute(select(func.count()).select_from(some.limit(_MOST_COUNTED).subquery())).scalar_one()
    )


def spread(tx: Transaction, places: Places, request: FleetRequest) -> list[str]:
    """Return the account of each job of the request, in order."""
    if len(places.accounts) == 1:
        return [places.accounts[0]] * request.total
    groups = [(group.count, places.of_group(group)) for group in request.groups]
    return assign(groups, lanes(tx, places.accounts))


# Taking over ---------------------------------------------------------------------------------------------------------

_MINE: Final = bindparam("account", type_=accounts.c.id.type)
_HERE: Final = tenant_accounts.alias("here")
_SOUND: Final = and_(
    accounts.c.epoch == select(installation.c.epoch).scalar_subquery(),
    accounts.c.probe_at.is_(None),
    accounts.c.paused_at.is_(None),
    accounts.c.held_at.is_(None),
    ~exists().where(installation.c.held_at.is_not(None)),
)
_ABLE: Final = select(_HERE.c.tenant_id).where(
    _HERE.c.account_id == _MINE, exists().where(accounts.c.id == _MINE, _SOUND)
)
_OTHERS: Final = select(accounts.c.id).where(
    # Not from one that reconcile has yet to go through: of its jobs some may have been sent.
    accounts.c.id != _MINE,
    accounts.c.epoch == select(installation.c.epoch).scalar_subquery(),
)
_HEAD: Final = (
    select(
        *(jobs.c.id, jobs.c.sends, jobs.c.pinned, jobs.c.last_unknown_at),
        *(jobs.c.priority, jobs.c.label, jobs.c.submitted_at),
    )
    .where(
        jobs.c.account_id == bindparam("other"),
        jobs.c.tenant_id == bindparam("tenant"),
        in_state(State.QUEUED),
        jobs.c.run_after.is_(None),
        admission.GOING,
    )
    .order_by(jobs.c.priority.desc(), jobs.c.id)
    .limit(_LOOKED_AT)
    .subquery()
)
_MOVABLE: Final = (
    select(_HEAD.c.id, _HEAD.c.label, _HEAD.c.priority)
    .where(
        _HEAD.c.sends == 0,
        ~_HEAD.c.pinned,
        _HEAD.c.last_unknown_at.is_(None),
        _HEAD.c.submitted_at <= bindparam("before"),
    )
    .limit(bindparam("most"))
)


def helped_by(tx: Transaction, account: str) -> list[str]:
    """Return the tenants whose jobs the account may take over. One that is paused, probes or is new helps nobody."""
    return list(tx.execute(_ABLE, {"account": account}).scalars())


def movable(tx: Transaction, account: str, helped: Sequence[str], most: int) -> list[str]:
    """Return jobs that the account may take over, the most urgent first: unsent, unbound, waiting for another one."""
    others = tx.execute(_OTHERS, {"account": account}).scalars().all()
    found: list[Any] = []
    for tenant in helped:
        for other in others:
            which = {"other": other, "tenant": tenant, "most": most, "before": tx.now - PATIENCE}
            found += tx.execute(_MOVABLE, which)
    found.sort(key=lambda row: (-row.priority, row.id))
    taken = _taken(tx, account, [row.label for row in found])
    return [row.id for row in found if row.label not in taken][:most]


def _taken(tx: Transaction, account: str, labels: list[str]) -> set[str]:
    return queries.taken_labels(tx, account, labels) if labels else set()


def take_over(tx: Transaction, account: str, job_ids: Sequence[str], *, actor: str) -> int:
    """Move jobs to the account, those of them that still wait unsent; return how many."""
    unsent = (jobs.c.id.in_(job_ids), jobs.c.state == State.QUEUED.value, jobs.c.sends == 0)
    # Locked in one order, and none that somebody else holds: two accounts may want the same ones.
    locked = select(jobs.c.id).where(*unsent, jobs.c.last_unknown_at.is_(None)).order_by(jobs.c.id)
    mine = tx.execute(locked.with_for_update(skip_locked=True)).scalars().all()
    records = transitions.select_records(tx, jobs.c.id.in_(mine)) if mine else []
    return len(transitions.taken_over(tx, records, actor=actor, account_id=account))
