"""What the page says in words: states, times, lengths of time, money, and how a fleet or a job stands. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from jobs.admission import CREATE
from jobs.estimate import Estimate
from jobs.states import State
from jobs.views import FleetView, JobView, WindowView

KINDS: Final[Mapping[str, tuple[State, ...]]] = {
    "running": (State.RUNNING,),
    "booting": (State.BOOTING,),
    "creating": (State.CREATING,),
    "uncertain": (State.UNCERTAIN,),
    "waiting": (State.DISPATCHED, State.QUEUED, State.SUBMITTED),
    "failed": (State.FAILED, State.REJECTED),
    "ended": (State.CANCELLED, State.DELETING, State.DELETED),
}
"""How pictures group the states, in the order in which they are drawn and named."""
MEANT: Final[Mapping[str, str]] = {
    "running": "running",
    "booting": "booting",
    "creating": "being created",
    "uncertain": "outcome unknown",
    "waiting": "waiting",
    "failed": "failed",
    "ended": "cancelled or deleted",
}
"""How a legend names the kinds."""
KIND_OF: Final = {state.value: kind for kind, states in KINDS.items() for state in states}
HOLDING_UP: Final = frozenset(
    {
        "no_worker",
        "paused",
        "unauthorized",
        "missing_scope",
        "account_limit",
        "api_failing",
        "token_refused",
        "parked",
    }
)
"""Alarms that say why a fleet does not go on."""
_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86_400
_CENT: Final = 10_000

_CLAUSES: Final[Mapping[str, tuple[str, str]]] = {
    State.RUNNING: ("1 runs", "{} run"),
    State.BOOTING: ("1 boots", "{} boot"),
    State.CREATING: ("1 is being created", "{} are being created"),
    State.UNCERTAIN: ("1 is in doubt and looked up", "{} are in doubt and looked up"),
    State.DISPATCHED: ("1 is about to be sent", "{} are about to be sent"),
    State.QUEUED: ("1 waits", "{} wait"),
    State.SUBMITTED: ("1 waits for a catalog", "{} wait for a catalog"),
    State.FAILED: ("1 failed", "{} failed"),
    State.REJECTED: ("1 was rejected", "{} were rejected"),
    State.CANCELLED: ("1 was cancelled", "{} were cancelled"),
    State.DELETING: ("1 is being deleted", "{} are being deleted"),
    State.DELETED: ("1 was deleted", "{} were deleted"),
}


# Lengths and amounts -------------------------------------------------------------------------------------------------


def age(moment: datetime, now: datetime) -> str:
    """Return how long ago a moment was, as coarsely as it need be known: a page that says so seldom changes."""
    seconds = (now - moment).total_seconds()
    if seconds < _MINUTE:
        return "less than a minute ago"
    if seconds < _HOUR:
        return f"{int(seconds // _MINUTE)} min ago"
    return f"{int(seconds // _HOUR)} h ago" if seconds < 2 * _DAY else f"{int(seconds // _DAY)} days ago"


def clock(moment: datetime, now: datetime) -> str:
    """Return a moment as people read it: today's without the day, this year's without the year. In UTC."""
    time = f"{moment:%H:%M:%S}"
    if moment.date() == now.date():
        return time
    day = f"{moment.day} {moment:%b}"
    return f"{day} {time}" if moment.year == now.year else f"{day} {moment.year} {time}"


def usd(microusd: int) -> str:
    """Return micro-dollars as ``$0.0075`` or ``$12.30``."""
    if microusd and abs(microusd) < 100 * _CENT and microusd % _CENT:
        return f"${microusd / 1_000_000:.4f}".rstrip("0")
    return f"${microusd / 1_000_000:,.2f}"


def counted(count: int, one: str, many: str | None = None) -> str:
    """Return ``1 job``, ``3 jobs``, ``2,000 jobs``."""
    return f"1 {one}" if count == 1 else f"{count:,} {many or one + 's'}"


def without(reason: str | None, field: str | None) -> str | None:
    """Return the API's words without the field at their end, where it is named beside them."""
    return reason.removesuffix(f" ({field})") if reason and field else reason


