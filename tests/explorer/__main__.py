"""``python -m tests.explorer``: every boundary, every outcome, crashes two deep; then every protection taken away."""

from __future__ import annotations

import argparse
import atexit
import gc
import logging
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import product
from pathlib import Path

import structlog

from jobs.states import TRANSITIONS
from tests.explorer.machine import GRACE, Collaborators, HookedDatabase, Machine, Verdict, make_template
from tests.explorer.protections import PROTECTIONS
from tests.explorer.schedule import OUTCOMES, Reply, Schedule, parse

FREEZE_POINTS = 5
CANCELS = (0, 4, 8, 9, 10, 12, 14, 17, 22, 30)
TYPICAL = (
    Reply(),
    Reply("reset_after", "yes"),
    Reply("reset_after", "no"),
    Reply("gateway_timeout", "later", after=8.0),
    Reply("throttle"),
    Reply("no_capacity"),
)
UNKNOWN = (Reply("reset_after", "no"), Reply("gateway_timeout", "later", after=8.0))
STEPS = (3600.0, -3600.0, 90.0, -90.0)
LOST = {"action": "request_timeout", "method": "POST", "route": "/linode/instances", "count": 11}


@dataclass
class Tally:
    """What was explored."""

    runs: int = 0
    merged: int = 0
    boundaries: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    transitions: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    failures: list[tuple[str, str]] = field(default_factory=list)

    def add(self, verdict: Verdict) -> None:
        self.runs += 1
        self.transitions.update(verdict.transitions)
        if verdict.violation is not None:
            self.failures.append((verdict.schedule.line(), verdict.violation))

    def merge(self, other: Tally) -> None:
        self.runs += other.runs
        self.merged += other.merged
        self.boundaries += other.boundaries
        self.kinds.update(other.kinds)
        self.transitions.update(other.transitions)
        self.failures += other.failures


class Explorer:
    """Explores schedules in one process."""

    def __init__(self, folder: Path, collaborators: Collaborators | None = None) -> None:
        template = folder / "template.db"
        make_template(template)
        self.database = HookedDatabase(folder / "run.db", template)
        self.collaborators = collaborators or Collaborators()
        self.known: dict[str, int] = {}
        """How many further crashes deep the future of each state was explored."""
        self.tally = Tally()

    def run(self, schedule: Schedule, *, record: bool = False) -> Verdict:
        """Run one schedule and count it."""
        verdict = Machine(schedule, self.database, self.collaborators, record=record).run()
        self.tally.add(verdict)
        return verdict

    def deepen(self, schedule: Schedule, depth: int) -> Verdict:
        """Run a schedule, then the same with a crash before each of the effects that follow its last crash.

        Where a crash leaves exactly what an explored one left (rows, world, messages, time), its future is known.
        """
        verdict = self.run(schedule, record=depth > 0)
        if depth == 0 or verdict.violation:
            return verdict
        begin = schedule.crashes[-1] + 1 if schedule.crashes else 0
        for at in range(begin, verdict.effects):
            self.tally.boundaries += 1
            self.tally.kinds[verdict.kinds[at]] += 1
            if self.known.get(verdict.prints[at], -1) >= depth - 1:
                self.tally.merged += 1
                continue
            self.known[verdict.prints[at]] = depth - 1
            self.deepen(replace(schedule, crashes=(*schedule.crashes, at)), depth - 1)
        return verdict


def plain(depth: int) -> Iterator[tuple[Schedule, int]]:
    """Every outcome of the create, with crashes ``depth`` deep."""
    for reply in OUTCOMES:
        yield Schedule(replies=(reply,)), depth


def further() -> Iterator[tuple[Schedule, int]]:
    """Second outcomes, cancels, frozen processes, clock steps, and twists of the world."""
    yield from second_outcomes()
    yield from cancels()
    yield from frozen()
    yield from stepped()
    yield from twisted()


def second_outcomes() -> Iterator[tuple[Schedule, int]]:
    """After an unknown create, every outcome of the next one."""
    for first, second in product(UNKNOWN, OUTCOMES[1:]):
        yield Schedule(replies=(first, second)), 0


