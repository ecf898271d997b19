"""Is the token any good? Asked before a stack starts, because every later answer would say the same, more slowly."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from pydantic import SecretStr

from api_client import LinodeClient, LinodeError, Rejected, Throttled, Unauthorized
from nodewright.failures import BadInput, NotReached
from nodewright.settings import Settings

WRITE_INSTANCES: Final = "linodes:read_write"
NAME: Final = "LINODE_TOKEN"
EVERYTHING: Final = "*"
UNKNOWN: Final = "unknown"
_WORDS_OF_A_LACKING_SCOPE: Final = "not authorized to use this endpoint"


@dataclass(frozen=True)
class Verdict:
    """What the API said about the token: nothing is wrong, unless one of these is set."""

    fault: str | None = None
    """Why nothing can be created with it."""
    warning: str | None = None
    """Why it could not be checked."""


def check_token(settings: Settings) -> Verdict:
    """Ask the API about the token; a fault is final, a warning is not.

    Raises:
        BadInput: there is no token.

    """
    if settings.token is None:
        raise BadInput(
            "LINODE_TOKEN: no token is set; make one at https://cloud.linode.com/profile/tokens with the scope "
            "Linodes: Read/Write, or try `nodewright demo`, which needs none"
        )
    return check(settings.token, settings.api_url)


def check(token: SecretStr, api_url: str, *, name: str = NAME) -> Verdict:
    """Ask the API about a token; ``name`` is what the fault calls it."""
    with LinodeClient(token, base_url=api_url) as client:
        try:
            return judge(client.profile().scopes, name=name)
        except Unauthorized as error:
            return judge_refusal(error.scopes, str(error), name=name)
        except (Rejected, Throttled) as error:
            return Verdict(warning=f"the token could not be checked: {error}")
        except LinodeError as error:
            return Verdict(warning=f"{api_url} cannot be reached: {error}")


def linode_account(token: SecretStr, api_url: str) -> str | None:
    """Return the id that Linode gave the token's account; None: the token lacks the scope ``account:read_only``.

    Raises:
        NotReached: the API gave no clear answer.

    """
    with LinodeClient(token, base_url=api_url) as client:
        try:
            return client.account().value.euuid
        except Unauthorized:
            return None
        except LinodeError as error:
            raise NotReached(f"{api_url} did not say which account the token belongs to: {error}") from None


def judge(scopes: Collection[str] | None, *, name: str = NAME) -> Verdict:
    """Return the verdict on a token whose call succeeded, by its scopes (None: the API did not say)."""
    if scopes is None:
        return Verdict()
    if UNKNOWN in scopes:
        return Verdict(f"{name}: the API does not know this token; make a new one (unauthorized)")
    if EVERYTHING in scopes or WRITE_INSTANCES in scopes:
        return Verdict()
    return Verdict(
        f"{name}: the token lacks the scope {WRITE_INSTANCES} (it has: {' '.join(sorted(scopes)) or 'none'}); "
        "make one with Linodes: Read/Write (missing_scope)"
    )


def judge_refusal(scopes: Collection[str] | None, words: str, *, name: str = NAME) -> Verdict:
    """Return the verdict on a token that was answered 401: that may merely mean that it may not read a profile."""
    if _WORDS_OF_A_LACKING_SCOPE in words and UNKNOWN not in (scopes or ()):
        return judge(scopes, name=name)
    return Verdict(f"{name}: the API refuses this token; is it complete and not expired? (unauthorized)")
