"""``nodewright keys``: who may use the HTTP service, and for what."""

import sys
from dataclasses import asdict
from datetime import timedelta
from random import SystemRandom
from typing import Annotated, Any, Final

import typer

from jobs import keys
from jobs.keys import KeyView
from nodewright.cli.offices import day, known_tenant, moment, opened
from nodewright.cli.options import Json
from nodewright.cli.output import console, grid, print_json
from nodewright.failures import BadInput
from nodewright.wiring import TENANT

USUAL_SCOPES: Final = "submit,read,operate"
LONGEST_NAME: Final = 64

Name = Annotated[str, typer.Option(metavar="NAME", help="What the key is for, such as the service's name.")]
Tenant = Annotated[str, typer.Option(metavar="TENANT", help="The tenant that the key stands for.")]
OneTenant = Annotated[str | None, typer.Option(metavar="TENANT", help="Only this tenant's keys.")]
Scopes = Annotated[
    str,
    typer.Option(
        metavar="A,B",
        help="What the key may do: `submit` fleets, `read` its tenant's, `operate` (cancel, destroy, pause, resolve, "
        "webhooks), `admin` (see the whole installation's numbers and alarms, pause an account or everything), "
        "`metrics` (read `/metrics`, and nothing else). "
        f"Default: {USUAL_SCOPES}.",
    ),
]
Days = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, max=3650, help="Valid for so many days. Default: until it is revoked."),
]
KeyId = Annotated[
    str, typer.Argument(metavar="KEY", help="The key's visible prefix, as `keys list` shows it.")
]


def create(
    *,
    name: Name,
    tenant: Tenant = TENANT,
    scopes: Scopes = USUAL_SCOPES,
    days: Days = None,
    json: Json = False,
) -> None:
    """Make a key and print it: the only time that it is shown.

    The key alone goes to standard output, what is to be known of it to standard error.
    """
    wanted = _scopes(scopes)
    with opened() as (_, database):
        with database.read() as tx:
            known_tenant(tx, tenant)
        lifetime = None if days is None else timedelta(days=days)
        key = keys.create_key(
            database, tenant=tenant, name=_name(name), dice=SystemRandom(), scopes=wanted, lifetime=lifetime
        )
        with database.read() as tx:
            made = keys.find_key(tx, keys.key_id(key))
    if json:
        print_json({"key": key, **({} if made is None else _document(made))})
        return
    until = (
        "until it is revoked"
        if made is None or made.expires_at is None
        else f"until {moment(made.expires_at)}"
    )
    sys.stderr.write(
        f"A key of tenant {tenant} for {', '.join(wanted)}, valid {until}. It is not shown again:\n"
    )
    console().print(key)


def _scopes(text: str) -> tuple[str, ...]:
    asked = [part.strip() for part in text.split(",") if part.strip()]
    unknown = [scope for scope in asked if scope not in keys.SCOPES]
    if unknown or not asked:
        got = unknown[0] if unknown else text
        raise BadInput(f"--scopes: expected some of {', '.join(keys.SCOPES)}, with commas, got {got!r}")
    return tuple(scope for scope in keys.SCOPES if scope in asked)


def _name(name: str) -> str:
    if not name.strip() or len(name) > LONGEST_NAME or not name.isprintable():
        raise BadInput(f"--name: expected 1 to {LONGEST_NAME} printable characters, got {name[:80]!r}")
    return name.strip()


def list_(*, tenant: OneTenant = None, json: Json = False) -> None:
    """List keys: prefix, tenant, scopes, state and last use."""
    with opened() as (_, database), database.read() as tx:
        found = keys.list_keys(tx, tenant=None if tenant is None else known_tenant(tx, tenant))
    if json:
        print_json({"keys": [_document(key) for key in found]})
        return
    table = grid("KEY", "NAME", "TENANT", "SCOPES", "STATE", "USED", "EXPIRES")
    for key in found:
        used, expires = day(key.used_at, "never"), day(key.expires_at, "never")
        table.add_row(key.id, key.name, key.tenant, " ".join(key.scopes), key.state, used, expires)
    console().print(table)


def revoke(key: KeyId, *, json: Json = False) -> None:
    """Revoke a key: from the next request on it opens nothing."""
    prefix = "_".join(key.split("_")[:2])  # whoever types all of it means the same
    with opened() as (_, database):
        revoked = keys.revoke(database, prefix)
        with database.read() as tx:
            found = keys.find_key(tx, prefix)
    if found is None:
        raise BadInput(f"there is no key {prefix[:20]!r}; `nodewright keys list` shows them")
    if json:
        print_json(_document(found))
    else:
        console().print(
            f"Key {prefix} of tenant {found.tenant} {'is' if revoked else 'was already'} revoked."
        )


def _document(key: KeyView) -> dict[str, Any]:
    moments = ("created_at", "expires_at", "revoked_at", "used_at")
    return {
        **asdict(key),
        "scopes": list(key.scopes),
        **{name: moment(getattr(key, name)) for name in moments},
    }