def cancels() -> Iterator[tuple[Schedule, int]]:
    """A cancel at many moments, and crashes around some of them."""
    for reply, at in product(OUTCOMES, CANCELS):
        yield Schedule(replies=(reply,), cancel=at), 0
    for at in range(18, 56):
        yield Schedule(replies=(UNKNOWN[0],), cancel=at), 0
    for reply, at in product(TYPICAL, (9, 12)):
        yield Schedule(replies=(reply,), cancel=at), 1


def frozen() -> Iterator[tuple[Schedule, int]]:
    """A process that stands still in mid-create while others recover, also from a cancel, and then goes on."""
    for reply, at in product(OUTCOMES, range(FREEZE_POINTS)):
        yield Schedule(replies=(reply,), freeze=at), 0
    for reply, at in product(TYPICAL, range(FREEZE_POINTS)):
        yield Schedule(replies=(reply,), freeze=at, cancel=9), 0


def stepped() -> Iterator[tuple[Schedule, int]]:
    """A clock that is set forward or back."""
    for reply, at, seconds in product((Reply(), *UNKNOWN, Reply("throttle")), range(0, 30, 3), STEPS):
        yield Schedule(replies=(reply,), step=(at, seconds)), 0


def twisted() -> Iterator[tuple[Schedule, int]]:
    """Strangers, forgotten sends, vanished instances, catalogs that change, lost keys, faults of the delete."""
    for world in ("stranger", "forgotten", "forgotten_grant", "vanish_booting", "vanish_running", "untag"):
        yield Schedule(world=world), 1
    for world in ("bad_catalog", "intake", "intake_bad", "intake_cancel", "lost_key", "elsewhere"):
        yield Schedule(world=world), 1
    yield Schedule(world="elsewhere", replies=(Reply("reset_after", "yes"),)), 1
    yield Schedule(world="bad_catalog_later", replies=(Reply("reset_after", "no"),)), 1
    yield Schedule(world="parked", extra=(LOST,)), 0
    stuck = {"action": "boot_stuck", "method": "POST", "route": "/linode/instances"}
    yield Schedule(world="stuck", extra=(stuck,)), 0
    for action in (
        "reset_after",
        "reset_before",
        "server_error",
        "request_timeout",
        "throttle",
        "hang",
        "refuse",
    ):
        fault = {"action": action, "method": "DELETE", "route": "/linode/instances/*", "count": 2}
        yield Schedule(cancel=12, replies=(Reply("slow"),), extra=(fault,)), 1
        yield Schedule(cancel=13, extra=(fault,)), 1
    yield from fallbacks()
    yield from lives()
    yield from pauses()
    yield Schedule(cancel=12, replies=(Reply("reset_after", "yes"),)), 1
    yield Schedule(cancel=30, replies=(Reply("reset_after", "no"), Reply("throttle"))), 0


def pauses() -> Iterator[tuple[Schedule, int]]:
    """Everything is paused for a while, at each state before the instance, with crashes around it."""
    for world in ("paused_queued", "paused_dispatched", "paused_creating"):
        for reply in (Reply(), Reply("throttle"), *UNKNOWN):
            yield Schedule(world=world, replies=(reply,)), 0 if reply.action else 1
    for reply in UNKNOWN:
        yield Schedule(world="paused_uncertain", replies=(reply,)), 0
    yield Schedule(world="paused_creating", replies=(Reply("slow"),), freeze=3), 0


