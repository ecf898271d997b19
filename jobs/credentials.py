"""The secrets of a request on their way in: what is sealed with its fleet, and what of it the submitter is shown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from jobs.passwords import generate_password
from jobs.requests import FleetRequest

Secrets = dict[str, dict[str, Any]]
"""The secret fields of each group that has some, by its index as text: what is sealed."""


@dataclass(frozen=True)
class RootPassword:
    """A root password that was made for a group, for the eyes of its submitter."""

    group: int
    name: str | None
    root_pass: str = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able mapping. It holds the password."""
        return {"group": self.group, "name": self.name, "root_pass": self.root_pass}


def gather(request: FleetRequest, dice: Random) -> Secrets:
    """Return the request's secrets, with a password for each group that wants one made and revealed."""
    found = {}
    for position, group in enumerate(request.groups):
        secrets = group.secrets()
        if group.reveal_root_pass and group.image is not None:
            secrets["root_pass"] = generate_password(dice)
        if secrets:
            found[str(position)] = secrets
    return found


def revealed(groups: Sequence[Mapping[str, Any]], secrets: Secrets) -> tuple[RootPassword, ...]:
    """Return the passwords that were made to be revealed. ``groups``: as a row stores them, without secrets."""
    wanted = [position for position, group in enumerate(groups) if group.get("reveal_root_pass")]
    return tuple(
        RootPassword(position, groups[position].get("name"), secrets[str(position)]["root_pass"])
        for position in wanted
        if "root_pass" in secrets.get(str(position), {})
    )
