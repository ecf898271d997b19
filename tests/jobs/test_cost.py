from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.catalog import Catalog, Price
from jobs.cost import format_usd, job_price

CATALOG = Catalog.from_rows(
    types=[
        {
            "id": "g6-nanode-1",
            "price": {"hourly": 0.0075, "monthly": 5.0},
            "region_prices": [{"id": "br-gru", "hourly": 0.0105, "monthly": 7.0}],
            "addons": {
                "backups": {
                    "price": {"hourly": 0.003, "monthly": 2.0},
                    "region_prices": [{"id": "br-gru", "hourly": 0.004, "monthly": 2.8}],
                }
            },
        }
    ],
    regions=[],
    images=[],
    availability=[],
    version="v1",
    fetched_at=datetime(2026, 1, 1, tzinfo=UTC),
)
NANODE = CATALOG.types["g6-nanode-1"]


@pytest.mark.parametrize(
    ("region", "backups", "price"),
    [
        ("us-east", False, Price(7500, 5_000_000)),
        ("us-east", True, Price(10_500, 7_000_000)),
        ("br-gru", False, Price(10_500, 7_000_000)),
        ("br-gru", True, Price(14_500, 9_800_000)),
    ],
)
def test_price_of_one_instance(region, backups, price):
    """One instance costs its region's price, and its region's backups where they are wanted."""
    assert job_price(NANODE, region=region, backups=backups) == price


@pytest.mark.parametrize(
    ("microusd", "text"),
    [
        (0, "$0.00"),
        (7500, "$0.0075"),
        (300_000, "$0.30"),
        (1, "$0.000001"),
        (1_234_500_000, "$1,234.50"),
        (-5_000_000, "-$5.00"),
    ],
)
def test_format_usd(microusd, text):
    """Amounts have two decimals, and more only where they matter."""
    assert format_usd(microusd) == text


@given(st.integers(min_value=-(10**18), max_value=10**18))
def test_format_usd_is_exact(microusd):
    """Whatever the amount, its text means exactly the same."""
    assert Decimal(format_usd(microusd).replace("$", "").replace(",", "")) * 1_000_000 == microusd
