"""Nothing outlives the chaos run: run by path, with nothing but the standard library.

``leash.py PARENT PROGRAM ARG…`` becomes the program, which the kernel then kills once its parent is gone, even while it
is frozen. ``leash.py --janitor FOLDER…`` waits until its standard input ends, stops whatever PostgreSQL still runs in
the folders, and removes them; PostgreSQL makes a daemon of itself, so that no leash holds it.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import sys
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1
PATIENCE_SECONDS = 10.0


def become(parent: int, argv: list[str]) -> None:
    """Become the program, tied to the parent's life."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the kernel was told
        sys.exit(1)
    os.execv(argv[0], argv)


def postmaster(folder: Path) -> int | None:
    """Return the process of the PostgreSQL whose data is in the folder, if one runs."""
    try:
        number = int((folder / "data" / "postmaster.pid").read_text().split()[0])
        line = Path(f"/proc/{number}/cmdline").read_bytes()
    except (OSError, ValueError, IndexError):
        return None
    return number if str(folder).encode() in line else None


def clear(folder: Path) -> None:
    """Stop the server in the folder, and remove the folder."""
    number = postmaster(folder)
    if number is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGQUIT)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while postmaster(folder) is not None and time.monotonic() < deadline:
            time.sleep(0.05)
    shutil.rmtree(folder, ignore_errors=True)


def janitor(folders: list[Path]) -> None:
    """Wait for the end of whoever started this, and clear up what is left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.read(0, 64):
        pass
    for folder in folders:
        if folder.exists():
            clear(folder)


if __name__ == "__main__":
    if sys.argv[1] == "--janitor":
        janitor([Path(name) for name in sys.argv[2:]])
    else:
        become(int(sys.argv[1]), sys.argv[2:])
