"""A Linode API v4 on loopback, with time, limits and faults. It imports nothing of ours: see README.md."""

from simulator.accounts import DEFAULT_TOKEN, Token
from simulator.api import handle
from simulator.control import control
from simulator.faults import FaultError, Faults, Rule, parse_rule
from simulator.limits import Bucket, Limits
from simulator.options import (
    SimulatorOptions,
    add_arguments,
    build_world,
    from_arguments,
    parse_jitter,
    parse_limit,
)
from simulator.server import SimulatorServer, background, build_app, serve
from simulator.transport import WorldTransport
from simulator.wire import SimReply, SimRequest
from simulator.world import World, WorldSettings

__all__ = [
    "DEFAULT_TOKEN",
    "Bucket",
    "FaultError",
    "Faults",
    "Limits",
    "Rule",
    "SimReply",
    "SimRequest",
    "SimulatorOptions",
    "SimulatorServer",
    "Token",
    "World",
    "WorldSettings",
    "WorldTransport",
    "add_arguments",
    "background",
    "build_app",
    "build_world",
    "control",
    "from_arguments",
    "handle",
    "parse_jitter",
    "parse_limit",
    "parse_rule",
    "serve",
]
