"""A fleet by Celery: a task sent by name, without importing anything of Nodewright's.

BROKER_URL says where the broker is. A broker can lose a message, so the contract is: accepted is what
`GET /v1/fleets/ID` answers; until then send it again. The id is chosen here, once, and kept with whatever the fleet is
for: a message that is sent or delivered twice is one fleet.
"""

import os
import sys
import uuid

from celery import Celery


def main(name: str) -> None:
    """Send a fleet of two and print its id."""
    document = {
        "fleet_id": str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{name}.example.com")),
        "name": name,
        "count": 2,
        "type": "g6-nanode-1",
        "region": "us-east",
        "image": "linode/debian12",
    }
    app = Celery("shop", broker=os.environ["BROKER_URL"], set_as_current=False)
    for _ in range(2):  # twice on purpose
        app.send_task("nodewright.submit", args=[document], queue="nodewright", ignore_result=True)
    print(document["fleet_id"])


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "celery-example")
