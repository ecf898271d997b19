"""``nodewright inventory``: the instances, for what people do with them next."""

import json as json_
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Final

import typer

from nodewright.cli import choosing
from nodewright.cli.hosts import NEEDS_ADDRESS, ONE_WORD_NAMES, Format, Host, distinct, fits, written
from nodewright.cli.options import Json, connect
from nodewright.client import Client, Job
from nodewright.failures import BadInput

ANY: Final = "any"
_USER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9._-]*")

Fleets = Annotated[
    list[str] | None,
    typer.Argument(metavar="[FLEET]...", help="Fleets by id, or by name. Default: all fleets."),
]
FormatOption = Annotated[
    Format,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help="`ansible` (JSON, as of an inventory script), `ini` or `yaml` (for Ansible too), `ssh-config`, "
        "`hosts`, `csv` or `json`.",
    ),
]
StateOption = Annotated[
    str,
    typer.Option(
        "--state", metavar="STATE", help="Only those in this state; `any`: all that have an instance."
    ),
]
User = Annotated[str, typer.Option(metavar="NAME", help="Who logs in, for `ssh-config`.")]
List = Annotated[
    bool, typer.Option("--list", help="What Ansible asks an inventory script for. Changes nothing.")
]
One = Annotated[
    str | None,
    typer.Option("--host", metavar="NAME", help="The variables of one host, as Ansible asks for them."),
]


def inventory(  # noqa: PLR0913 - one parameter per option
    fleets: Fleets = None,
    *,
    kind: FormatOption = Format.ANSIBLE,
    state: StateOption = "running",
    tag: choosing.Tag = None,
    region: choosing.Region = None,
    type_: choosing.TypeOption = None,
    user: User = "root",
    list_: List = False,  # noqa: ARG001 - the command does nothing else
    host: One = None,
    json: Json = False,
) -> None:
    """Print the instances that run, for Ansible, ssh, /etc/hosts or programs.

    What a format cannot hold (no address, or a label that is no plain word) is left out, and said on standard error.

    Exit codes: 0 printed, 2 bad input, 3 not reached.
    """
    if not _USER.fullmatch(user):
        raise BadInput(f"--user: expected a user's name, got {user!r}")
    kind = Format.JSON if json else kind
    where: dict[str, str] = choosing.chosen(
        tag=tag, region=region, type=type_, state=None if state == ANY else state
    )
    with connect() as client:
        found = distinct(_hosts(client, fleets or [], where), lambda one, name: replace(one, name=name))
        if host is not None:
            _print_variables(found, host)
            return
        for part in written(_fitting(found, kind), kind, user=user):
            sys.stdout.write(part)


def _hosts(client: Client, fleets: list[str], where: dict[str, str]) -> Iterator[Host]:
    tags: dict[str, list[tuple[str, ...]]] = {}
    ids: list[str | None] = [*dict.fromkeys(client.fleet(ref).id for ref in fleets)]
    for one in ids or [None]:
        for job in client.jobs(fleet=one, limit=None, **where):
            if job.linode_id is not None:
                if job.fleet_id not in tags:
                    tags[job.fleet_id] = [group.tags for group in client.groups(job.fleet_id)]
                yield _host(job, job.linode_id, tags[job.fleet_id])


def _host(job: Job, linode_id: int, tags: list[tuple[str, ...]]) -> Host:
    return Host(
        name=job.label,
        label=job.label,
        linode_id=linode_id,
        ipv4=job.ipv4,
        ipv6=None if job.ipv6 is None else job.ipv6.partition("/")[0],
        fleet=job.fleet,
        fleet_id=job.fleet_id,
        job_id=job.id,
        region=job.region,
        type=job.type,
        image=job.image,
        state=job.state,
        tags=tags[job.group] if job.group < len(tags) else (),
    )


def _fitting(hosts: Iterator[Host], kind: Format) -> Iterator[Host]:
    left_out = 0
    for host in hosts:
        if kind in ONE_WORD_NAMES and not fits(host, needs_address=kind in NEEDS_ADDRESS):
            left_out += 1
        else:
            yield host
    if left_out:
        sys.stderr.write(
            f"warning: {left_out} left out: no address yet, or a label that {kind} cannot hold\n"
        )


def _print_variables(hosts: Iterator[Host], name: str) -> None:
    found = next((host for host in hosts if host.name == name), None)
    variables = {} if found is None else found.variables
    sys.stdout.write(json_.dumps(variables, indent=2, ensure_ascii=False) + "\n")
