"""How costs are shown: what was paid so far, what of it for instances that failed, and what an hour costs now."""

from nodewright.cli.output import console, grid, print_json
from nodewright.cli.plans import money
from nodewright.client import Fleet, Job, Spending


def cost_line(thing: Fleet | Job) -> str:
    """Return ``$1.50, $0.01 of it for what failed; $0.30 an hour``."""
    wasted = f", {money(thing.wasted_usd)} of it for what failed" if thing.wasted_usd else ""
    return f"{money(thing.spent_usd)}{wasted}; {money(thing.hourly_usd)} an hour"


def print_spend(found: Spending, *, json: bool) -> None:
    """Print what tenants and fleets have cost so far."""
    if json:
        print_json(found.to_json())
        return
    right = ["INSTANCES", "PER HOUR", "SO FAR", "FOR FAILED"]
    several = len(found.tenants) > 1
    table = grid(*(["TENANT"] if several else []), "FLEET", *right, right=right)
    for fleet in found.fleets:
        amounts = (money(fleet.hourly_usd), money(fleet.spent_usd), money(fleet.wasted_usd))
        table.add_row(*([fleet.tenant] if several else []), fleet.name, str(fleet.instances), *amounts)
    table.add_section()
    for tenant in found.tenants:
        amounts = (money(tenant.hourly_usd), money(tenant.spent_usd), money(tenant.wasted_usd))
        table.add_row(
            *([tenant.tenant] if several else []), "all fleets", str(tenant.instances), *amounts, style="bold"
        )
    console().print(table)
