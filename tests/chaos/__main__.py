"""Chaos: the real processes against a simulated API that fails, killed and frozen at random; then the audit."""

import argparse
import contextlib
import itertools
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import psycopg

from nodewright.processes import tail
from tests.chaos.audit import Verdict, compare, find_secrets, judge_fleets
from tests.chaos.plan import Plan, make_plan
from tests.chaos.rig import DATABASE, TOKEN, Rig
from tests.chaos.storm import Storm
from tests.chaos.submits import Submits

CREATE_LIMIT: Final = (60, 5)
SIMULATOR: Final = (
    *("--create-limit", str(CREATE_LIMIT[0]), "--create-window", str(CREATE_LIMIT[1])),
    *("--boot", "3", "--boot-spread", "1", "--latency", "0.5"),
)
SETTINGS: Final = {"NODEWRIGHT_CREATE_LIMIT": "{}/{}".format(*CREATE_LIMIT), "NODEWRIGHT_THREADS": "24"}
QUIET_SECONDS: Final = 400.0
"""How long the installation may take to come to rest after the storm."""
FEWEST: Final = {"asked": 500, "kills": 200, "faults": 300}
SHOWN: Final = 8

_ROWS: Final = """
    SELECT results.*, jobs.parked_at IS NOT NULL AS parked, fleets.idempotency_key AS key
    FROM job_results results JOIN jobs ON jobs.id = results.id JOIN fleets ON fleets.id = results.fleet_id
"""
_FLEETS: Final = """
    SELECT fleets.id, idempotency_key, (SELECT count(*) FROM jobs WHERE fleet_id = fleets.id) AS jobs FROM fleets
"""
_UNSETTLED: Final = """
    SELECT count(*) AS many FROM jobs WHERE state NOT IN ('running', 'failed', 'rejected', 'cancelled', 'deleted')
"""
_RECONCILED: Final = """
    SELECT succeeded_at, coalesce(state -> 'orphans', '{}')::jsonb = '{}'::jsonb AS clean
    FROM chores WHERE name LIKE 'reconcile:%%' AND succeeded_at > to_timestamp(%s)
"""


class Run:
    """One seed, from an empty installation to its audit."""

    def __init__(self, rig: Rig, plan: Plan, say: Callable[[str], None]) -> None:
        self.rig = rig
        self.plan = plan
        self.say = say
        self.submits = Submits(rig)
        self.storm = Storm(rig, plan, self.submits, say)
        self.faults: dict[str, int] = {}
        self.seconds = {"storm": 0.0, "quiet": 0.0}
        self.settled_at: float | None = None

    def run(self, fewest: dict[str, int]) -> Verdict:
        """Storm, rest, audit."""
        try:
            self.storm.run(kills=fewest.get("kills", 0), faults=fewest.get("faults", 0))
            self.seconds["storm"] = self.storm.seconds
            self._end_faults()
            self.say(f"{self.storm.seconds:6.1f} s  the storm is over: {self.storm.kills.total()} kills")
            self.submits.finish()
        finally:
            self.submits.end()
        self.seconds["quiet"] = self.storm.await_quiet(QUIET_SECONDS, self._at_rest)
        return self._audit()

    def _end_faults(self) -> None:
        for rule in self.rig.control("GET", "faults")["faults"]:
            words = rule["action"] if rule["action"] != "down" else f"down ({rule['how']})"
            if rule["applied"] != "no" and rule["action"] not in {
                "truncate",
                "slow",
                "list_lag",
                "reset_after",
            }:
                words += f", applied {rule['applied']}"
            name = f"{words} · {rule['method']}"
            self.faults[name] = self.faults.get(name, 0) + rule["fired"]
        self.rig.control("DELETE", "faults")

    def _at_rest(self) -> bool:
        """Whether all jobs ended, what comes late came, and reconcile has been through since, finding nothing."""
        if self.rig.query(_UNSETTLED)[0]["many"] or self.storm.seconds < self.plan.latest:
            self.settled_at = None
            return False
        if self.settled_at is None:
            self.settled_at = time.time()
            self.say(f"{self.storm.seconds:6.1f} s  all jobs ended; waiting for reconcile")
        done = self.rig.query(_RECONCILED, self.settled_at)
        return bool(done and done[0]["clean"])

    # The audit -------------------------------------------------------------------------------------------------------

    def _audit(self) -> Verdict:
        rows = self.rig.query(_ROWS)
        cancelled = frozenset(
            plan.document["name"] for plan in self.plan.fleets if plan.cancel_after is not None
        )
        self.books = self.rig.control("GET", "audit")
        verdict = compare(rows, self.books["instances"], cancelled=cancelled)
        self._replay(verdict)
        judge_fleets(verdict, self.plan.fleets, self.submits.accepted, self.rig.query(_FLEETS))
        self._search(verdict)
        if self.storm.cut_short:
            verdict.broken("the storm took too long and was cut short")
        return verdict

    def _replay(self, verdict: Verdict) -> None:
        for plan in self.plan.fleets:
            if plan.key in self.submits.accepted:
                self.submits.replay(plan)
        for words in self.submits.faults:
            verdict.broken(words)

    def _search(self, verdict: Verdict) -> None:
        """Look for secrets in the database's own files, its dump, the broker, the logs and every command line."""
        secrets = [TOKEN, *itertools.chain.from_iterable(plan.secrets for plan in self.plan.fleets)]
        self.storm.peek()
        self.rig.postgres._execute(psycopg.sql.SQL("CHECKPOINT"))
        more = {"valkey": b"\n".join(self.storm.keys), "dump": self._dump()}
        folders = (self.rig.logs / "ours", self.rig.folder / "home", self.rig.postgres.folder / "data")
        found = find_secrets(secrets, folders, more)
        verdict.passwords = len(found)
        for where in found[:SHOWN]:
            verdict.broken(f"a secret in the clear: {where}")

    def _dump(self) -> bytes:
        program = self.rig.postgres._programs / "pg_dump"
        argv = [str(program), "-h", str(self.rig.postgres.folder), "-U", "postgres", DATABASE]
        return subprocess.run(argv, check=True, capture_output=True).stdout

    def timeline(self, job: str) -> list[str]:
        """Return a job's timeline, and what the API made for it."""
        events = self.rig.query("SELECT * FROM job_events WHERE job_id = %s ORDER BY id", job)
        lines = [_line(one) for one in events]
        made = [one for one in self.books["instances"] if any(job in tag for tag in one["tags"])]
        lines += [f"API: {one['id']} created {one['created']} deleted {one['deleted']}" for one in made]
        labels = {row["label"] for row in self.rig.query("SELECT label FROM jobs WHERE id = %s", job)}
        sent = [one for one in self.books["creates"] if one["label"] in labels]
        return lines + [
            f"API: create of {one['label']} at {one['at']:.3f} got {one['status']}" for one in sent
        ]


