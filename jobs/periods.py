"""A fleet's times: not before, deadline, time to live, boot timeout, and whether they can be kept. Pure."""

from collections.abc import Iterator
from datetime import datetime
from typing import Final, NamedTuple

from jobs.estimate import USUAL_BOOT_SECONDS
from jobs.requests import FleetRequest, Scalar

__all__ = ["USUAL_BOOT_SECONDS", "Words", "span", "time_problems"]

_UNITS: Final = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))


class Words(NamedTuple):
    """What is wrong, and what to do about it."""

    message: str
    remedy: str


def span(seconds: float) -> str:
    """Return a duration as a request writes it: `2h`, `1h30m`, `45s`."""
    left, parts = round(seconds), []
    for unit, length in _UNITS:
        count, left = divmod(left, length)
        parts += [f"{count}{unit}"] if count else []
    return "".join(parts) or "0s"


def written(moment: datetime) -> str:
    """Return a moment as a request writes it."""
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def time_problems(
    request: FleetRequest, *, now: datetime, boot_seconds: float
) -> Iterator[tuple[str, Scalar, Words]]:
    """Yield field, value and what is wrong of each time that cannot be kept. ``boot_seconds``: what a boot takes."""
    begin, end = request.not_before, request.deadline
    if end is not None and end <= now:
        words = Words(f"is in the past: it is {written(now)}", "give a later moment, or leave it out")
        yield "deadline", written(end), words
    if begin is not None and end is not None and begin >= end:
        words = Words(
            f"is not before the deadline, {written(end)}", "give an earlier one, or a later deadline"
        )
        yield "not_before", written(begin), words
    yield from _ttl_problems(request, boot_seconds)


def _ttl_problems(request: FleetRequest, boot_seconds: float) -> Iterator[tuple[str, Scalar, Words]]:
    if request.ttl is None:
        return
    timeout = request.boot_timeout
    if timeout is not None and request.ttl <= timeout:
        words = Words(
            f"{span(request.ttl)} are over before the boot timeout, {span(timeout)}",
            "give a longer time to live, or a shorter boot timeout",
        )
        yield "ttl", request.ttl, words
    elif request.ttl <= boot_seconds:
        words = Words(
            f"{span(request.ttl)} are over before an instance is up, which takes about {span(boot_seconds)}",
            "give a longer time to live",
        )
        yield "ttl", request.ttl, words
