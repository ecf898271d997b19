"""``nodewright webhooks``: who is told of what happens, and what became of it."""

import sys
from itertools import islice
from typing import Annotated

import typer

from nodewright.answers import Delivery, Webhook
from nodewright.cli.options import Json, connect
from nodewright.cli.output import console, grid, print_json, program
from nodewright.failures import BadInput, Failure

Url = Annotated[
    str, typer.Argument(metavar="URL", help="Your endpoint: https, an address that the world can reach.")
]
WebhookId = Annotated[str, typer.Argument(metavar="WEBHOOK", help="Its id, as `webhooks list` shows it.")]
Kinds = Annotated[
    list[str] | None,
    typer.Option(
        "--kind",
        metavar="KIND",
        help="What to be told of, such as `job.failed` or `fleet.settled`; may be repeated. Default: all of it.",
    ),
]
State = Annotated[
    str | None, typer.Option(metavar="STATE", help="Only those `pending`, `delivered` or `dead`.")
]
Limit = Annotated[int, typer.Option(metavar="N", min=1, max=100_000, help="How many at most.")]
DeliveryId = Annotated[
    str | None, typer.Argument(metavar="DELIVERY", help="One delivery, by its id; or say `--dead`.")
]
Dead = Annotated[bool, typer.Option("--dead", help="Everything that was given up.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def add(url: Url, *, kind: Kinds = None, json: Json = False) -> None:
    """Add an endpoint and print its secret: the only time that it is shown.

    The secret alone goes to standard output, what is to be known of it to standard error.
    """
    with connect() as client:
        made = client.add_webhook(url, kind)
    if json:
        print_json(made.to_json())
        return
    sys.stderr.write(
        f"{made.webhook.url} is told of {', '.join(made.webhook.kinds)} from now on, as webhook {made.webhook.id}.\n"
        f"Try it: {program()} webhooks test {made.webhook.id}\n"
        "Its secret, which signs every delivery and is not shown again:\n"
    )
    console().print(made.secret)


def list_(*, json: Json = False) -> None:
    """List endpoints: what they are told of, what waits for them and what was given up."""
    with connect() as client:
        found = client.webhooks()
    if json:
        print_json({"webhooks": [one.to_json() for one in found]})
    elif found:
        console().print(_table(found))
    else:
        console().print(f"No webhooks yet. Add one: {program()} webhooks add --help")


def _table(found: list[Webhook]) -> object:
    table = grid("WEBHOOK", "URL", "STATE", "PENDING", "DEAD", "KINDS", right=["PENDING", "DEAD"])
    for one in found:
        state = one.state if one.disabled_reason is None else f"{one.state}: {one.disabled_reason}"
        table.add_row(one.id, one.url, state, str(one.pending), str(one.dead), ", ".join(one.kinds))
    return table


def rotate(webhook: WebhookId, *, json: Json = False) -> None:
    """Give an endpoint a new secret and print it: the only time that it is shown.

    For 24 hours the one before it signs too. After a leak rotate twice: the older one ends at once.
    """
    with connect() as client:
        made = client.rotate_webhook(webhook)
    if json:
        print_json(made.to_json())
        return
    sys.stderr.write(
        f"The secret before it signs too until {made.webhook.previous_until}. The new one, which is not shown again:\n"
    )
    console().print(made.secret)


def try_(webhook: WebhookId, *, json: Json = False) -> None:
    """Send a test to an endpoint, also to a disabled one: if it arrives, that is enabled again."""
    with connect() as client:
        made = client.test_webhook(webhook)
    if json:
        print_json({"delivery": made.to_json()})
    else:
        console().print(
            f"The test is sent within seconds. What came of it: {program()} webhooks deliveries {webhook}"
        )


def remove(webhook: WebhookId, *, yes: Yes = False, json: Json = False) -> None:
    """Remove an endpoint with its log. What has not arrived is never sent.

    Exit codes: 0 removed, 1 not confirmed, 2 bad input, 3 not reached.
    """
    with connect() as client:
        found = client.webhook(webhook)
        if not yes:
            _confirm(found)
        gone = client.remove_webhook(found.id)
    if json:
        print_json(gone.to_json())
    else:
        console().print(
            f"{gone.webhook.url} is told nothing more; {gone.dropped} deliveries had not arrived."
        )


def _confirm(found: Webhook) -> None:
    if not sys.stdin.isatty():
        raise BadInput("--yes: needed where nobody can be asked")
    waiting = found.pending + found.dead
    sys.stderr.write(f"{found.url}: {waiting} deliveries have not arrived, and never will.\n")
    if not typer.confirm("Go on?", err=True):
        raise Failure("nothing was changed")


def deliveries(webhook: WebhookId, *, state: State = None, limit: Limit = 100, json: Json = False) -> None:
    """List what was sent to an endpoint or is to be, newest first; `--state dead` is what was given up."""
    with connect() as client:
        found = list(islice(client.deliveries(webhook, state=state), limit))
    if json:
        print_json({"deliveries": [one.to_json() for one in found]})
        return
    table = grid("CREATED", "KIND", "STATE", "TRIES", "NEXT", "DELIVERY", "ERROR", right=["TRIES"])
    for one in found:
        table.add_row(*_cells(one))
    console().print(table)


def _cells(one: Delivery) -> tuple[str, ...]:
    return (
        _second(one.created_at),
        one.kind,
        one.state,
        str(one.tries),
        _second(one.due_at),
        one.id,
        one.error or "",
    )


def _second(at: str | None) -> str:
    return str(at or "")[:19].replace("T", " ")


def resend(
    webhook: WebhookId, delivery: DeliveryId = None, *, dead: Dead = False, json: Json = False
) -> None:
    """Send a delivery again, or (with `--dead`) everything that was given up: the same ids, the same bodies."""
    if (delivery is None) == (not dead):
        raise BadInput("DELIVERY or --dead: exactly one of them is needed")
    with connect() as client:
        count = client.resend_dead(webhook) if delivery is None else 1
        made = None if delivery is None else client.resend(webhook, delivery)
    if json:
        print_json({"resent": count} if made is None else {"delivery": made.to_json()})
    else:
        console().print(f"{count} {'delivery is' if count == 1 else 'deliveries are'} sent again.")
