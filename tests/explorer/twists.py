"""Twists: what else may happen to a job's world, beside replies, crashes, cancels and clocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cryptography.fernet import Fernet
from sqlalchemy import insert, select, update

from jobs import holds, house, tenants, transitions
from jobs.database import Transaction
from jobs.queries import CATALOG_KINDS
from jobs.records import JobRecord, accounts, chores, installation, jobs
from jobs.states import Event, State
from jobs.transitions import Reason
from jobs.vault import Vault
from simulator import Token

if TYPE_CHECKING:
    from tests.explorer.machine import Machine

RUNNING = frozenset({State.RUNNING})
_FOREIGN = {"label": "web-0001", "type": "g6-nanode-1", "region": "us-east", "image": "linode/debian12"}
FAILED = frozenset({State.FAILED})
DELETED = frozenset({State.DELETED})


@dataclass(frozen=True)
class Twist:
    """A change of the world: at the start, and after each of the process's steps; and how the job may end then."""

    ends: frozenset[State]
    start: Callable[[Machine], None] = lambda _machine: None
    after: Callable[[Machine], None] = lambda _machine: None


def _row(machine: Machine) -> tuple[str, str, int, int | None]:
    with machine.quietly(), machine.database.read() as tx:
        row = tx.execute(select(jobs.c.state, jobs.c.id, jobs.c.attempt, jobs.c.linode_id)).one()
    return row[0], row[1], row[2], row[3]


def _when(machine: Machine, state: State, act: Callable[[Machine], None]) -> None:
    if machine.twisted is False and _row(machine)[0] == state:
        machine.twisted = True
        machine.trace.append(f"          twist while {state}")
        act(machine)


def _stranger(machine: Machine) -> None:
    machine.world.add_foreign(Token("").account, {**_FOREIGN, "tags": ["theirs"]}, machine.time.now)


def _forgotten(machine: Machine) -> None:
    """The API holds an instance of this attempt that the database forgot (a failed-over standby)."""
    _, job_id, attempt, _ = _row(machine)
    installation = machine.identity("x").installation
    tags = [f"nodewright:{installation}", f"nw:{job_id}.{attempt}"]
    machine.world.add_foreign(Token("").account, {**_FOREIGN, "tags": tags}, machine.time.now)


def _forgotten_grant(machine: Machine) -> None:
    _forgotten(machine)
    machine.deaf = True
    _hasten(machine)


def _hasten(machine: Machine) -> None:
    with machine.quietly(), machine.database.write() as tx:
        tx.execute(update(chores).where(chores.c.name.startswith("reconcile")).values(due_at=tx.now))


def _vanish(machine: Machine) -> None:
    linode_id = _row(machine)[3]
    if linode_id is not None:
        machine.world.remove(linode_id, machine.time.now)


def _worse_catalog(machine: Machine) -> None:
    catalog = machine.catalog
    types = {key: plan for key, plan in catalog.types.items() if key != "g6-nanode-1"}
    machine.catalog = replace(catalog, types=types, version="worse")


def _full_region(machine: Machine) -> None:
    """The catalog of availability says that the first region has none left."""
    catalog = machine.catalog
    machine.catalog = replace(catalog, availability={("us-east", "g6-nanode-1"): False}, version="full")


def _resolve_absent(machine: Machine) -> None:
    with machine.quietly():
        machine.service().resolve(_row(machine)[1], "default", actor="person", adopt=None)


def _park_watch(machine: Machine) -> None:
    with machine.quietly(), machine.database.read() as tx:
        parked = tx.execute(select(jobs.c.parked_at)).scalar_one() is not None
    if parked and not machine.twisted:
        machine.twisted = True
        machine.trace.append("          twist: a person says absent")
        _resolve_absent(machine)


def _submit_without_catalog(machine: Machine) -> None:
    machine.held_catalog, machine.catalog = machine.catalog, None  # type: ignore[assignment]


def _catalog_comes(machine: Machine) -> None:
    machine.catalog = machine.held_catalog
    with machine.quietly(), machine.database.write() as tx:
        house.store_catalogs(tx, "default", {kind: [] for kind in CATALOG_KINDS})


