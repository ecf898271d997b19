"""One of Nodewright's own processes, which kills itself by SIGKILL around the commit of the first fleet.

    python -m tests.acceptance.dying POINT serve --port 8480

runs `nodewright serve --port 8480`. The product knows nothing of it: the points are events that SQLAlchemy and Celery
announce to everybody, and an ASGI application around the service's own.
"""

import os
import signal
import sys

from celery import signals
from sqlalchemy import Engine, Pool, event

from nodewright import cli, serving

SUBMIT = "nodewright.submit"
_MARK = "holds a new fleet"


def die(*_, **__):
    """End this process as the kernel would."""
    os.kill(os.getpid(), signal.SIGKILL)


def commit():
    """Die when a transaction that inserted a fleet is about to be committed."""
    _mark_fleets()
    event.listen(Engine, "commit", lambda connection: _die_if_marked(connection.info))


def committed():
    """Die when such a transaction was committed and its connection is given back: nothing else has happened since."""
    _mark_fleets()
    event.listen(Pool, "checkin", lambda _, record: _die_if_marked(record.info))


def reply():
    """Die when the answer to a submit is about to leave."""
    make = serving.create_app
    serving.create_app = lambda deps: _Unanswered(make(deps))


def acknowledge():
    """Die when the task is done and its message is about to be acknowledged."""
    signals.task_postrun.connect(_die_after_submit, weak=False)


def _mark_fleets():
    def mark(connection, _cursor, statement, *_):
        if statement.startswith("INSERT INTO fleets"):
            connection.info[_MARK] = True

    event.listen(Engine, "after_cursor_execute", mark)


def _die_if_marked(info):
    if _MARK in info:
        die()


def _die_after_submit(sender, **_):
    if sender.name == SUBMIT:
        die()


class _Unanswered:
    def __init__(self, app):
        self._app = app

    async def __call__(self, scope, receive, send):
        submits = scope["type"] == "http" and (scope["method"], scope["path"]) == ("POST", "/v1/fleets")
        await self._app(scope, receive, die if submits else send)


POINTS = {point.__name__: point for point in (commit, committed, reply, acknowledge)}


def main():
    """Take the point off the command line, and run the rest of it."""
    POINTS[sys.argv.pop(1)]()
    cli.main()


if __name__ == "__main__":
    main()
