"""What ``nodewright simulate`` and ``python -m simulator`` take."""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast, get_args

from simulator.accounts import DEFAULT_TOKEN, Token, parse_token
from simulator.faults import Faults, parse_rule
from simulator.limits import DOCUMENTED, Bucket, HeaderMode, Limits
from simulator.rulesfile import read_rules
from simulator.world import World, WorldSettings


@dataclass(frozen=True, slots=True)
class SimulatorOptions:
    """A simulator to be started. Durations are seconds; ``port`` 0 takes a free one."""

    host: str = "127.0.0.1"
    port: int = 0
    create_limit: int = 20
    """Creates per window; 0 is no limit."""
    create_window: float = 15.0
    limits: Mapping[str, Sequence[Bucket]] = field(default_factory=dict)
    """Windows of other classes of calls (``list``, ``images``, ``other``), or several of ``create``."""
    backends: int = 1
    """Rate-limit counters that do not know of each other, used in turn."""
    boot: float = 60.0
    """From a create to ``running``."""
    boot_spread: float = 0.0
    latency: float = 0.0
    """How long a create's reply takes."""
    deletion: float = 0.0
    speed: float = 1.0
    """How much faster instances live and creates answer."""
    headers: HeaderMode = "all"
    tokens: Sequence[str] = (DEFAULT_TOKEN,)
    """``TOKEN[@ACCOUNT][:SCOPE,SCOPE]`` each."""
    faults: Path | None = None
    seed: int = 0
    jitter: tuple[float, float] = (0.0, 0.0)
    """Network latency of every call in milliseconds: mean and spread."""
    instance_limit: int | None = None

    def parsed_tokens(self) -> list[Token]:
        """The tokens as values."""
        return [parse_token(text) for text in self.tokens]


def build_world(options: SimulatorOptions, *, now: float) -> World:
    """The world that the options describe, born at ``now``; a rules file's ``start`` counts from then."""
    settings = WorldSettings(
        boot=options.boot,
        boot_spread=options.boot_spread,
        latency=options.latency,
        jitter=(options.jitter[0] / 1000, options.jitter[1] / 1000),
        deletion=options.deletion,
        headers=options.headers,
        seed=options.seed,
        instance_limit=options.instance_limit,
    )
    faults = Faults(options.seed)
    for values in read_rules(options.faults) if options.faults else ():
        faults.add(parse_rule(values, now=now))
    return World(
        settings, limits=_limits(options), faults=faults, tokens=options.parsed_tokens(), speed=options.speed
    )


def _limits(options: SimulatorOptions) -> Limits:
    creates = (Bucket(options.create_limit, options.create_window),) if options.create_limit else ()
    classes = {**DOCUMENTED, "create": creates}
    classes.update({name: tuple(buckets) for name, buckets in options.limits.items()})
    return Limits(classes, options.backends)


def parse_limit(text: str) -> tuple[str, tuple[Bucket, ...]]:
    """Read ``CLASS=LIMIT/SECONDS[,LIMIT/SECONDS]``, or ``CLASS=none``."""
    name, _, windows = text.partition("=")
    if name not in DOCUMENTED or not windows:
        raise ValueError(f"limit: expected one of {', '.join(DOCUMENTED)} = LIMIT/SECONDS, got {text!r}")
    if windows == "none":
        return name, ()
    pairs = [window.partition("/") for window in windows.split(",")]
    return name, tuple(Bucket(int(limit), float(seconds)) for limit, _, seconds in pairs)


def parse_jitter(text: str) -> tuple[float, float]:
    """Read ``MEAN±SPREAD`` or ``MEAN`` in milliseconds (``+-`` will do for ±)."""
    mean, _, spread = text.replace("+-", "±").partition("±")
    return float(mean), float(spread or 0)


def add_arguments(parser: ArgumentParser) -> None:
    """Put every option on a parser of the caller's."""
    default = SimulatorOptions()
    add = parser.add_argument
    add("--host", default=default.host, help="loopback address to listen on")
    add("--port", type=int, default=4100, help="port to listen on; 0 takes a free one")
    add("--create-limit", type=int, default=20, help="creates per window; 0 is no limit")
    add("--create-window", type=float, default=15.0, help="seconds of a create window")
    add(
        "--limit", action="append", default=[], type=parse_limit, help="CLASS=LIMIT/SECONDS[,…] or CLASS=none"
    )
    add("--backends", type=int, default=1, help="rate counters that do not know of each other")
    add("--boot", type=float, default=default.boot, help="seconds from a create to running")
    add("--boot-spread", type=float, default=0.0, help="each boot takes this much more or less")
    add("--latency", type=float, default=0.0, help="seconds until a create is answered")
    add("--deletion", type=float, default=0.0, help="seconds that a deleted instance still shows")
    add("--speed", type=float, default=1.0, help="how much faster instances live and creates answer")
    add("--headers", choices=get_args(HeaderMode), default="all", help="rate headers on replies")
    add("--token", action="append", default=[], help="TOKEN[@ACCOUNT][:SCOPE,SCOPE]; may be repeated")
    add("--faults", type=Path, help="file of fault rules, YAML or JSON")
    add("--seed", type=int, default=0, help="seed of every draw")
    add("--jitter", type=parse_jitter, default=(0.0, 0.0), help="network latency in ms, like 50±30")
    add("--instance-limit", type=int, help="instances that an account may have")


def from_arguments(values: Namespace) -> SimulatorOptions:
    """The options that a parser with ``add_arguments`` read."""
    given = vars(values).copy()
    tokens = given.pop("token") or [DEFAULT_TOKEN]
    limits = dict(cast("list[tuple[str, tuple[Bucket, ...]]]", given.pop("limit")))
    return SimulatorOptions(**given, tokens=tuple(tokens), limits=limits)
