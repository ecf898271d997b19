"""Runs side by side: nearly idle ones share the machine, a wave at a time.

A wave's processes are all started before the first run begins, and its runs begin one after the other within one rate
window, so that neither a start nor another run's burst falls into a run's opening.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, Protocol

START_AT_ONCE = 2
SPREAD_SECONDS = 15.0
SETTLE_SECONDS = 3.0
Go = Callable[[], dict[str, Any]]


class Trial(Protocol):
    """One run: ``prepare`` starts its processes, and returns what measures."""

    @property
    def name(self) -> str: ...

    def prepare(self, held: ExitStack) -> Go: ...


def run_waves(trials: Sequence[Trial], *, at_once: int) -> list[dict[str, Any]]:
    """Return each trial's figures, in the trials' order."""
    found: list[dict[str, Any]] = []
    for number, wave in enumerate(_cut(trials, at_once), start=1):
        began = time.monotonic()
        found += _run_wave(wave)
        names = ", ".join(trial.name for trial in wave)
        print(f"wave {number}, {time.monotonic() - began:.0f} s: {names}", file=sys.stderr, flush=True)
    return found


def _cut(trials: Sequence[Trial], at_once: int) -> Iterator[Sequence[Trial]]:
    for start in range(0, len(trials), at_once):
        yield trials[start : start + at_once]


def _run_wave(wave: Sequence[Trial]) -> list[dict[str, Any]]:
    stacks = [ExitStack() for _ in wave]
    try:
        with ThreadPoolExecutor(START_AT_ONCE) as starting:
            ready = list(starting.map(lambda trial, held: trial.prepare(held), wave, stacks))
        time.sleep(SETTLE_SECONDS)
        with ThreadPoolExecutor(len(wave)) as running:
            return list(running.map(_go, range(len(wave)), ready, [len(wave)] * len(wave)))
    finally:
        with ThreadPoolExecutor(len(wave)) as ending:
            list(ending.map(ExitStack.close, stacks))


def _go(number: int, go: Go, of: int) -> dict[str, Any]:
    time.sleep(number * SPREAD_SECONDS / of)
    return go()
