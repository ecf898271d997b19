"""Who a job is, to us and to the API: ids that are never issued twice, and the tags that prove ownership."""

import re
from dataclasses import dataclass
from datetime import datetime
from random import Random
from uuid import UUID

_JOB_TAG = re.compile(r"nw:([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.([1-9][0-9]*)")


def new_id(now: datetime, dice: Random) -> str:
    """Return a UUIDv7 (RFC 9562): 48 bits of milliseconds, then 74 random bits.

    Version 7 sorts by age, and a database that was restored from a backup never issues one again.
    Python has ``uuid.uuid7`` only from 3.14 on.
    """
    milliseconds = int(now.timestamp() * 1000) & (2**48 - 1)
    value = milliseconds << 80 | 0x7 << 76 | dice.getrandbits(12) << 64 | 0b10 << 62 | dice.getrandbits(62)
    return str(UUID(int=value))


def new_ids(count: int, now: datetime, dice: Random) -> list[str]:
    """Return UUIDv7s that sort in the order in which they are listed, so that a fleet's jobs keep their order.

    All carry one millisecond; the 74 random bits grow by random steps (RFC 9562, monotonic random).
    """
    milliseconds = int(now.timestamp() * 1000) & (2**48 - 1)
    random = dice.getrandbits(72)
    ids = []
    for _ in range(count):
        random += dice.getrandbits(48) + 1
        high, low = random >> 62 & 0xFFF, random & (2**62 - 1)
        ids.append(str(UUID(int=milliseconds << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low)))
    return ids


def new_installation_id(dice: Random) -> str:
    """Return twelve hexadecimal digits: short, because the tag that carries it has at most 50 characters."""
    return f"{dice.getrandbits(48):012x}"


def installation_tag(installation: str) -> str:
    """Return the tag that every instance of this installation carries."""
    return f"nodewright:{installation}"


@dataclass(frozen=True)
class AttemptTag:
    """Proof that an instance is the work of this attempt of this job."""

    job_id: str
    attempt: int

    def __str__(self) -> str:
        """Return the tag as the API stores it (at most 50 characters)."""
        return f"nw:{self.job_id}.{self.attempt}"


def parse_attempt_tags(tags: list[str] | tuple[str, ...]) -> list[AttemptTag]:
    """Return every attempt tag among ``tags``; anything else is left out."""
    matches = (_JOB_TAG.fullmatch(tag) for tag in tags)
    return [AttemptTag(match[1], int(match[2])) for match in matches if match]
