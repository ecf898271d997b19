"""Options that several commands share."""

import signal
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nodewright.client import Client, find_service
from nodewright.pausing import Pause
from nodewright.settings import Settings

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Csv = Annotated[bool, typer.Option("--csv", help="Print CSV instead of text.")]
FleetRef = Annotated[
    str, typer.Argument(metavar="FLEET", help="A fleet's id, or its name: the newest of that name.")
]
WithParent = Annotated[
    bool,
    typer.Option("--with-parent", hidden=True, help="End when standard input ends: for `up` and `demo`."),
]


def whole_number(text: str) -> int:
    """Read a whole number, or say what was typed instead."""
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f"expected a whole number, got {text!r}") from None


class Invalid(StrEnum):
    """What becomes of a request of which a part is wrong."""

    REFUSE = "refuse"
    SKIP = "skip"


FleetFile = Annotated[
    Path | None, typer.Argument(metavar="FILE.yaml", help="A fleet file; `-` reads standard input.")
]
Name = Annotated[str | None, typer.Option(help="The fleet's name; labels are made from it.")]
Count = Annotated[int | None, typer.Option(parser=whole_number, metavar="N", help="How many instances.")]
Type = Annotated[
    str | None, typer.Option("--type", help="The plan, such as g6-nanode-1, or alternatives: a,b.")
]
Region = Annotated[str | None, typer.Option(help="The region, such as us-east, or alternatives: a,b.")]
Image = Annotated[str | None, typer.Option(help="The image, such as linode/debian12.")]
LabelPattern = Annotated[
    str | None, typer.Option(metavar="PATTERN", help="How labels are made. Default: `{name}-{index:04d}`.")
]
Tags = Annotated[str | None, typer.Option(metavar="A,B", help="Tags for each instance.")]
RootPassStdin = Annotated[
    bool, typer.Option("--root-pass-stdin", help="Read the root password from standard input.")
]
AuthorizedKeysFile = Annotated[Path | None, typer.Option(metavar="FILE", help="Public SSH keys, one a line.")]
UserDataFile = Annotated[Path | None, typer.Option(metavar="FILE", help="User data for cloud-init.")]
Booted = Annotated[
    bool | None,
    typer.Option("--booted/--no-booted", help="Start the instances, or not. Default: start them."),
]
OnInvalid = Annotated[
    Invalid | None,
    typer.Option(
        metavar="MODE", help="When a group is wrong: `refuse` all (the default), or `skip` its jobs."
    ),
]


class Existing(StrEnum):
    """What a fleet of the same name means for a submit."""

    REFUSE = "refuse"
    NEW = "new"


OnExisting = Annotated[
    Existing | None,
    typer.Option(
        metavar="MODE",
        help="While a fleet of this name has instances: `refuse` (the default), or make a `new` one beside it.",
    ),
]
IdempotencyKey = Annotated[
    str | None, typer.Option(metavar="KEY", help="Submits with one key are one fleet.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask, whatever it costs.")]
WaitForEnd = Annotated[bool, typer.Option("--wait", help="Wait for the end; exit code 1 unless all run.")]


def connect(settings: Settings | None = None) -> Client:
    """Return a client of the service that the settings or the home folder name."""
    place = find_service(settings)
    return Client(place.url, place.api_key)


def pause_on_signals() -> Pause:
    """Return a pause that Ctrl-C, SIGTERM and a closed terminal end."""
    pause = Pause()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: pause.set())
    return pause
