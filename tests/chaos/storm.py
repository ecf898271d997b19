"""The storm: carries a plan out against the rig, and keeps count of what it did."""

import contextlib
import heapq
import time
from collections import Counter
from collections.abc import Callable
from itertools import count
from random import Random
from typing import Any, Final

import psycopg
import redis

from tests.chaos.plan import Action, Plan
from tests.chaos.rig import Rig
from tests.chaos.submits import Submits

TICK_SECONDS: Final = 0.05
RESTART_SECONDS: Final = 0.5
"""A process that ended by itself is started again after this, as systemd does."""
REPORT_SECONDS: Final = 15.0
ENCORE_SECONDS: Final = 120.0
"""How much longer a storm may take to become as large as was promised."""
AIM_SECONDS: Final = 8.0
"""How long a freeze waits for the worker to be in the midst of several creates."""
AIM_CREATES: Final = 4
OVERTIME: Final = 1.5
"""A storm that takes this many times as long as planned is cut short, and the run has failed."""

_IN_MID_CREATE: Final = """
    SELECT count(*) AS many FROM jobs WHERE state = 'creating' AND sent_at > now() - interval '1 second' AND
    (SELECT actor FROM job_events WHERE job_id = jobs.id AND event = 'sent' ORDER BY id DESC LIMIT 1) = %s
"""


