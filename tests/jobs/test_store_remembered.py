"""What takes long to find is kept for a moment, and looked up anew behind the back of whoever asks."""

import pytest
from sqlalchemy.exc import OperationalError

from jobs.remembered import Means, Remembered


class Dear:
    """Something that takes so many seconds to find, and changes each time; a clock, and what is to be done later."""

    def __init__(self, database, seconds=0.1, **options):
        self.now, self.seconds, self.asked, self.later, self.broken = 0.0, seconds, [], [], False
        self.database = database
        self.remembered = Remembered(
            database, self.find, Means(lambda: self.now, self.later.append), **options
        )

    def find(self, tx, keys):
        """Count how often it was looked for."""
        if self.broken:
            raise OperationalError("select", {}, Exception("gone"))
        self.asked.append(tuple(keys))
        self.now += self.seconds
        return {key: f"{key}{len(self.asked)}" for key in keys}

    def look(self, *keys):
        """Ask for some keys."""
        with self.database.read() as tx:
            return self.remembered.look(tx, keys)

    def do_later(self):
        """Do what was left to the background."""
        for act in [self.later.pop() for _ in range(len(self.later))]:
            act()


@pytest.fixture
def dear(database):
    """Something that takes a tenth of a second to find."""
    return Dear(database)


def test_what_is_dear_is_kept(dear):
    """Within the next seconds it is not looked for again, and nothing is left to the background."""
    assert dear.look("a") == {"a": "a1"}
    dear.now = 4.9
    assert dear.look("a") == {"a": "a1"}
    assert (dear.asked, dear.later) == ([("a",)], [])


def test_what_is_cheap_is_never_kept(database):
    """It is looked for each time."""
    cheap = Dear(database, seconds=0.001)
    assert [cheap.look("a") for _ in range(3)] == [{"a": "a1"}, {"a": "a2"}, {"a": "a3"}]


@pytest.mark.parametrize(
    "options", [{"dear_seconds": 0.2}, {"worth": lambda value: value == "none"}], ids=("soon", "little")
)
def test_what_is_not_worth_it_is_never_kept(database, options):
    """What took long on a busy machine only, or is little, is looked for each time."""
    little = Dear(database, **options)
    assert [little.look("a") for _ in range(2)] == [{"a": "a1"}, {"a": "a2"}]


def test_what_is_no_longer_fresh_is_renewed_once_and_nobody_waits(dear):
    """Who asks then is told what is known; it is looked up in the background, once, and told from then on."""
    dear.look("a")
    dear.now = 5.0
    assert [dear.look("a"), dear.look("a")] == [{"a": "a1"}] * 2
    assert len(dear.later) == 1
    dear.do_later()
    assert dear.look("a") == {"a": "a2"}
    dear.now = 10.2
    dear.look("a")
    assert len(dear.later) == 1


def test_what_is_too_old_is_not_told(dear):
    """Whoever asks after 10 s waits for what is true now."""
    dear.look("a")
    dear.now = 10.0
    assert dear.look("a") == {"a": "a2"}
    assert dear.later == []


def test_only_what_is_not_known_is_looked_for(dear):
    """Of several keys the known ones are told, the others found together."""
    dear.look("a")
    assert dear.look("a", "b", "c") == {"a": "a1", "b": "b2", "c": "c2"}
    assert dear.asked == [("a",), ("b", "c")]


def test_a_database_that_is_gone_keeps_what_is_known(dear):
    """A renewal that fails harms nobody; when what is known is too old, whoever asks is told why."""
    dear.look("a")
    dear.now, dear.broken = 6.0, True
    dear.look("a")
    dear.do_later()
    assert dear.look("a") == {"a": "a1"}
    assert len(dear.later) == 1, "it is tried again"
    dear.now = 11.0
    with pytest.raises(OperationalError):
        dear.look("a")
