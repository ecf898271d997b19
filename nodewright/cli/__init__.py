"""The command line: ``nodewright COMMAND``."""

from nodewright.cli.app import build_app, main

__all__ = ["build_app", "main"]
