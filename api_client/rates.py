"""Rate-limit headers as a value; what is missing or absurd becomes None, never an error.

Source of the facts: the recorded replies described in the project's API notes. `Retry-After` comes on every
reply, success included, and headers such as `X-RateLimit-Reset: -1` or `Retry-After: -1509450059` were seen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

DAY_SECONDS = 86_400.0
HIGHEST_LIMIT = 1_000_000

_WHOLE_NUMBER = re.compile(r"[0-9]{1,12}")


@dataclass(frozen=True, slots=True)
class RateInfo:
    """What one reply says about the rate window it drew on; None means unknown.

    limit: calls per window, at least 1.
    remaining: calls left in the window, 0 up to the limit.
    reset: when the window ends, in epoch seconds by the server's clock.
    retry_after: seconds until the window ends, 0 up to a day. On a 2xx it is no throttling.
    date: the server's clock when it answered (`Date` header), in epoch seconds.
    """

    limit: int | None = None
    remaining: int | None = None
    reset: float | None = None
    retry_after: float | None = None
    date: float | None = None


UNKNOWN_RATE = RateInfo()


def parse_rate(headers: Mapping[str, str], *, now: float) -> RateInfo:
    """Read the rate headers of a reply; never raises.

    `headers` must look names up without regard to case or hold lower-case names. `now` is our own clock in
    epoch seconds; it is used only to judge a reset when the server sent no usable `Date`.
    """
    date = _date(headers.get("date"))
    limit = _limit(headers.get("x-ratelimit-limit"))
    return RateInfo(
        limit=limit,
        remaining=_remaining(headers.get("x-ratelimit-remaining"), limit),
        reset=_reset(headers.get("x-ratelimit-reset"), now if date is None else date),
        retry_after=_retry_after(headers.get("retry-after")),
        date=date,
    )


def _whole(text: str | None) -> int | None:
    stripped = (text or "").strip()
    return int(stripped) if _WHOLE_NUMBER.fullmatch(stripped) else None


def _limit(text: str | None) -> int | None:
    number = _whole(text)
    return number if number is not None and 1 <= number <= HIGHEST_LIMIT else None


def _remaining(text: str | None, limit: int | None) -> int | None:
    number = _whole(text)
    highest = HIGHEST_LIMIT if limit is None else limit
    return number if number is not None and number <= highest else None


def _reset(text: str | None, reference: float) -> float | None:
    number = _whole(text)
    return float(number) if number is not None and abs(number - reference) <= DAY_SECONDS else None


def _retry_after(text: str | None) -> float | None:
    number = _whole(text)
    return float(number) if number is not None and number <= DAY_SECONDS else None


def _date(text: str | None) -> float | None:
    if not text:
        return None
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None
