"""``python -m nodewright``: the same as the command ``nodewright``."""

import sys
from pathlib import Path


def _leave_the_working_folder() -> None:
    """Take the working folder, which ``-m`` puts first, off the import path: it may hold a foreign ``jobs``."""
    ours = Path(__file__).resolve().parent.parent
    if not sys.flags.safe_path and sys.path and Path(sys.path[0]).resolve() != ours:
        del sys.path[0]


if __name__ == "__main__":
    _leave_the_working_folder()
    from nodewright.cli import main

    main()
