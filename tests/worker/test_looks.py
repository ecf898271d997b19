from datetime import timedelta
from itertools import islice, pairwise

import pytest

from tests.support.clock import START
from worker.looks import BootTimes, ages, learned, next_look


def at(seconds):
    """Return so many seconds after the start."""
    return START + timedelta(seconds=seconds)


def test_first_looks():
    """Without knowledge each look comes at about twice the age of the last one, at most 10 s later."""
    assert list(islice(ages(None), 5)) == pytest.approx([2.0, 4.2, 8.82, 18.522, 28.522])


def test_ages_of_looks():
    """With knowledge looks begin at the expected age and grow rarer, to one in 10 s, but no closer than 0.25 s."""
    looks = list(islice(ages(60.0), 40))
    gaps = [later - earlier for earlier, later in pairwise(looks)]
    assert looks[0] == 60.0
    assert gaps[0] == pytest.approx(3.0)
    assert all(later > earlier - 0.001 for earlier, later in pairwise(gaps))
    assert gaps[-1] == pytest.approx(10.0)
    quick = list(islice(ages(0.1), 2))
    assert quick[1] - quick[0] == pytest.approx(0.25)


def test_when_to_look_next():
    """The next look is the first moment after the last one at which some instance is likely to be up."""
    births = [at(5), at(0)]
    assert next_look([], looked_at=None, expected=60.0) is None
    assert next_look(births, looked_at=at(60), expected=60.0) == at(65)
    assert next_look([at(0)], looked_at=at(60), expected=60.0) == at(63)


def test_what_was_created_together_is_looked_at_together():
    """Creates of one burst are answered at slightly different moments, and one look is meant for all of them."""
    burst = [at(0.0), at(0.1), at(0.7)]
    assert next_look([*burst, at(15)], looked_at=None, expected=10.0) == at(10.7)
    assert next_look([at(15), at(15.9)], looked_at=at(10.7), expected=10.0) == at(25)
    assert next_look([at(0.0), at(0.4), at(0.6)], looked_at=None, expected=None) == at(2.4)


def test_a_first_boot_is_learnt():
    """What was seen up first is expected of the others, and how far it may have been earlier is kept."""
    known = learned(BootTimes(), up=[], waiting=[4.4, 4.3])
    known = learned(known, up=[9.7, 9.6], waiting=[])
    assert (known.expected, known.sure, known.early) == (9.6, 9.6, 4.4)


def test_tries_rest_after_one_that_was_too_early():
    """After a look that was too early nothing is tried for eight looks; then each comes a little earlier."""
    known = BootTimes(expected=10.0, sure=10.0, early=8.0, rest=8)
    for _ in range(8):
        known = learned(known, up=[10.1], waiting=[])
        assert known.expected == 10.0
    known = learned(known, up=[10.1], waiting=[])
    assert known.expected == pytest.approx(9.5)
    known = learned(known, up=[9.6], waiting=[])
    assert known.expected == pytest.approx(9.5 - 1.5 / 4)


def test_a_try_that_was_too_early_is_taken_back():
    """The next look after a failed try comes at the age at which instances were up before."""
    known = learned(BootTimes(expected=9.0, sure=9.5, early=8.0), up=[], waiting=[9.1])
    assert known == BootTimes(expected=9.5, sure=9.5, early=9.1, rest=8)


def test_boots_that_became_slower():
    """Where the sure age was too early as well, the age at which they were seen at last is expected."""
    known = learned(BootTimes(expected=10.0, sure=10.0, early=9.0), up=[], waiting=[10.1])
    known = learned(known, up=[], waiting=[10.6])
    known = learned(known, up=[11.3], waiting=[])
    assert (known.expected, known.sure) == (11.3, 11.3)


def test_boots_that_became_faster():
    """A try below what was once too early and that finds them up forgets that, and goes on in large steps."""
    known = BootTimes(expected=9.8, sure=10.0, early=9.9)
    known = learned(known, up=[9.8], waiting=[])
    assert (known.sure, known.early) == (9.8, 0.0)
    assert known.expected == pytest.approx(9.8 * 0.75)


def test_looks_meant_for_others_teach_nothing():
    """A look at a younger burst's time says nothing about stragglers, and none of those not due yet was too early."""
    known = BootTimes(expected=10.0, sure=10.0, early=9.0, rest=3)
    assert learned(known, up=[25.0], waiting=[3.0]) == known
    assert learned(known, up=[], waiting=[3.0, 40.0]) == known
