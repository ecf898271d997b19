import pytest

from benchmarks.arithmetic import Share, account, floor_seconds, last_opening, shares, taken_share


@pytest.mark.parametrize(("count", "windows"), [(1, 0), (20, 0), (21, 1), (200, 9)])
def test_floor_of_one_window(count, windows):
    """The last create waits for all full windows before it; its reply and the boot come on top."""
    assert floor_seconds(count, [(20, 15.0)], latency=1.5, boot=10.0) == windows * 15 + 11.5


def test_floor_of_two_buckets():
    """Where two buckets bind a route a create waits for both."""
    assert last_opening(40, [(5, 15.0), (10, 30.0)]) == 105.0
    assert last_opening(20, [(5, 15.0), (6, 60.0)]) == 180.0


def create(at, label="web-1", status="200"):
    """Return a create as an audit lists it."""
    return {"at": at, "label": label, "status": status, "token": "t"}


def test_windows_are_drawn_again_from_what_passed():
    """A window begins with the first create that was let through after the last one's end; refusals count in it."""
    creates = [
        create(100.0),
        create(100.1, "stranger-0-1"),
        create(101.0, status="429"),
        create(101.0, "stranger-0-2", status="429"),
        create(115.0),
    ]
    assert shares(creates, 2, 15.0, prefix="web") == [Share(100.0, 1, 1, 1), Share(115.0, 1, 0, 0)]


def test_share_of_what_is_left():
    """The last window need not be full; of the others counts what the stranger left."""
    found = [Share(0.0, ours=9, theirs=10), Share(15.0, ours=10, theirs=10), Share(30.0, ours=1)]
    assert taken_share(found, 20) == pytest.approx(19 / 20)
    assert taken_share(found[-1:], 20) == 1.0


def test_account_of_an_audit():
    """Two instances of one job are one too many, whatever their labels; a stranger's are nobody's."""
    instances = [
        {"label": "a", "tags": ["nw:job1.1"], "deleted": None},
        {"label": "b", "tags": ["nw:job1.2"], "deleted": 5.0},
        {"label": "c", "tags": [], "deleted": None},
        {"label": "stranger-0-1", "tags": [], "deleted": None},
    ]
    calls = [
        {"method": "POST", "route": "/linode/instances", "status": "200", "count": 3},
        {"method": "POST", "route": "/linode/instances", "status": "429", "count": 2},
    ]
    creates = [create(1.0), create(2.0), create(3.0, status="429")]
    found = account({"instances": instances, "calls": calls, "creates": creates, "refused": 2, "requests": 5})
    assert (found.made, found.kept, found.twice) == (3, 2, 1)
    assert (found.posts, found.refused, found.refused_creates, found.calls) == (3, 2, 1, 5)
    assert found.routes == {"POST /linode/instances": 5}