def listed(items: Sequence[str]) -> str:
    """Return ``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(items[:-1]), items[-1]]) if len(items) > 1 else "".join(items)


# Fleets --------------------------------------------------------------------------------------------------------------


def kinds_of(states: Mapping[str, int]) -> dict[str, int]:
    """Return how many of each kind there are, in the order in which they are drawn; only those that occur."""
    counts = {kind: sum(states.get(state, 0) for state in members) for kind, members in KINDS.items()}
    return {kind: count for kind, count in counts.items() if count}


def state_of(fleet: FleetView) -> str:
    """Return how a fleet stands, in a sentence."""
    running = fleet.states.get(State.RUNNING, 0)
    whole = sum(fleet.states.values())
    if not whole:
        return "It has no jobs."
    if running == whole:
        return "It runs." if whole == 1 else f"All {whole:,} run."
    first = f"{running:,} of {whole:,} {'runs' if running == 1 else 'run'}"
    rest = list(_clauses(fleet.states, but=State.RUNNING))
    return f"{first}, {listed(rest)}." if running else f"{listed(list(_whole(fleet.states, whole)))}."


def _whole(states: Mapping[str, int], whole: int) -> Iterator[str]:
    for clause in _clauses(states):
        yield f"All {clause}" if clause.startswith(f"{whole:,} ") and whole > 1 else clause


def _clauses(states: Mapping[str, int], *, but: State | None = None) -> Iterator[str]:
    for state, (one, many) in _CLAUSES.items():
        count = states.get(state, 0)
        if count and state != but:
            yield one if count == 1 else many.format(f"{count:,}")


def title_of(fleet: FleetView) -> str:
    """Return a fleet's name for a tab, behind how it stands: what needs somebody comes first."""
    kinds = kinds_of(fleet.states)
    return f"{_in_brief(fleet, kinds)} · {fleet.name}" if kinds else fleet.name


def _in_brief(fleet: FleetView, kinds: Mapping[str, int]) -> str:
    if failed := kinds.get("failed"):
        return f"{failed:,} failed"
    if fleet.held_at is not None and "waiting" in kinds:
        return "paused"
    running = kinds.get("running", 0)
    if kinds.keys() <= {"running", "ended"}:
        return MEANT["running" if running else "ended"]
    return f"{running:,} of {sum(kinds.values()):,} {'runs' if running == 1 else 'run'}"


# Jobs ----------------------------------------------------------------------------------------------------------------


def state_of_job(job: JobView, now: datetime) -> str:
    """Return how a job stands, in a sentence."""
    words = _STANDING[State(job.state)]
    at = {name: "" if moment is None else clock(moment, now) for name, moment in _moments(job).items()}
    said = words.format(instance=f"instance {job.linode_id}", **at)
    return f"{said} {' '.join(_more(job, now))}".strip()


def _moments(job: JobView) -> dict[str, datetime | None]:
    return {"sent": job.sent_at, "created": job.created_at, "running": job.running_at, "ended": job.ended_at}


_STANDING: Final[Mapping[State, str]] = {
    State.SUBMITTED: "It waits for the first catalog: only then can it be checked.",
    State.REJECTED: "Its request is wrong, so nothing was sent for it.",
    State.QUEUED: "It waits for its turn within the rate limit.",
    State.DISPATCHED: "It has its turn: a worker is about to send its create.",
    State.CREATING: "Its create was sent at {sent}; the answer is awaited.",
    State.UNCERTAIN: "Nobody knows yet whether its instance exists; it is being looked up at Linode.",
    State.BOOTING: "Its {instance} exists since {created} and boots.",
    State.RUNNING: "It runs since {running} as {instance}.",
    State.FAILED: "It failed at {ended}.",
    State.CANCELLED: "It was cancelled at {ended}, with nothing bought.",
    State.DELETING: "Its {instance} is being deleted.",
    State.DELETED: "Its instance was deleted; Linode says that it is gone.",
}


