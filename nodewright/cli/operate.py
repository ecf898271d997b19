"""The commands that run something: the demo, the stack, and each of its parts."""

import shlex
import socket
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console

from nodewright.cli.options import Json, WithParent, pause_on_signals
from nodewright.cli.output import console, program
from nodewright.failures import BadInput, Interrupted
from nodewright.home import ServiceAddress
from nodewright.processes import live_with_parent
from nodewright.settings import Settings

if TYPE_CHECKING:
    from simulator import SimulatorOptions

INTERRUPTED: Final = Interrupted.exit_code

Port = Annotated[
    int | None,
    typer.Option(
        metavar="PORT", min=1, max=65535, help="The service's port. Default: 8480, or the next free."
    ),
]
Workers = Annotated[int, typer.Option(metavar="N", min=1, max=64, help="How many worker processes.")]


class SimulatedHeaders(StrEnum):
    """Which rate headers the simulator sends."""

    ALL = "all"
    LIMIT_ONLY = "limit-only"
    NONE = "none"


def demo(
    *,
    count: Annotated[
        int, typer.Option(metavar="N", min=1, max=1000, help="How many simulated instances.")
    ] = 60,
) -> None:
    """See it work: a simulated Linode API, the whole stack, one fleet. Costs nothing, leaves nothing.

    Exit codes: 0 all well, 1 not so.
    """
    pause = pause_on_signals()
    from nodewright.cli.demo import run_demo  # noqa: PLC0415 - the stack is large; other commands need none of it

    try:
        raise typer.Exit(run_demo(Settings.load(), count, pause, console()))
    except Interrupted:
        console(stderr=True).print("\nStopped. Nothing is left behind.")
        raise typer.Exit(INTERRUPTED) from None


def up(*, workers: Workers = 1, port: Port = None) -> None:
    """Run the whole stack here until Ctrl-C: broker, database, workers, HTTP service and page.

    Needs LINODE_TOKEN. Without NODEWRIGHT_DATABASE_URL and NODEWRIGHT_REDIS_URL it keeps a SQLite database in
    NODEWRIGHT_HOME and starts a Valkey of its own.

    Exit codes: 0 stopped, 2 bad input (such as a token that is refused), 3 database or Redis not reached.
    """
    pause = pause_on_signals()
    from nodewright.credentials import check_token  # noqa: PLC0415 - as above
    from nodewright.stack import Stack, StackPlan  # noqa: PLC0415
    from nodewright.wiring import Wiring  # noqa: PLC0415

    out, wiring = console(), Wiring(Settings.load())
    verdict = check_token(wiring.settings)
    if verdict.fault:
        raise BadInput(verdict.fault)
    if verdict.warning:
        out.print(f"warning: {verdict.warning}; starting all the same")
    plan = StackPlan(workers, port or wiring.settings.port)
    try:
        with Stack(wiring, plan, pause, say=out.print) as stack:
            _banner(out, stack.start(), wiring.settings)
            stack.run()
            out.print("\nStopping …")
    except Interrupted:
        pass
    out.print("Stopped.")


def _banner(out: Console, address: ServiceAddress, settings: Settings) -> None:
    home = settings.home_folder
    out.print(f"\nNodewright is up at {address.url}", style="bold")
    out.print(f"  page      {address.url}/")
    out.print(f"  API       {settings.api_url}")
    out.print(f"  home      {home}")
    out.print("\nIn another terminal:")
    if home != Path.home() / ".nodewright":
        out.print(f"  export NODEWRIGHT_HOME={shlex.quote(str(home))}")
    out.print(f"  {program()} submit --name web --count 3 \\")
    out.print("    --type g6-nanode-1 --region us-east --image linode/debian12 --wait")
    out.print("\nCtrl-C stops it; accepted fleets go on when it is started again.")


def serve(
    *,
    host: Annotated[str | None, typer.Option(help="The address to listen on. Default: 127.0.0.1.")] = None,
    port: Port = None,
    fd: Annotated[int | None, typer.Option(hidden=True, help="A listening socket that is inherited.")] = None,
    with_parent: WithParent = False,
) -> None:
    """Run the HTTP service alone. The database must be migrated, and workers run elsewhere."""
    from nodewright.serving import reserve, serve  # noqa: PLC0415 - as above
    from nodewright.wiring import Wiring  # noqa: PLC0415
    from nodewright.working import notifier  # noqa: PLC0415

    if with_parent:
        live_with_parent()
    settings = Settings.load()
    where = host or settings.host
    bound = socket.socket(fileno=fd) if fd is not None else reserve(where, port or settings.port)
    with bound:
        serve(Wiring(settings), bound, notify=notifier(settings))