def _bad_catalog_comes(machine: Machine) -> None:
    _catalog_comes(machine)
    _worse_catalog(machine)


def _lose_key(machine: Machine) -> None:
    machine.spec = {**machine.spec, "root_pass": "Correct-Horse-7-Battery!"}
    machine.seal_with = Vault([Fernet.generate_key().decode()])


def _untag(machine: Machine) -> None:
    """A person takes our tags off the running instance, and reconcile comes by."""
    linode_id = _row(machine)[3]
    if linode_id is not None:
        for tag in list(machine.world.instances[linode_id].shown["tags"]):
            machine.world.untag(linode_id, tag)


def _cancel(machine: Machine) -> None:
    with machine.quietly():
        machine.service().cancel(machine.fleet_id, "default", actor="person")


def _elsewhere(machine: Machine) -> None:
    """The job waits for another account of its tenant, which nobody serves: this one takes it over."""
    with machine.quietly(), machine.database.write() as tx:
        epoch = tx.execute(select(installation.c.epoch)).scalar_one()
        row = {"id": "other", "epoch": epoch, "faults": 0, "created_at": tx.now}
        tx.execute(insert(accounts), row)
        tenants.map_accounts(tx, "default", ("default", "other"))
        tx.execute(update(jobs).values(account_id="other"))


def _move(machine: Machine, act: Callable[[Transaction, JobRecord], JobRecord | None]) -> None:
    """Move the job as a person or a chore would, beside the process under test."""
    with machine.quietly(), machine.database.write() as tx:
        job = transitions.load(tx, _row(machine)[1])
        assert job is not None
        assert act(tx, job) is not None


def _retry(machine: Machine) -> None:
    _move(machine, lambda tx, job: transitions.retried(tx, job, actor="person"))


def _destroy(machine: Machine) -> None:
    _move(machine, lambda tx, job: transitions.destroyed(tx, job, actor="person"))


def _outlive(machine: Machine) -> None:
    _move(machine, lambda tx, job: transitions.ttl_over(tx, job, actor="expire"))


def _end(event: Event) -> Callable[[Machine], None]:
    why = Reason("deadline_exceeded" if event is Event.DEADLINE_PASSED else "stopped_by_policy", "it is over")

    def end(machine: Machine) -> None:
        _move(machine, lambda tx, job: transitions.ended_waiting(tx, job, event, why, actor="expire"))

    return end


def _retry_then_destroy(machine: Machine) -> None:
    """A person has a failed job tried again, and has it destroyed while its instance is being deleted."""
    state = _row(machine)[0]
    if state == State.FAILED and machine.twisted is False:
        machine.twisted = True
        _retry(machine)
    elif state == State.DELETING and machine.again:
        machine.again = False
        _destroy(machine)


def _late(event: Event, state: State) -> Twist:
    return Twist(FAILED | RUNNING, after=lambda m: _when(m, state, _end(event)))


def _late_in_doubt(machine: Machine) -> None:
    """The deadline passes while the job waits to be sent again after an unknown send."""
    (doubt,) = machine.database.look("SELECT last_unknown_at FROM jobs")[0]
    if doubt is not None:
        _when(machine, State.QUEUED, _end(Event.DEADLINE_PASSED))


def _intake_ends(event: Event) -> Twist:
    return Twist(
        FAILED,
        start=_submit_without_catalog,
        after=lambda m: _when(m, State.SUBMITTED, _end(event)),
    )


_PAUSED_SECONDS = 90.0


def _pause(machine: Machine) -> None:
    with machine.quietly(), machine.database.write() as tx:
        holds.mark(tx, holds.ALL)
        holds.settle(tx, holds.ALL, holds.create_windows(tx), actor="person")
    machine.paused = (machine.time.now, _sends(machine))


def _sends(machine: Machine) -> int:
    with machine.quietly(), machine.database.read() as tx:
        return int(tx.execute(select(jobs.c.sends)).scalar_one())


