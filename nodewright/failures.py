"""Failures that a person can do something about: each is one clear message and an exit code, never a traceback.

Failure          1  it was tried, and did not work
  + BadInput     2  what was typed or set is wrong
  + NotReached   3  something that we lean on does not answer
  + Interrupted  130  somebody pressed Ctrl-C
"""

from typing import ClassVar


class Failure(Exception):  # noqa: N818 - the plainest word for it
    """It did not work; the arguments are the sentences to show."""

    exit_code: ClassVar[int] = 1

    @property
    def sentences(self) -> tuple[str, ...]:
        """What to show, one fault each."""
        return tuple(str(argument) for argument in self.args)

    def __str__(self) -> str:
        return "\n".join(self.sentences)


class BadInput(Failure):
    """What was typed or set is wrong."""

    exit_code = 2


class NotReached(Failure):
    """Something that we lean on does not answer."""

    exit_code = 3


class Interrupted(Failure):
    """Somebody pressed Ctrl-C, or the process was told to end."""

    exit_code = 130
