"""A job's timeline in words: one sentence per event, and what the time between two events was spent on. Pure.

Command line and page say it in the same words. It imports nothing of ours: the client's side works without the jobs.
"""

import re
from collections.abc import Mapping
from string import Formatter
from typing import Any, Final

Detail = Mapping[str, Any]

SENTENCES: Final[Mapping[str, str]] = {
    "submitted": "accepted, waits until the catalogs were read",
    "validated": "accepted, waits for the rate window",
    "invalid": "rejected[: {fault}]",
    "turned_invalid": "a newer catalog does not allow it any more[: {fault}]",
    "taken_over": "moved to another account of its tenant, which has room",
    "admitted": "granted a place in the rate window",
    "given_back": "grant given back, waits again[: {why}]",
    "sent": "create sent[ (attempt {attempt}, send {send})]",
    "created": "created {instance}[ ({proof})]",
    "created_unwanted": "created {instance}[ ({proof})] after a cancel: it is deleted again",
    "refused": "refused[: {fault}]",
    "throttled": "answered 429, waits for the next window[: {fault}]",
    "not_sent": "create not sent, tries again[: {fault}]",
    "account_paused": "the account takes no creates now, waits[: {fault}]",
    "unknown": "reply lost, the instance may exist[: {fault}]",
    "lapsed": "no report of the create, the instance may exist[: {fault}]",
    "inconclusive": "an answer that settles nothing, looks it up[: {fault}]",
    "looked": "looked up, not settled yet[: {saw}]",
    "parked": "parked[ after {tries} creates without a known outcome]: a person decides, by `resolve`",
    "adopted": "looked up, adopted {instance}[ ({proof})]",
    "adopted_unwanted": "looked up, found {instance}[ ({proof})] after a cancel: it is deleted",
    "absent": "looked up, there is no instance: waits to be sent again",
    "absent_cancelled": "looked up, there is no instance: cancelled",
    "absent_failed": "looked up, there is no instance: ended",
    "label_taken": "looked up, the label is another machine's[: {fault}]",
    "seen_running": "seen up",
    "boot_timed_out": "{instance} is not up in time[: {fault}]",
    "vanished": "{instance} vanished[: {fault}]",
    "cancelled": "cancelled, nothing was bought",
    "cancel_noted": "cancel noted, waits for the create's outcome",
    "erased": "its secrets cannot be had any more[: {fault}]",
    "ending_noted": "its end is noted, waits for the create's outcome[: {fault}]",
    "delete_postponed": "{instance} is not gone yet, looks again[: {fault}]",
    "gone": "{instance} is gone",
    "gone_retried": "{instance} is gone, a new attempt waits for the rate window",
    "retried": "retried, a new attempt waits for the rate window",
    "retry_noted": "retry noted, {instance} is deleted first",
    "fell_back": "falls back[ from {from} to {to}], a new attempt[: {fault}]",
    "stopped": "stopped with its fleet[: {fault}]",
    "deadline_passed": "its deadline passed[: {fault}]",
    "destroyed": "to be destroyed, {instance} is deleted",
    "ttl_over": "its time to live is over, {instance} is deleted",
    "found": "an instance with this attempt's tag was found, looks it up",
    "orphan_deleted": "{instance} of an attempt that had ended was found and deleted[ ({tag})]",
}
"""Each event's sentence. What stands in brackets is said only where everything in it is known."""
_OPTIONAL: Final = re.compile(r"\[([^\]]*)\]")
_SOURCES: Final = {"fault": ("code", "reason", "field"), "instance": ("linode_id",)}
"""What is made of several details, or said without them."""

_WAITS: Final[Mapping[str, str]] = {
    "submitted": "waited {} for the catalogs",
    "queued": "waited {} for the rate window",
    "dispatched": "waited {} for a worker",
    "creating": "the create took {}",
    "uncertain": "waited {} to look it up",
    "booting": "booted for {}",
    "running": "ran for {}",
    "failed": "was left as failed for {}",
    "deleting": "was being deleted for {}",
}
_QUEUED_BECAUSE: Final[Mapping[str, str]] = {
    "account_paused": "waited {} for the account",
    "not_sent": "waited {} to try again",
}
GAP_SECONDS: Final = 1.0
"""What took less is not worth a line."""


def sentence(event: str, detail: Detail | None, state: str) -> str:
    """Return what happened as one sentence; ``state`` is where it led. It says every detail that is known."""
    known = {name: value for name, value in (detail or {}).items() if value is not None}
    template = SENTENCES.get(event)
    if template is None:  # a service that is younger than we are
        return _with_rest(f"{event.replace('_', ' ')}, now {state}", known)
    values = _values(known)
    said = _OPTIONAL.sub(lambda found: _if_known(found[1], values), template)
    rest = {name: value for name, value in known.items() if name not in read_by(template)}
    return _with_rest(said.format_map(values), rest)


def read_by(template: str) -> frozenset[str]:
    """Return the names of the details that a template says."""
    names = {name for _, name, _, _ in Formatter().parse(template) if name}
    return frozenset(source for name in names for source in _SOURCES.get(name, (name,)))


def _values(known: Detail) -> dict[str, str]:
    values = {name: str(value) for name, value in known.items()}
    values["instance"] = f"instance {values['linode_id']}" if "linode_id" in values else "the instance"
    if "code" in values or "reason" in values:
        values["fault"] = _fault(known)
    return values


def _fault(known: Detail) -> str:
    code, reason, field = known.get("code"), known.get("reason"), known.get("field")
    about = f"{code}, field {field}" if code and field else code or (f"field {field}" if field else "")
    return f"{reason} ({about})" if reason and about else str(reason or about)


def _if_known(part: str, values: Mapping[str, str]) -> str:
    names = {name for _, name, _, _ in Formatter().parse(part) if name}
    return part if names <= set(values) else ""


def _with_rest(said: str, rest: Detail) -> str:
    more = ", ".join(f"{name} {value}" for name, value in rest.items())
    return f"{said} ({more})" if more else said


def gap(event: str, state: str, seconds: float) -> str | None:
    """Return what a job did for so long after ``event`` had led to ``state``; None: it is not worth a line."""
    waits = _QUEUED_BECAUSE.get(event, _WAITS["queued"]) if state == "queued" else _WAITS.get(state)
    return None if waits is None or seconds < GAP_SECONDS else waits.format(duration(seconds))


def duration(seconds: float) -> str:
    """Return a duration as people say it, in two units at most: ``4 s``, ``2 min 10 s``, ``3 h 5 min``, ``2 d 1 h``."""
    whole = round(seconds)
    days, hours, minutes, rest = whole // 86400, whole // 3600 % 24, whole // 60 % 60, whole % 60
    units = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    first = next((index for index, (count, _) in enumerate(units) if count), len(units) - 1)
    said = [f"{count} {unit}" for count, unit in units[first : first + 2] if count]
    return " ".join(said) or "0 s"
