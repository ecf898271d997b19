"""A fleet within the caller's own transaction: an order and its machines are committed together, or neither.

It runs in Nodewright's own database, as NODEWRIGHT_HOME or NODEWRIGHT_DATABASE_URL say, and imports Nodewright's rooms:
it is for programs that have no package called `jobs` or `worker`. Others write an outbox, or use the client.
"""

import sys

from sqlalchemy import text

from jobs.requests import parse_request
from nodewright.inprocess import open_service


class PaymentFailed(Exception):  # noqa: N818 - the shop's own words
    """The shop does not get its money."""


def order(name: str, *, paid: bool) -> None:
    """Take an order and submit its fleet, both or neither."""
    document = {
        "name": name,
        "count": 2,
        "type": "g6-nanode-1",
        "region": "us-east",
        "image": "linode/debian12",
    }
    with open_service() as service, service.transaction() as connection:
        connection.execute(text("CREATE TABLE IF NOT EXISTS shop_orders (name TEXT)"))
        connection.execute(text("INSERT INTO shop_orders VALUES (:name)"), {"name": name})
        accepted = service.submit_in(
            connection, parse_request(document), tenant="default", actor="shop", idempotency_key=name
        )
        if not paid:
            raise PaymentFailed
    print(accepted.fleet.id)


def main(name: str) -> None:
    """Take one order that is paid, and one that is not."""
    order(name, paid=True)
    try:
        order(f"{name}-unpaid", paid=False)
    except PaymentFailed:
        print("not paid: no order, no fleet")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "joined-example")
