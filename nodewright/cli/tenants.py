"""``nodewright tenants``: who submits, and within which guards."""

from dataclasses import asdict
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Final

import typer

from jobs import accounts, tenants
from jobs.cost import format_usd
from jobs.database import Transaction
from jobs.fleets import Guards
from jobs.tenants import TenantView
from nodewright.cli.offices import checked_name, known_tenant, moment, opened
from nodewright.cli.options import Json
from nodewright.cli.output import console, grid, print_json
from nodewright.failures import BadInput

RESET: Final = "default"
_MICRO: Final = 1_000_000
_MOST: Final = 1_000_000

TenantId = Annotated[str, typer.Argument(metavar="TENANT", help="The tenant's name.")]
Weight = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=1, max=1000, help="Its share of each rate window, beside the others'. Default: 1."
    ),
]
MaxCount = Annotated[
    str | None,
    typer.Option(metavar="N", help=f"Jobs per fleet; `{RESET}`: what NODEWRIGHT_MAX_COUNT says."),
]
MaxInstances = Annotated[
    str | None,
    typer.Option(
        metavar="N", help=f"Instances alive or on their way; `{RESET}`: what NODEWRIGHT_MAX_INSTANCES says."
    ),
]
MaxHourlyUsd = Annotated[
    str | None,
    typer.Option(
        metavar="USD",
        help=f"US dollars an hour, all together; `{RESET}`: what NODEWRIGHT_MAX_HOURLY_USD says.",
    ),
]
AccountNames = Annotated[
    list[str] | None,
    typer.Option(
        "--account",
        metavar="ACCOUNT",
        help="An account that its new jobs may go to; may be repeated. Default: the account `default`.",
    ),
]


def add(
    tenant: TenantId,
    *,
    weight: Weight = None,
    max_count: MaxCount = None,
    max_instances: MaxInstances = None,
    max_hourly_usd: MaxHourlyUsd = None,
    account: AccountNames = None,
    json: Json = False,
) -> None:
    """Add a tenant. Its keys are made by `nodewright keys create --tenant`."""
    values = _values(weight, max_count, max_instances, max_hourly_usd)
    with opened() as (wiring, database), database.write() as tx:
        if not tenants.add(tx, checked_name(tenant, "TENANT")):
            raise BadInput(f"there is a tenant {tenant!r} already; `nodewright tenants set` changes it")
        found = _changed(tx, tenant, values, account)
        guards = wiring.guards
    _show([found], guards, json=json)


def set_(
    tenant: TenantId,
    *,
    weight: Weight = None,
    max_count: MaxCount = None,
    max_instances: MaxInstances = None,
    max_hourly_usd: MaxHourlyUsd = None,
    account: AccountNames = None,
    json: Json = False,
) -> None:
    """Change what is given of a tenant: its weight, its guards, its accounts (all of them anew).

    It holds for what is submitted from then on. A guard below what the tenant holds takes nothing away.
    """
    values = _values(weight, max_count, max_instances, max_hourly_usd)
    if not values and account is None:
        raise BadInput("nothing to change; give at least one of the options")
    with opened() as (wiring, database), database.write() as tx:
        found = _changed(tx, known_tenant(tx, tenant), values, account)
        guards = wiring.guards
    _show([found], guards, json=json)


def list_(*, json: Json = False) -> None:
    """List tenants: what they hold, of how much, and their accounts."""
    with opened() as (wiring, database), database.write() as tx:
        found = tenants.list_tenants(tx)
        guards = wiring.guards
    _show(found, guards, json=json)


def _values(weight: int | None, count: str | None, instances: str | None, usd: str | None) -> dict[str, Any]:
    given: dict[str, Any] = {} if weight is None else {"weight": weight}
    for name, option, text in (
        ("max_count", "--max-count", count),
        ("max_instances", "--max-instances", instances),
    ):
        if text is not None:
            given[name] = None if text == RESET else _whole(option, text)
    if usd is not None:
        given["max_hourly_microusd"] = None if usd == RESET else _microusd(usd)
    return given


def _whole(option: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text[:12]) <= _MOST):
        raise BadInput(f"{option}: expected a whole number from 0 to {_MOST}, or `{RESET}`, got {text!r}")
    return int(text)


def _microusd(text: str) -> int:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal("nan")
    if not amount.is_finite() or not 0 <= amount <= _MOST:
        raise BadInput(f"--max-hourly-usd: expected an amount such as 50 or 2.50, or `{RESET}`, got {text!r}")
    return int(amount * _MICRO)


def _changed(tx: Transaction, tenant: str, values: dict[str, Any], names: list[str] | None) -> TenantView:
    tenants.change(tx, tenant, values)
    if names is not None:
        for name in names:
            if name != tenants.DEFAULT_ACCOUNT and not accounts.exists(tx, name):
                raise BadInput(
                    f"--account: there is no account {name!r}; `nodewright accounts list` shows them"
                )
        tenants.map_accounts(tx, tenant, tuple(names))
    return tenants.view(tx, tenant)


def _show(found: list[TenantView], guards: Guards, *, json: bool) -> None:
    if json:
        print_json({"tenants": [_document(tenant, guards) for tenant in found]})
        return
    table = grid("TENANT", "WEIGHT", "ALIVE", "SPEND/HOUR", "PER FLEET", "ACCOUNTS", right=["WEIGHT"])
    for tenant in found:
        most = guards.laid_over(tenant)
        alive = f"{tenant.alive} of {most.max_instances}"
        spend = f"{format_usd(tenant.hourly_microusd)} of {format_usd(most.max_hourly_microusd)}"
        cells = (tenant.id, str(tenant.weight), alive, spend, str(most.max_count), ", ".join(tenant.accounts))
        table.add_row(*cells)
    console().print(table)


def _document(tenant: TenantView, guards: Guards) -> dict[str, Any]:
    return {
        **asdict(tenant),
        "accounts": list(tenant.accounts),
        "created_at": moment(tenant.created_at),
        "holds": asdict(guards.laid_over(tenant)),
    }
