"""``nodewright resolve``: a person settles what nobody could find out."""

import sys
from typing import Annotated

import typer

from nodewright.cli.options import Json, connect, whole_number
from nodewright.cli.output import console, print_json, program
from nodewright.client import Client, JobDetail, NotFound
from nodewright.failures import BadInput, Failure

JobId = Annotated[
    str, typer.Argument(metavar="JOB", help="The job's id, as `jobs --json` and `show` print it.")
]
Adopt = Annotated[
    int | None,
    typer.Option(
        parser=whole_number, metavar="ID", help="The instance exists: it is this one, by its Linode id."
    ),
]
Absent = Annotated[bool, typer.Option("--absent", help="The instance does not exist.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def resolve(
    job: JobId, *, adopt: Adopt = None, absent: Absent = False, yes: Yes = False, json: Json = False
) -> None:
    """Settle an uncertain job by hand: its instance is this one, or there is none.

    For parked jobs: their creates stayed unknown, and nothing more is sent for them. Look first, in the Cloud Manager,
    for the job's label and for the tag that `show` prints. With `--absent` the create is sent again.

    Exit codes: 0 settled, 1 not confirmed, 2 bad input (such as a job that is not uncertain), 3 not reached.
    """
    if (adopt is None) == (not absent):
        raise BadInput("--adopt ID or --absent: exactly one of them is needed")
    if adopt is not None and adopt < 1:
        raise BadInput(f"--adopt: expected the id of an instance, a whole number above 0, got {adopt}")
    with connect() as client:
        found = _find(client, job)
        if found.state != "uncertain":
            raise BadInput(f"{found.label} is {found.state}; only an uncertain job can be resolved")
        if not yes:
            _confirm(found, adopt)
        done = client.resolve(found.id, adopt=adopt)
    if json:
        print_json({"job": done.to_json()})
    else:
        console().print(f"{done.label} is {done.state}. Its story: {program()} show {done.id}")


def _find(client: Client, ref: str) -> JobDetail:
    try:
        return client.job(ref)
    except NotFound:
        raise BadInput(
            f"there is no job {ref!r}; `nodewright jobs --state uncertain --json` lists them"
        ) from None


def _confirm(job: JobDetail, adopt: int | None) -> None:
    if not sys.stdin.isatty():
        raise BadInput("--yes: needed where nobody can be asked; read `nodewright resolve --help` first")
    facts = job.to_json()
    sys.stderr.write(f"job    {job.id}\nlabel  {job.label}\ntag    nw:{job.id}.{facts.get('attempt')}\n\n")
    sys.stderr.write(f"{_consequence(job, adopt)}\n")
    if not typer.confirm("Go on?", err=True):
        raise Failure("nothing was changed")


def _consequence(job: JobDetail, adopt: int | None) -> str:
    ending = job.to_json().get("ending")
    if adopt is not None and ending:
        return f"Its end was asked for, so instance {adopt} will be DELETED."
    if adopt is not None:
        return f"From now on the job owns instance {adopt}. Make sure that it carries this label or this tag."
    if ending:
        return "Its end was asked for, so the job ends without an instance."
    return "Its create will be sent again. If the instance exists after all, you may pay for two until it is removed."
