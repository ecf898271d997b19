"""``python -m simulator --port N``."""

import argparse

from simulator.options import add_arguments, from_arguments
from simulator.server import serve


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser("simulator", description="A Linode API v4 on loopback.")
    add_arguments(parser)
    options = from_arguments(parser.parse_args())
    try:
        serve(options)
    except (OSError, ValueError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
