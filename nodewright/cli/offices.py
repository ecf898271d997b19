"""What the operator's commands share: they work on the database itself, beside any service."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from jobs import tenants
from jobs.database import Database, Transaction
from nodewright.failures import BadInput
from nodewright.settings import Settings
from nodewright.wiring import Wiring


@contextmanager
def opened(*, secrets: bool = False) -> Iterator[tuple[Wiring, Database]]:
    """Open the database that the settings name. ``secrets``: it will be asked for some, or given some.

    Raises:
        BadInput: it is at another version, or is shared while the keys to its secrets are not.
        NotReached: it does not answer.

    """
    wiring = Wiring(Settings.load())
    with wiring.current_database() if secrets else wiring.migrated_database() as database:
        yield wiring, database


def checked_name(name: str, what: str) -> str:
    """Return ``name`` if a tenant or an account can be called so.

    Raises:
        BadInput: it cannot.

    """
    if not tenants.NAME.fullmatch(name):
        raise BadInput(
            f"{what}: expected 1 to 63 small letters, digits and hyphens, with none at the ends, got {name!r}"
        )
    return name


def known_tenant(tx: Transaction, tenant: str) -> str:
    """Return ``tenant`` if there is one of this name.

    Raises:
        BadInput: there is none.

    """
    if not tenants.exists(tx, tenant):
        raise BadInput(
            f"there is no tenant {tenant!r}; `nodewright tenants list` shows them, `add` makes one"
        )
    return tenant


def moment(value: datetime | None) -> str | None:
    """Return a moment as programs read it."""
    return None if value is None else value.isoformat(timespec="seconds").replace("+00:00", "Z")


def day(value: datetime | None, otherwise: str) -> str:
    """Return a moment as people read it, to the minute."""
    return otherwise if value is None else f"{value:%Y-%m-%d %H:%M}"