def worker(
    *,
    name: Annotated[
        str | None, typer.Option(help="The worker's name in timelines. Default: host and process.")
    ] = None,
    with_parent: WithParent = False,
) -> None:
    """Run a worker alone: it creates, watches and reconciles instances. Run as many as you like."""
    from nodewright.wiring import Wiring  # noqa: PLC0415 - as above
    from nodewright.working import run_worker  # noqa: PLC0415

    if with_parent:
        live_with_parent()
    raise typer.Exit(run_worker(Wiring(Settings.load()), name=name))


def migrate() -> None:
    """Bring the database to this version. Safe to run again."""
    from nodewright.wiring import Wiring, migrate, name_of  # noqa: PLC0415 - as above

    with Wiring(Settings.load()).database() as database:
        migrate(database)
        console().print(f"{name_of(database)} is at this version.")


def doctor(*, json: Json = False) -> None:
    """Check database, broker, token and service, and say what to do about each.

    Exit codes: 0 all well, 1 something is not.
    """
    from nodewright.cli.checkup import examine, print_findings  # noqa: PLC0415 - as above

    findings = examine(Settings.load())
    print_findings(findings, json=json)
    raise typer.Exit(0 if all(finding.ok for finding in findings) else 1)


SimHost = Annotated[str, typer.Option(help="The loopback address to listen on.")]
SimPort = Annotated[int, typer.Option(metavar="PORT", min=0, max=65535, help="The port; 0 takes a free one.")]
SimCreateLimit = Annotated[int, typer.Option(metavar="N", min=0, help="Creates per window; 0: no limit.")]
SimCreateWindow = Annotated[
    float, typer.Option(metavar="SECONDS", min=0.1, help="Seconds of a create window.")
]
SimBoot = Annotated[float, typer.Option(metavar="SECONDS", min=0, help="Seconds from a create to running.")]
SimBootSpread = Annotated[
    float, typer.Option(metavar="SECONDS", min=0, help="Each boot takes up to this more or less.")
]
SimLatency = Annotated[
    float, typer.Option(metavar="SECONDS", min=0, help="Seconds until a create is answered.")
]
SimSpeed = Annotated[float, typer.Option(metavar="FACTOR", min=0.001, help="How much faster instances live.")]
SimHeaders = Annotated[SimulatedHeaders, typer.Option(help="Which rate headers replies carry.")]
SimTokens = Annotated[
    list[str] | None,
    typer.Option(metavar="TOKEN", help="A token, with @ACCOUNT and :SCOPE,SCOPE if wanted; may be repeated."),
]
SimFaults = Annotated[Path | None, typer.Option(metavar="FILE", help="Fault rules, YAML or JSON.")]
SimSeed = Annotated[int, typer.Option(metavar="N", help="The seed of every draw.")]


def simulate(  # noqa: PLR0913 - one parameter per option
    *,
    host: SimHost = "127.0.0.1",
    port: SimPort = 4100,
    create_limit: SimCreateLimit = 20,
    create_window: SimCreateWindow = 15.0,
    boot: SimBoot = 60.0,
    boot_spread: SimBootSpread = 0.0,
    latency: SimLatency = 0.0,
    speed: SimSpeed = 1.0,
    headers: SimHeaders = SimulatedHeaders.ALL,
    token: SimTokens = None,
    faults: SimFaults = None,
    seed: SimSeed = 0,
    with_parent: WithParent = False,
) -> None:
    """Run a simulated Linode API v4 on loopback, with time, limits and faults."""
    from simulator import DEFAULT_TOKEN, SimulatorOptions  # noqa: PLC0415 - as above

    if with_parent:
        live_with_parent()
    options = SimulatorOptions(
        host=host,
        port=port,
        create_limit=create_limit,
        create_window=create_window,
        boot=boot,
        boot_spread=boot_spread,
        latency=latency,
        speed=speed,
        headers=headers.value,
        tokens=tuple(token or (DEFAULT_TOKEN,)),
        faults=faults,
        seed=seed,
    )
    _serve_simulator(options)


def _serve_simulator(options: "SimulatorOptions") -> None:
    from simulator import FaultError, serve  # noqa: PLC0415 - as above

    try:
        serve(options)
    except OSError as error:
        where = f"{options.host}:{options.port}"
        raise BadInput(f"--port: {where} cannot be used ({error.strerror}); choose another") from None
    except (FaultError, ValueError) as error:
        raise BadInput(str(error)) from None