class Storm:
    """One storm over one rig."""

    def __init__(self, rig: Rig, plan: Plan, submits: Submits, say: Callable[[str], None]) -> None:
        self._rig = rig
        self._plan = plan
        self._submits = submits
        self._say = say
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._began = 0.0
        self._report_at = REPORT_SECONDS
        self.kills: Counter[str] = Counter()
        """Kills with their restart, by what was killed."""
        self.done: Counter[str] = Counter()
        """Everything else that was done: freezes, flushes, outages."""
        self.unasked: Counter[str] = Counter()
        """Ends of processes that nobody killed, and their exit codes."""
        self.keys: list[bytes] = []
        """What Valkey held whenever somebody looked."""
        self.cut_short = False

    def run(self, *, kills: int, faults: int) -> None:
        """Carry the plan out to its end, and go on for a little while where fewer than so many came of it."""
        self._began = time.monotonic()
        self._rig.control("POST", "faults", list(self._plan.faults))
        for action in self._plan.actions:
            self._at(action.at, lambda action=action: getattr(self, f"_{action.kind}")(action))
        while self._heap:
            if self.seconds > self._plan.seconds * OVERTIME + 60:
                self.cut_short = True
                break
            self._step()
        self._go_on(kills, faults)
        self.calm()

    def _go_on(self, kills: int, faults: int) -> None:
        """Kill on, one a second: plans overlap, and a process that is down already cannot be killed."""
        dice, end = Random(self._plan.seed), self.seconds + ENCORE_SECONDS
        while self.seconds < end and not self.cut_short and self._lacks(kills, faults):
            target = dice.choice(("worker-1", "worker-2", "service", "valkey"))
            if self.kills.total() < kills:
                self._kill(Action(0, "kill", (target,), 0.4, "SIGKILL"))
            self._pass_time(1.0)
        while self._heap:
            self._step()

    def _pass_time(self, seconds: float) -> None:
        end = self.seconds + seconds
        while self.seconds < end:
            if self._heap:
                self._step()
            else:
                time.sleep(TICK_SECONDS)

    def _lacks(self, kills: int, faults: int) -> bool:
        fired = sum(rule["fired"] for rule in self._rig.control("GET", "faults")["faults"])
        return self.kills.total() < kills or fired < faults

    @property
    def seconds(self) -> float:
        """Seconds since the storm's begin."""
        return time.monotonic() - self._began

    def _report(self) -> None:
        """Say how far it is, now and then."""
        if self.seconds < self._report_at:
            return
        self._report_at = self.seconds + REPORT_SECONDS
        with contextlib.suppress(psycopg.Error):
            states = self._rig.query("SELECT state, count(*) AS many FROM jobs GROUP BY state ORDER BY state")
            listed = ", ".join(f"{one['state']} {one['many']}" for one in states)
            self._say(f"{self.seconds:6.1f} s  {self.kills.total()} kills; {listed}")

    def _at(self, seconds: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (seconds, next(self._numbers), what))

    def _step(self) -> None:
        if self._heap[0][0] <= self.seconds:
            heapq.heappop(self._heap)[2]()
        else:
            time.sleep(min(TICK_SECONDS, max(self._heap[0][0] - self.seconds, 0)))
        self.supervise()

    def supervise(self) -> None:
        """Start again what ended by itself: a service that found no database, say."""
        self._report()
        for process in self._rig.processes.values():
            if process.running is not None and not process.alive:
                self.unasked[f"{process.name} {process.running.returncode}"] += 1
                process.kill()
                self._at(
                    self.seconds + RESTART_SECONDS, lambda process=process: process.alive or process.start()
                )

    def calm(self) -> None:
        """End the storm: everything runs, nothing is frozen."""
        for process in self._rig.processes.values():
            process.thaw()
            if not process.alive:
                process.kill()
                process.start()

    def await_quiet(self, seconds: float, settled: Callable[[], bool]) -> float:
        """Supervise until ``settled``, at most so long; return how long it took."""
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            self.supervise()
            while self._heap and self._heap[0][0] <= self.seconds:
                heapq.heappop(self._heap)[2]()
            with contextlib.suppress(psycopg.Error):
                if settled():
                    break
            time.sleep(1)
        return time.monotonic() - began

    # Actions ---------------------------------------------------------------------------------------------------------

    def _kill(self, action: Action) -> None:
        killed = [name for name in action.targets if self._end(name, action.how)]
        if len(killed) > 1:
            self.done[f"{len(killed)} parts at once"] += 1
        self._at(self.seconds + action.lasts, lambda: self._restart(action.targets, killed))

    def _end(self, name: str, how: str) -> bool:
        if name == "postgres":
            return self._rig.stop_postgres(how)
        process = self._rig.processes[name]
        return not process.frozen and process.kill()

    def _restart(self, targets: tuple[str, ...], killed: list[str]) -> None:
        for name in sorted(targets, key=lambda one: one != "postgres"):
            if name == "postgres":
                self._rig.start_postgres()
            elif not self._rig.processes[name].alive:
                self._rig.processes[name].start()
        self.kills.update(killed)

    def _freeze(self, action: Action) -> None:
        (name,) = action.targets
        process = self._rig.processes[name]
        long = action.lasts > 10
        many = self._aim(name) if long else 0
        if not process.alive:
            self._at(self.seconds + 0.5, lambda: self._freeze(action))
            return
        process.freeze()
        if long:
            self.done["frozen past the lease"] += 1
            self.done["creates that were frozen past the lease"] += many
            self._say(
                f"{self.seconds:6.1f} s  {name} is frozen for {action.lasts:.0f} s with {many} creates under way"
            )
        else:
            self.done["frozen for a moment"] += 1
        self._at(self.seconds + action.lasts, process.thaw)

    def _aim(self, name: str) -> int:
        """Wait for a moment at which the worker is in mid-create; return of how many."""
        began, many = time.monotonic(), 0
        while (waited := time.monotonic() - began) < AIM_SECONDS:
            with contextlib.suppress(psycopg.Error):
                many = int(self._rig.query(_IN_MID_CREATE, name)[0]["many"])
            if many >= (AIM_CREATES if waited < AIM_SECONDS / 2 else 1):
                break
            time.sleep(0.01)
        return many

    def _flush(self, action: Action) -> None:
        with contextlib.suppress(redis.RedisError), self._rig.redis() as client:
            client.flushall()
            self.done["broker flushed"] += 1

    def _outage(self, action: Action) -> None:
        self._rig.control("POST", "faults", {"action": "down", "how": action.how, "lasts": action.lasts})
        self.done["outages of the API"] += 1

    def _submit(self, action: Action) -> None:
        if action.fleet is None:
            return
        self._submits.send(action.fleet)
        after = action.fleet.kill_service_after
        if after is not None:
            self._at(
                self.seconds + after, lambda: self._kill(Action(0, "kill", ("service",), 0.4, "SIGKILL"))
            )

    def _peek(self, action: Action) -> None:
        with contextlib.suppress(redis.RedisError):
            self.peek()

    def peek(self) -> None:
        """Keep a copy of everything that Valkey holds."""
        with self._rig.redis() as client:
            for key in client.scan_iter(count=1000):
                self.keys += [bytes(key), _content(client, key)]


def _content(client: Any, key: bytes) -> bytes:
    kind = client.type(key)
    if kind == b"list":
        return b"\n".join(client.lrange(key, 0, -1))
    if kind == b"hash":
        return repr(client.hgetall(key)).encode()
    if kind == b"zset":
        return repr(client.zrange(key, 0, -1)).encode()
    return repr(client.get(key)).encode() if kind == b"string" else repr(client.smembers(key)).encode()
