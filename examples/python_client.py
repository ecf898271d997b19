"""A fleet by the Python client: plan, submit, follow, list.

NODEWRIGHT_URL and NODEWRIGHT_API_KEY say where the service is; without them it is this machine's own stack.
"""

import sys

from nodewright import Client


def main(name: str) -> None:
    """Make a fleet of two and print what becomes of it."""
    document = {
        "name": name,
        "count": 2,
        "type": "g6-nanode-1",
        "region": "us-east",
        "image": "linode/debian12",
    }
    with Client() as client:
        plan = client.plan(document)
        print(f"{plan.verdict}: {plan.hourly_usd:.4f} USD an hour")
        # The name as key: whoever runs this twice gets the same fleet.
        fleet = client.submit(document, idempotency_key=name).fleet
        for event in client.events(fleet.id):
            print(f"{event.at} {event.label}: {event.event}")
        print(dict(client.wait(fleet.id).states))
        for job in client.jobs(fleet=fleet.id):
            print(job.label, job.state, job.ipv4)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "python-example")