def fallbacks() -> Iterator[tuple[Schedule, int]]:
    """One region after the other: each outcome of the first create before each of the second, and crashes around."""
    no = Reply("no_capacity")
    for reply in OUTCOMES:
        yield Schedule(world="fallback", replies=(no, reply)), 0
        yield Schedule(world="fallback", replies=(reply, no)), 0
    for replies in (
        (no,),
        (no, no),
        (UNKNOWN[0], no),
        (UNKNOWN[1], no),
        (no, UNKNOWN[1]),
        (UNKNOWN[0], no, no),
    ):
        yield Schedule(world="fallback", replies=replies), 1
    for at in CANCELS:
        yield Schedule(world="fallback", replies=(no,), cancel=at), 0
        yield Schedule(world="fallback", replies=(UNKNOWN[0], no), cancel=at), 0
    for at in range(FREEZE_POINTS):
        yield Schedule(world="fallback", replies=(no,), freeze=at), 0
    yield Schedule(world="fallback_catalog"), 1
    yield Schedule(world="fallback_full_later", replies=(UNKNOWN[0],)), 1
    for step in range(0, 40, 4):
        # The first create is applied just when the second one is refused.
        late = Reply("gateway_timeout", "later", after=GRACE + step * 0.0005)
        yield Schedule(world="fallback", replies=(late, no)), 0


def lives() -> Iterator[tuple[Schedule, int]]:
    """What comes after the create: retries, destroys, lives and deadlines that end, with crashes around them."""
    stuck = {"action": "boot_stuck", "method": "POST", "route": "/linode/instances", "count": 1}
    lost_delete = {"action": "reset_after", "method": "DELETE", "route": "/linode/instances/*", "count": 1}
    for first in (Reply("no_capacity"), Reply("plan_limit")):
        yield Schedule(world="retry", replies=(first,)), 1
    for second in UNKNOWN:
        yield Schedule(world="retry", replies=(Reply("no_capacity"), second)), 0
    for faults in ((stuck,), (stuck, lost_delete)):
        for world in ("retry", "retry_then_destroy", "destroy_failed", "ttl_failed"):
            # A crash around each: the retry deletes first, and so does all that these do.
            yield Schedule(world=world, extra=faults), 1 if world == "retry" else 0
    for world in ("destroy_running", "destroy_booting", "ttl_running", "ttl_booting"):
        yield Schedule(world=world), 1 if world == "destroy_running" else 0
        yield Schedule(world=world, extra=(lost_delete,), replies=(UNKNOWN[1],)), 0
    for world in ("deadline_queued", "deadline_dispatched", "stopped_queued", "stopped_dispatched"):
        for reply in (Reply(), Reply("throttle"), *UNKNOWN):
            yield Schedule(world=world, replies=(reply,)), 1 if world == "deadline_dispatched" else 0
    for reply in (*UNKNOWN, Reply("reset_after", "yes")):
        yield Schedule(world="deadline_uncertain", replies=(reply,)), 0
    yield Schedule(world="deadline_in_doubt", replies=(UNKNOWN[0],)), 0
    for world in ("intake_deadline", "intake_stopped"):
        yield Schedule(world=world), 0


@cache
def _explorer() -> Explorer:
    # One for each process, so that what it knows of states already explored outlives a share of the work.
    _quiet()
    # A run makes no cycles worth looking for, and looking for them is a tenth of its time.
    gc.freeze()
    gc.set_threshold(200_000, 50, 50)
    folder = tempfile.TemporaryDirectory(dir=_memory())
    atexit.register(folder.cleanup)
    return Explorer(Path(folder.name))


def explore(work: list[tuple[Schedule, int]]) -> Tally:
    """Explore a share of the work."""
    explorer = _explorer()
    explorer.tally = Tally()
    for schedule, depth in work:
        explorer.deepen(schedule, depth)
    return explorer.tally


def _quiet() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def _shares(
    work: Iterable[tuple[Schedule, int]], key: Callable[[Schedule], str]
) -> list[list[tuple[Schedule, int]]]:
    # Those that are much alike go to one process: that is where equal states meet.
    shares: dict[str, list[tuple[Schedule, int]]] = {}
    for schedule, depth in work:
        shares.setdefault(key(schedule), []).append((schedule, depth))
    return sorted(shares.values(), key=len, reverse=True)


def _alike(schedule: Schedule) -> str:
    reply = schedule.replies[0]
    return reply.action if reply.action in {"hang", "slow", "label_taken"} else reply.applied or "definite"