def _line(event: dict[str, Any]) -> str:
    moved = f"{event['event']} → {event['state']}"
    return f"{event['at']:%H:%M:%S.%f} {event['actor']:10} {moved} {event['detail'] or ''}"


def report(run: Run, verdict: Verdict, seconds: float) -> None:
    """Print the table of one run."""
    storm, faults = run.storm, sum(run.faults.values())
    injected = sum(many for name, many in run.faults.items() if name.startswith("throttle"))
    rows: list[tuple[str, object]] = [
        ("asked", verdict.asked),
        ("kept", verdict.kept),
        ("cancelled", verdict.cancelled),
        ("twice", f"{verdict.twice} (most at once for one job, ever: {verdict.at_once})"),
        ("orphans", f"{verdict.orphans} ({verdict.removed} instances were removed)"),
        ("without end", verdict.without_end),
        ("secrets found", verdict.passwords),
        ("kills and restarts", f"{storm.kills.total()} ({_listed(storm.kills)})"),
        ("also", _listed(storm.done)),
        ("ended by themselves", _listed(storm.unasked) or "none"),
        ("API faults", faults),
        *(
            (f"  {name}", many)
            for name, many in sorted(run.faults.items(), key=lambda item: -item[1])
            if many
        ),
        ("calls", f"{run.books['requests']}, creates {len(run.books['creates'])}"),
        ("refused 429", f"{run.books['refused']}, of which the faults made {injected}"),
        ("clients", _listed(run.submits.seen)),
        (
            "duration",
            f"{seconds:.0f} s: storm {run.seconds['storm']:.0f}, to rest {run.seconds['quiet']:.0f}",
        ),
        ("seed", run.plan.seed),
    ]
    for name, value in rows:
        print(f"{name:42} {value}")
    print()


def _listed(counts: Any) -> str:
    return ", ".join(f"{name} {many}" for name, many in sorted(counts.items()) if many)


def judge_scale(run: Run, verdict: Verdict, fewest: dict[str, int]) -> None:
    """Hold the run to what was promised of its size."""
    got = {"asked": verdict.asked, "kills": run.storm.kills.total(), "faults": sum(run.faults.values())}
    for name, least in fewest.items():
        if got[name] < least:
            verdict.broken(f"too little of a storm: {name} {got[name]}, at least {least} were wanted")


def run_seed(seed: int, options: argparse.Namespace) -> bool:
    """Run one seed and print its table; True: every promise was kept."""
    began = time.monotonic()
    plan = make_plan(seed, instances=options.instances, minutes=options.minutes)
    print(f"chaos, seed {seed}: {len(plan.fleets)} fleets, {plan.seconds:.0f} s of storm", flush=True)
    with contextlib.ExitStack() as held:
        rig = Rig(held, simulator=(*SIMULATOR, "--seed", str(seed)), settings=SETTINGS)
        rig.start()
        run = Run(rig, plan, lambda words: print(words, flush=True))
        fewest = {} if options.small else FEWEST
        verdict = run.run(fewest)
        judge_scale(run, verdict, fewest)
        print()
        report(run, verdict, time.monotonic() - began)
        _explain(run, verdict)
    return not verdict.violations


def _explain(run: Run, verdict: Verdict) -> None:
    if not verdict.violations:
        print("every promise was kept\n", flush=True)
        return
    print(f"{len(verdict.violations)} violations:")
    for words in verdict.violations[: 5 * SHOWN]:
        print(f"  {words}")
    for job in sorted(verdict.jobs)[:SHOWN]:
        print(f"\n{job}", *run.timeline(job), sep="\n  ")
    for log in sorted(run.rig.logs.rglob("*.log")):
        print(f"\nthe end of {log.name}:\n{tail(log)}")
    sys.stdout.flush()


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, action="append", help="may be given several times; default: 1")
    parser.add_argument("--instances", type=int, default=520, help="how many instances are asked for")
    parser.add_argument("--minutes", type=float, default=3.5, help="how long the storm takes")
    parser.add_argument("--small", action="store_true", help="do not hold the run to its promised size")
    return parser.parse_args(arguments)


def main() -> int:
    """Run every seed; exit 1 if any promise was broken."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore it
    options = parse()
    results = [run_seed(seed, options) for seed in options.seed or [1]]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
