"""``python -m nodewright.tether PARENT PROGRAM ARG…``: run a program of others so that it dies with its parent.

On Linux the kernel sees to it, and this process becomes the program. Elsewhere this process stays, and stops the
program when its own standard input ends.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def main(argv: list[str]) -> int:
    """Run the program, a child of the process ``PARENT``; does not return on Linux."""
    parent, *program = argv
    if sys.platform == "linux":
        _become(int(parent), program)
    return _accompany(program)


def _become(parent: int, argv: list[str]) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # the parent died before the kernel was told
        sys.exit(1)
    os.execv(argv[0], argv)  # noqa: S606 - no shell is wanted


def _accompany(argv: list[str]) -> int:
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL) as process:  # noqa: S603 - the stack's own words
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        threading.Thread(target=_end_with_stdin, args=(process,), daemon=True).start()
        return process.wait()


def _end_with_stdin(process: "subprocess.Popen[bytes]") -> None:
    while os.read(0, 64):
        pass
    process.terminate()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