def _kind(schedule: Schedule) -> str:
    at = schedule.freeze if schedule.freeze is not None else schedule.cancel
    return f"{schedule.world} {schedule.freeze is None} {schedule.step is None} {len(schedule.replies)} {(at or 0) % 4}"


def missing(tally: Tally) -> list[str]:
    """Return the transitions of the law that no run took."""
    rows = [(row.source.value, row.event.value, row.target.value) for row in TRANSITIONS]
    return [
        f"{source} --{event}--> {target}"
        for source, event, target in rows
        if (source, event, target) not in tally.transitions
    ]


def replay(line: str) -> int:
    """Run one schedule again and print its trace."""
    _quiet()
    with tempfile.TemporaryDirectory() as folder:
        verdict = Explorer(Path(folder)).run(parse(line))
    print("\n".join(verdict.trace))
    print(verdict.violation or "kept every promise")
    return 1 if verdict.violation else 0


def main() -> int:
    """Explore, print what was explored, and fail if a promise was broken or a transition was never taken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replay", metavar="LINE", help="run one schedule and print its trace")
    parser.add_argument("--depth", type=int, default=2, help="how many crashes deep")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    if options.replay:
        return replay(options.replay)
    began = time.monotonic()
    work = [*_shares(plain(options.depth), _alike), *_shares(further(), _kind)]
    tally = Tally()
    with ProcessPoolExecutor(options.processes) as pool:
        for done in pool.map(explore, work):
            for line, reason in done.failures[: max(5 - len(tally.failures), 0)]:
                print(f"\n{reason}: {line}", flush=True)
            tally.merge(done)
            print(".", end="", flush=True)
    failed = _report(tally, time.monotonic() - began)
    return max(failed, _try_protections(options.processes))


def _try_protections(processes: int) -> int:
    """Take each protection away and print the schedule that noticed; fail where none did."""
    print("\nwithout this protection  tried  what the explorer saw")
    with ProcessPoolExecutor(processes) as pool:
        caught = list(pool.map(take_away, range(len(PROTECTIONS))))
    for removed, (tried, verdict) in zip(PROTECTIONS, caught, strict=True):
        print(
            f"{removed.name:24} {tried:5}  {verdict.violation if verdict else 'NOTHING: the checker is blind to it'}"
        )
        if verdict:
            print(f"{'':31}  {verdict.schedule.line()}")
    return 0 if all(verdict for _, verdict in caught) else 1


def take_away(number: int) -> tuple[int, Verdict | None]:
    """Run a protection's schedules without it until one breaks a promise; return how many it took, and that one."""
    _quiet()
    removed = PROTECTIONS[number]
    tried = 0
    with tempfile.TemporaryDirectory(dir=_memory()) as folder, removed.around():
        explorer = Explorer(Path(folder), removed.collaborators)
        for schedule in removed.schedules():
            tried += 1
            verdict = explorer.run(schedule)
            if verdict.violation:
                return tried, verdict
    return tried, None


def _memory() -> str | None:
    # Files that live in memory, where the system has a place for them: each run copies and writes a database.
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def _report(tally: Tally, seconds: float) -> int:
    untaken = missing(tally)
    print(
        f"\n{tally.runs} schedules in {seconds:.0f} s, of which {tally.merged} met a state already explored"
    )
    print(f"{tally.boundaries} crashes at effect boundaries {dict(tally.kinds)},")
    print(f"  {tally.merged} of them left a state whose future was explored already")
    taken = len(TRANSITIONS) - len(untaken)
    print(f"{len(OUTCOMES)} API outcomes; {taken} of {len(TRANSITIONS)} transitions of the law taken")
    for row in untaken:
        print("  never taken:", row)
    broken = Counter(reason.split("instance")[0] for _, reason in tally.failures)
    print(f"broken promises: {len(tally.failures)}", dict(broken) if broken else "")
    for line, reason in sorted(tally.failures, key=lambda failure: len(failure[0]))[:10]:
        print(f"  {reason}\n    replay: python -m tests.explorer --replay '{line}'")
    return 1 if tally.failures or untaken else 0


if __name__ == "__main__":
    sys.exit(main())
