"""Secrets that are given again: erased when the fleet's last create was over, and needed by a new attempt."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from jobs.credentials import Secrets
from jobs.requests import (
    GIVEN_SECRETS,
    INVALID_REQUEST,
    SECRET_FIELDS,
    InvalidRequest,
    RequestFault,
    parse_request,
)
from jobs.validation import secret_problems
from jobs.vault import UnreadableSecretError, Vault

CREDENTIALS_ERASED: Final = "credentials_erased"
_SHELL: Final = {"name": "again", "type": "t", "region": "r", "image": "i"}


@dataclass(frozen=True)
class Given:
    """Secrets of one group, or (None) of each group that lacks them, by field name."""

    group: int | None
    secrets: Mapping[str, Any] = field(repr=False)


def read_given(documents: Sequence[Mapping[str, Any]]) -> tuple[Given, ...]:
    """Read what somebody gives again: `group`, and any of `root_pass`, `user_data`, `stackscript_data`.

    Raises:
        InvalidRequest: every fault, with pointers below `/secrets`; it holds no secret.

    """
    found, faults = [], []
    for number, document in enumerate(documents):
        try:
            found.append(_read(document))
        except InvalidRequest as error:
            faults += [_moved(fault, number) for fault in error.faults]
    if faults:
        raise InvalidRequest(faults)
    return tuple(found)


def _read(document: Mapping[str, Any]) -> Given:
    secrets = {name: value for name, value in document.items() if name in SECRET_FIELDS and value is not None}
    script = {"stackscript_id": 1} if "stackscript_data" in secrets else {}
    group = parse_request({**_SHELL, **script, **secrets}).groups[0]
    faults = [
        _fault(name, problem.message, problem.remedy, code=problem.code)
        for name, problem in secret_problems(group)
    ]
    if faults or not secrets:
        names = ", ".join(sorted(SECRET_FIELDS))
        raise InvalidRequest(faults or [_fault("", "gives no secret", f"give one of {names}")])
    return Given(document.get("group"), group.secrets())


def _moved(fault: RequestFault, number: int) -> RequestFault:
    inside = f".{fault.field}" if fault.field else ""
    return replace(
        fault, pointer=f"/secrets/{number}{fault.pointer}", field=f"secrets[{number}]{inside}", group=None
    )


def _fault(name: str, message: str, remedy: str, *, code: str = INVALID_REQUEST) -> RequestFault:
    pointer = f"/{name}" if name else ""
    return RequestFault(code=code, pointer=pointer, field=name, message=message, remedy=remedy)


class Keyring:
    """The secrets of a fleet's groups: those that are kept, and those that were erased and are given again.

    Args:
        groups: the fleet's groups as stored.
        sealed: its secrets as stored.
        vault: opens and seals; None: there is no key.
        given: what is given again.

    Raises:
        InvalidRequest: something is given that no group lacks.

    """

    def __init__(
        self,
        groups: Sequence[Mapping[str, Any]],
        sealed: bytes | None,
        vault: Vault | None,
        given: Sequence[Given],
    ) -> None:
        self._vault = vault
        self._wanted = [set(group.get(GIVEN_SECRETS, ())) for group in groups]
        self._kept = _opened(sealed, vault)
        self._new: Secrets = {}
        faults = [fault for number, one in enumerate(given) for fault in self._take(number, one)]
        if faults:
            raise InvalidRequest(faults)

    def missing(self, group: int) -> list[str]:
        """Return the secrets that a group was given once and that nobody has any more."""
        there = {**self._kept.get(str(group), {}), **self._new.get(str(group), {})}
        return sorted(self._wanted[group] - set(there))

    def sealed(self) -> dict[str, Any]:
        """Return the fleet's columns with what was given again; empty where nothing was."""
        if not self._new or self._vault is None:
            return {}
        whole = dict(self._kept)
        for group, secrets in self._new.items():
            whole[group] = {**whole.get(group, {}), **secrets}
        lacking = any(self.missing(group) for group in range(len(self._wanted)))
        return {"sealed": self._vault.seal(whole), "secrets_erased": lacking}

    def _take(self, number: int, one: Given) -> Iterator[RequestFault]:
        groups = range(len(self._wanted)) if one.group is None else [one.group]
        if one.group is not None and one.group not in range(len(self._wanted)):
            message = f"there is no group {one.group}; the fleet has {len(self._wanted)}, counted from 0"
            yield _moved(_fault("group", message, "correct it"), number)
            return
        used: set[str] = set()
        for group in groups:
            fitting = set(one.secrets) & set(self.missing(group))
            if fitting:
                self._new.setdefault(str(group), {}).update({name: one.secrets[name] for name in fitting})
            used |= fitting
        remedy = "leave it out: a new attempt sends what the fleet was submitted with"
        for name in sorted(set(one.secrets) - used):
            yield _moved(_fault(name, "was not given with the fleet, or is still kept", remedy), number)


def _opened(sealed: bytes | None, vault: Vault | None) -> Secrets:
    if sealed is None or vault is None:
        return {}
    try:
        return vault.open(sealed)
    except UnreadableSecretError:
        return {}