def _more(job: JobView, now: datetime) -> Iterator[str]:
    if job.parked:
        yield "It was looked for so often that a person must decide."
    if job.ending == "cancel":
        yield "It is cancelled as soon as the outcome of its create is known."
    elif job.ending == "fail":
        yield "It ends as soon as the outcome of its create is known."
    if job.state == State.QUEUED and job.error is not None and job.error.code == "paused":
        yield f"It does not go on by itself: {job.error.reason}."
    elif job.state in {State.QUEUED, State.UNCERTAIN} and job.run_after is not None and job.run_after > now:
        yield f"It goes on at {clock(job.run_after, now)}."
    if job.state == State.FAILED and job.linode_id is not None:
        yield f"Its instance {job.linode_id} still exists and costs money."


_PROOFS: Final[Mapping[str, str | None]] = {
    "our own 200": None,  # that Linode's answer named it goes without saying
    "our own 200, late": "Linode's answer came late",
    "a person's word": "a person said so",
}
_SETTINGS_KEY: Final = "key settings"


def plain(detail: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a step's details without the engine's own words for how it knows."""
    proof = str(detail.get("proof"))
    return {**detail, "proof": _PROOFS[proof]} if proof in _PROOFS else detail


def who(actor: str) -> str:
    """Return who did something, for somebody who does not know how timelines name them."""
    return "the key in NODEWRIGHT_API_KEY" if actor == _SETTINGS_KEY else actor


# Windows -------------------------------------------------------------------------------------------------------------


def creates_per_minute(windows: Sequence[WindowView]) -> float | None:
    """Return how many creates the windows of all tokens allow a minute; None: there is no limit, or none is known."""
    lanes: dict[str, list[float]] = {}
    for window in windows:
        if window.route == CREATE and window.allowed:
            usable = max(window.allowed - window.withheld, 1)
            rate = usable / (window.seconds + window.margin_seconds) * _MINUTE
            lanes.setdefault(window.token, []).append(rate)
    return sum(min(rates) for rates in lanes.values()) or None


def pace_of(fleet: FleetView, windows: Sequence[WindowView]) -> str | None:
    """Return how long a fleet's waiting jobs take at the least; None: none waits, or there is no limit."""
    waiting = sum(fleet.states.get(state, 0) for state in KINDS["waiting"])
    rate = creates_per_minute(windows)
    if not waiting or rate is None:
        return None
    sent = f"the last one is sent in {_roughly(waiting / rate)}, if nothing else waits"
    return f"At the limit of {rate:.0f} creates a minute {sent}."


def outlook_of(found: Estimate | None) -> str | None:
    """Return when a fleet is done, if all goes well; None: nothing is under way, or it is held up."""
    if found is None or found.holds:
        return None
    words = (
        f"All run in {_roughly(found.all_running_seconds / _MINUTE)}, if nothing else comes and nothing fails"
    )
    if found.last_create_seconds and found.creates_per_minute is not None:
        words += f"; the limit is {found.creates_per_minute:.0f} creates a minute"
    if found.jobs_ahead:
        words += f", and {counted(found.jobs_ahead, 'job of others waits', 'jobs of others wait')} before it"
    return f"{words}."


def _roughly(minutes: float) -> str:
    """Return a time to come as coarsely as it is known."""
    if minutes < 1:
        return "less than a minute"
    return f"about {round(minutes)} min" if minutes < 2 * _MINUTE else f"about {round(minutes / _MINUTE)} h"


# Causes --------------------------------------------------------------------------------------------------------------

_CAUSES: Final[Mapping[str, str]] = {
    "account_limit": "over the account's limit",
    "boot_failed": "did not boot",
    "boot_timeout": "not up in time",
    "credentials_erased": "without readable secrets",
    "deadline_exceeded": "past the deadline",
    "image_lacks_capability": "with an image that cannot do what is asked",
    "image_too_large": "with an image larger than the disk",
    "label_taken": "whose label is taken",
    "no_capacity": "without room in the region",
    "quota_exceeded": "over a quota",
    "region_lacks_capability": "in a region that cannot do what is asked",
    "rejected_by_api": "refused by Linode",
    "stopped_by_policy": "stopped with the fleet",
    "unavailable": "of a plan that cannot be had there",
    "unknown_image": "with an unknown image",
    "unknown_region": "in an unknown region",
    "unknown_type": "of an unknown type",
    "vanished": "whose instance vanished",
}


def cause(code: str) -> str:
    """Return an error code in a few words, to stand behind a number of jobs."""
    return _CAUSES.get(code, f"with {code}")
