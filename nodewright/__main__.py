"""``python -m nodewright``: the same as the command ``nodewright``."""

from nodewright.cli import main

if __name__ == "__main__":
    main()
