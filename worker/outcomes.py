"""What a create came to: a closed set of outcomes, and the pure reading of the API's answer into one of them.

Any reply that is not named here is :class:`Unknown`: only what is surely a no may end a job.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from api_client import (
    BadRequest,
    Forbidden,
    Instance,
    LinodeError,
    NotSent,
    RateInfo,
    Reason,
    ServerFault,
    Throttled,
    Unauthorized,
)
from jobs.transitions import InstanceFacts
from jobs.transitions import Reason as Why
from jobs.windows import RateFacts

NO_CAPACITY_WORDS: Final = ("capacity", "currently unavailable in this region", "sold out")
"""The API's words for a region without capacity are not known; these are our guess."""
_PLAN_LIMITS: Final = (
    "a limit on your account is preventing",
    "you've reached the limit for the number of active vcpus",
)
_CODES: Final = {
    "type": "unknown_type",
    "region": "unknown_region",
    "image": "unknown_image",
    "label": "invalid_label",
}


@dataclass(frozen=True)
class Created:
    """The API answered 200 with an instance."""

    facts: InstanceFacts


@dataclass(frozen=True)
class Refused:
    """A definite no: it is not sent again as it is."""

    why: Why


@dataclass(frozen=True)
class LabelInUse:
    """The API says that the label is not unique. It may be ours: that is always looked up."""

    why: Why


@dataclass(frozen=True)
class Limited:
    """429: the window was spent."""

    facts: RateFacts


@dataclass(frozen=True)
class Unsent:
    """It never left this machine."""

    why: Why
    ours: bool = False
    """Whether we held it back ourselves (a stale send), which says nothing about the API."""


@dataclass(frozen=True)
class Paused:
    """The account takes no creates, whatever the job."""

    why: Why


@dataclass(frozen=True)
class Unknown:
    """It may have been applied."""

    why: Why
    fault: bool
    """Whether the API itself seems to fail (5xx), so that creates had better go one by one for a while."""


Outcome = Created | Refused | LabelInUse | Limited | Unsent | Paused | Unknown


def facts_of(instance: Instance) -> InstanceFacts:
    """Return what we keep of an instance."""
    return InstanceFacts(
        linode_id=instance.id,
        ipv4=instance.ipv4[0] if instance.ipv4 else None,
        ipv6=instance.ipv6,
        type=instance.type,
        region=instance.region,
    )


def rate_facts(rate: RateInfo) -> RateFacts:
    """Return what the headers say, with the reset as seconds from the reply by the server's own clock."""
    both = rate.reset is not None and rate.date is not None
    left = rate.reset - rate.date if both and rate.reset is not None and rate.date is not None else None
    return RateFacts(
        allowed=rate.limit,
        remaining=rate.remaining,
        retry_after=rate.retry_after,
        reset_seconds=left if left is not None and left >= 0 else None,
    )


def _words(reasons: Sequence[Reason], otherwise: str) -> str:
    return "; ".join(str(reason) for reason in reasons) or otherwise


def read_error(error: LinodeError, *, no_capacity_words: Sequence[str] = NO_CAPACITY_WORDS) -> Outcome:
    """Return the outcome that an error of ``POST /linode/instances`` means."""
    words = _words(error.errors, error.detail.summary)
    if isinstance(error, NotSent):
        return Unsent(Why("not_sent", words))
    if isinstance(error, Throttled):
        return Limited(rate_facts(error.rate))
    if isinstance(error, Unauthorized | Forbidden):
        scope = any("not authorized to use this endpoint" in reason.lower() for reason in error.reasons)
        return Paused(Why("missing_scope" if scope else "unauthorized", words))
    if isinstance(error, BadRequest):
        return _read_refusal(error.errors, words, no_capacity_words)
    return Unknown(Why("outcome_unknown", words), fault=isinstance(error, ServerFault))


def _read_refusal(errors: Sequence[Reason], words: str, no_capacity_words: Sequence[str]) -> Outcome:
    said = words.lower()
    first = errors[0] if errors else Reason(words, None)
    if "must be unique" in said and "label" in said:
        return LabelInUse(Why("label_taken", words, "label"))
    if "linode busy" in said:
        return Unknown(Why("outcome_unknown", words), fault=False)
    if "account limit reached" in said:
        return Paused(Why("account_limit", words))
    if any(limit in said for limit in _PLAN_LIMITS):
        return Refused(Why("account_limit", words, first.field))
    if any(guess in said for guess in no_capacity_words):
        return Refused(Why("no_capacity", words, first.field))
    if any("password does not meet" in reason.reason.lower() for reason in errors):
        return Refused(Why("weak_password", words, "root_pass"))
    return Refused(Why(_code(first), words, first.field))


def _code(first: Reason) -> str:
    said = first.reason.lower()
    known = "not valid" in said or "not found" in said or first.field == "label"
    return _CODES.get(first.field or "", "rejected_by_api") if known else "rejected_by_api"
