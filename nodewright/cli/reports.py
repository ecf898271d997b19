"""How fleets that are followed are shown: a picture that redraws itself, a line per change, or JSON per change."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from typing import Any, TextIO

from rich.console import Console
from rich.live import Live

from nodewright.cli.output import held_note
from nodewright.cli.pictures import Look, Picture, Seen, examples, failure_words, line, remedy_words
from nodewright.client import Alarm, Client

Show = Callable[[Look], None]
"""Shows how things stand, again and again."""
Report = AbstractContextManager[Show]


def reporter(console: Console) -> Report:
    """Return a picture on a terminal that can redraw, and a line per change elsewhere."""
    return _screen(console) if console.is_terminal and not console.is_dumb_terminal else _lines(console)


@contextmanager
def _screen(console: Console) -> Iterator[Show]:
    # When it ends, also by Ctrl-C, the last picture is drawn once more, whole, and stays.
    with Live(console=console, auto_refresh=False) as live:
        size = console.size

        def show(look: Look) -> None:
            nonlocal size
            if console.size != size:
                size = console.size
                console.clear()  # the terminal has wrapped the last picture anew; nobody knows where it begins
            live.update(Picture(look), refresh=True)

        yield show


@contextmanager
def _lines(console: Console) -> Iterator[Show]:
    yield Lines(console)


class Lines:
    """Prints a line for each change: of a fleet, of what failed, of an alarm."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._fleets: dict[str, object] = {}
        self._failures: dict[tuple[str, str, str | None], int] = {}
        self._alarms: dict[str, Alarm] = {}
        self._away = False

    def __call__(self, look: Look) -> None:
        """Print what has changed since the last look."""
        if look.away != self._away:
            self._away = look.away
            self._say(
                "the service answers again" if not look.away else "the service does not answer; trying again"
            )
        for seen in look.seen:
            shown = (seen.fleet.states, held_note(seen.fleet))
            if self._fleets.get(seen.fleet.id) != shown:
                self._fleets[seen.fleet.id] = shown
                self._say(line(seen, look.elapsed))
            self._tell_failures(seen)
        self._tell_alarms(look)

    def _say(self, words: str, style: str = "") -> None:
        self._console.print(words, style=style)

    def _tell_failures(self, seen: Seen) -> None:
        for group in seen.failures:
            key = (seen.fleet.id, group.code, group.reason)
            if self._failures.get(key) == group.count:
                continue
            self._say(f"{seen.fleet.name}: ended otherwise: {failure_words(group, examples(group))}", "red")
            if key not in self._failures and (words := remedy_words(group)):
                self._say(f"what to do: {words}")
            self._failures[key] = group.count

    def _tell_alarms(self, look: Look) -> None:
        """Say each alarm once, and once when it is over."""
        now = {f"{alarm.code} {alarm.since}": alarm for alarm in look.alarms}
        for key in [key for key in self._alarms if key not in now]:
            self._say(f"over: {self._alarms.pop(key).code}")
        for key in [key for key in now if key not in self._alarms]:
            self._alarms[key] = now[key]
            self._say(f"alarm: {now[key].sentence}", "bold red")
            if now[key].remedy:
                self._say(f"what to do: {now[key].remedy}")


class JsonLines:
    """Prints one JSON object a line for each change of a fleet; the last one of each fleet has its jobs too."""

    def __init__(self, client: Client, out: TextIO | None = None) -> None:
        self._client = client
        self._out = out
        self._last: dict[str, object] = {}

    def __enter__(self) -> Show:
        return self._show

    def __exit__(self, *error: object) -> None:
        return None

    def _show(self, look: Look) -> None:
        alarms = [alarm.to_json() for alarm in look.alarms]
        for seen in look.seen:
            failures = [group.to_json() for group in seen.failures]
            key = (
                seen.fleet.states,
                seen.fleet.held_at,
                failures,
                [(one["code"], one["since"]) for one in alarms],
            )
            if self._last.get(seen.fleet.id) != key:
                self._last[seen.fleet.id] = key
                self._print(_change(seen, failures, alarms))

    def _print(self, change: dict[str, Any]) -> None:
        if change["settled"]:
            jobs = self._client.jobs(fleet=change["fleet"]["id"])
            change["jobs"] = [job.to_json() for job in jobs]
        out = self._out or sys.stdout
        out.write(json.dumps(change, ensure_ascii=False) + "\n")
        out.flush()


def _change(seen: Seen, failures: list[Any], alarms: list[Any]) -> dict[str, Any]:
    at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    outlook = None if seen.outlook is None or seen.fleet.settled else seen.outlook.to_json()
    return {
        "at": at,
        "settled": seen.fleet.settled,
        "fleet": seen.fleet.to_json(),
        "outlook": outlook,
        "failures": failures,
        "alarms": alarms,
    }