def _pause_and_resume(machine: Machine, state: State) -> None:
    """Everything is paused for a while; meanwhile no create may begin."""
    _when(machine, state, _pause)
    if machine.paused is None:
        return
    since, sends = machine.paused
    machine.check(_sends(machine) == sends, "a create was begun while everything is paused")
    if machine.time.now - since > _PAUSED_SECONDS:
        machine.paused = None
        with machine.quietly(), machine.database.write() as tx:
            holds.unmark(tx, holds.ALL)


def _paused(state: State) -> Twist:
    return Twist(RUNNING, after=lambda m: _pause_and_resume(m, state))


TWISTS: Mapping[str, Twist] = {
    "": Twist(RUNNING),
    "stranger": Twist(FAILED, start=_stranger),
    "forgotten": Twist(RUNNING, start=_forgotten),
    "forgotten_grant": Twist(RUNNING, after=lambda m: _when(m, State.DISPATCHED, _forgotten_grant)),
    "vanish_booting": Twist(FAILED, after=lambda m: _when(m, State.BOOTING, _vanish)),
    "vanish_running": Twist(FAILED, after=lambda m: _when(m, State.RUNNING, _vanish)),
    "bad_catalog": Twist(FAILED | RUNNING, start=_worse_catalog),
    "bad_catalog_later": Twist(FAILED | RUNNING, after=lambda m: _when(m, State.UNCERTAIN, _worse_catalog)),
    "parked": Twist(RUNNING, after=_park_watch),
    "intake": Twist(
        RUNNING, start=_submit_without_catalog, after=lambda m: _when(m, State.SUBMITTED, _catalog_comes)
    ),
    "intake_bad": Twist(
        frozenset({State.REJECTED}),
        start=_submit_without_catalog,
        after=lambda m: _when(m, State.SUBMITTED, _bad_catalog_comes),
    ),
    "intake_cancel": Twist(
        frozenset({State.CANCELLED}),
        start=_submit_without_catalog,
        after=lambda m: _when(m, State.SUBMITTED, _cancel),
    ),
    "lost_key": Twist(FAILED, start=_lose_key),
    "stuck": Twist(FAILED),
    "elsewhere": Twist(RUNNING, start=_elsewhere),
    "untag": Twist(RUNNING, after=lambda m: _when(m, State.RUNNING, _untag)),
    "fallback": Twist(RUNNING | FAILED),
    "fallback_catalog": Twist(RUNNING, start=_full_region),
    "fallback_full_later": Twist(RUNNING | FAILED, after=lambda m: _when(m, State.UNCERTAIN, _full_region)),
    "retry": Twist(RUNNING | FAILED, after=lambda m: _when(m, State.FAILED, _retry)),
    "retry_then_destroy": Twist(DELETED, after=_retry_then_destroy),
    "destroy_running": Twist(DELETED, after=lambda m: _when(m, State.RUNNING, _destroy)),
    "destroy_booting": Twist(DELETED, after=lambda m: _when(m, State.BOOTING, _destroy)),
    "destroy_failed": Twist(DELETED, after=lambda m: _when(m, State.FAILED, _destroy)),
    "ttl_running": Twist(DELETED, after=lambda m: _when(m, State.RUNNING, _outlive)),
    "ttl_booting": Twist(DELETED, after=lambda m: _when(m, State.BOOTING, _outlive)),
    "ttl_failed": Twist(DELETED, after=lambda m: _when(m, State.FAILED, _outlive)),
    "deadline_queued": _late(Event.DEADLINE_PASSED, State.QUEUED),
    "deadline_dispatched": _late(Event.DEADLINE_PASSED, State.DISPATCHED),
    "deadline_uncertain": _late(Event.DEADLINE_PASSED, State.UNCERTAIN),
    "deadline_in_doubt": Twist(FAILED | RUNNING, after=_late_in_doubt),
    "stopped_queued": _late(Event.STOPPED, State.QUEUED),
    "stopped_dispatched": _late(Event.STOPPED, State.DISPATCHED),
    "intake_deadline": _intake_ends(Event.DEADLINE_PASSED),
    "intake_stopped": _intake_ends(Event.STOPPED),
    "paused_queued": _paused(State.QUEUED),
    "paused_dispatched": _paused(State.DISPATCHED),
    "paused_creating": _paused(State.CREATING),
    "paused_uncertain": _paused(State.UNCERTAIN),
}
