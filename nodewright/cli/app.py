"""The command tree, built by a function: importing it makes nothing."""

import os
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from nodewright.cli import (
    accounts,
    destroy,
    fleets,
    holds,
    inventory,
    keys,
    operate,
    plans,
    resolve,
    retrying,
    scaling,
    show,
    tenants,
    webhooks,
)
from nodewright.cli.errors import EXPECTED, report
from nodewright.cli.output import speak_plainly

BROKEN_PIPE: Final = 141
"""As the shell says it of a process that SIGPIPE has ended."""


def _flushed(invoke: Callable[[Any], Any], ctx: Any) -> Any:  # noqa: ANN401 - Typer's own types are private
    try:
        return invoke(ctx)
    finally:
        sys.stdout.flush()  # not only when the process ends: nobody could say then that the pipe is broken


class Commands(TyperGroup):
    """All commands; what each may foreseeably meet ends as one message and an exit code."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - Typer's own types are private
        """Run the command that was asked for."""
        try:
            return _flushed(super().invoke, ctx)
        except EXPECTED as error:
            raise typer.Exit(report(error)) from None
        except BrokenPipeError:
            # Whoever read our output, such as `head`, has seen enough. What is left to be written goes nowhere.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(BROKEN_PIPE) from None

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401, ARG002 - Typer's own types are private
        """Return the commands in the order in which a newcomer meets them."""
        return list(self.commands)


def build_app() -> typer.Typer:
    """Return the command line."""
    app = typer.Typer(
        cls=Commands,
        help="Provision fleets of Linodes: each instance exactly once, as fast as the API allows.",
        epilog="New here? `nodewright demo` needs no account, no token and no money.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,  # its tracebacks show local variables, and with them secrets
        add_completion=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        rich_markup_mode="markdown",
    )
    app.callback()(_root)
    for panel, commands in _COMMANDS.items():
        for name, command in commands.items():
            app.command(name, rich_help_panel=panel)(command)
    for name, (summary, commands) in _GROUPS.items():
        group = typer.Typer(cls=Commands, help=summary, no_args_is_help=True)
        for verb, command in commands.items():
            group.command(verb)(command)
        app.add_typer(group, name=name, rich_help_panel="Who may")
    return app


_GROUPS: dict[str, tuple[str, dict[str, Callable[..., None]]]] = {
    "keys": (
        "API keys of the HTTP service: make, list, revoke. Works on the database itself.",
        {"create": keys.create, "list": keys.list_, "revoke": keys.revoke},
    ),
    "tenants": (
        "Tenants: who submits, within which guards, to which accounts. Works on the database itself.",
        {"list": tenants.list_, "add": tenants.add, "set": tenants.set_},
    ),
    "accounts": (
        "Linode accounts and their tokens. Works on the database itself.",
        {
            "list": accounts.list_,
            "add": accounts.add,
            "add-token": accounts.add_token,
            "remove-token": accounts.remove_token,
            "rotate": accounts.rotate,
        },
    ),
    "webhooks": (
        "Webhooks: who is told of what happens, and what became of it.",
        {
            "add": webhooks.add,
            "list": webhooks.list_,
            "rotate": webhooks.rotate,
            "test": webhooks.try_,
            "remove": webhooks.remove,
            "deliveries": webhooks.deliveries,
            "resend": webhooks.resend,
        },
    ),
}


_COMMANDS: dict[str, dict[str, Callable[..., None]]] = {
    "Start": {"demo": operate.demo, "up": operate.up},
    "Fleets": {
        "plan": plans.plan,
        "submit": fleets.submit,
        "watch": fleets.watch,
        "fleets": show.fleets,
        "jobs": show.jobs,
        "show": show.show,
        "cancel": fleets.cancel,
        "retry": retrying.retry,
        "scale": scaling.scale,
        "destroy": destroy.destroy,
        "inventory": inventory.inventory,
    },
    "Operate": {
        "resolve": resolve.resolve,
        "simulate": operate.simulate,
        "serve": operate.serve,
        "worker": operate.worker,
        "migrate": operate.migrate,
        "doctor": operate.doctor,
        "pause": holds.pause,
        "resume": holds.resume,
    },
}


def _show_version(value: bool) -> None:  # noqa: FBT001 - Typer's callback
    if value:
        typer.echo(f"nodewright {version('nodewright')}")
        raise typer.Exit


def _root(
    *,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line."""
    speak_plainly(sys.stdout, sys.stderr)
    build_app()(prog_name="nodewright")
