"""What a fleet costs, from the catalog: whole micro-USD, region prices and backups included.

An hour is what Linode bills, a month is its cap (the type's `price`, `region_prices` and `addons.backups`).
"""

import math
from datetime import datetime

from jobs.catalog import PlanType, Price


def job_price(plan: PlanType, *, region: str, backups: bool = False) -> Price:
    """Return the price of one instance of a plan in a region, in micro-USD."""
    price = plan.prices.at(region)
    return price + plan.backups.at(region) if backups else price


def format_usd(microusd: int) -> str:
    """Return an amount as people write it: `$1,234.50`, and `$0.0075` where cents are too coarse."""
    sign = "-" if microusd < 0 else ""
    dollars, micros = divmod(abs(microusd), 1_000_000)
    fraction = f"{micros:06d}".rstrip("0").ljust(2, "0")
    return f"{sign}${dollars:,}.{fraction}"


def cost_of(hourly_microusd: int, since: datetime, until: datetime) -> int:
    """Return what an instance costs from ``since`` to ``until``, in micro-dollars. Each hour begun is a whole one."""
    hours = max(1, math.ceil((until - since).total_seconds() / 3600))
    return hours * hourly_microusd
