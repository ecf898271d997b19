import pytest

from tests.acceptance import destroy, pause

pytestmark = [pytest.mark.stack, pytest.mark.postgres]


def test_a_destroy_under_faults_and_a_kill():
    """While the API fails and the worker that deletes is killed, all of a fleet goes, and nothing that is not ours."""
    done = destroy.run(40, 1)
    assert (done.left, done.touched, done.states) == (0, 0, {"deleted": 40})
    assert done.faults, "nothing went wrong, so nothing was tested"
    assert done.events_after_kill, "nothing was left for the next worker"


def test_a_pause_in_the_midst_of_a_burst():
    """After a pause is acknowledged nothing of it is sent; resumed, every instance is made, once."""
    done = pause.run(70, scopes=pause.SCOPES[:1])
    (one,) = done.pauses
    assert (one.after, one.settled) == (0, True)
    assert one.under_way, "no create was under way, so nothing was tested"
    assert one.waiting, "nothing was left to be sent"
    assert done.kept == 70
