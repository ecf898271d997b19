import gzip
import json
import stat
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from jobs import retirement
from jobs.records import fleets, job_events, jobs
from jobs.states import State
from tests.support.fleets import TENANT, add_fleet, add_job, make_service
from worker import retire
from worker.retire import Retire, write_archive

KEEP = timedelta(days=30)


@pytest.fixture
def ended(rig):
    """Fleets that ended long ago, and a newer one."""
    service = make_service(rig.database)
    found = []
    for name in ("a", "b"):
        found.append(rig.submit({"count": 3}, name=name).id)
        service.cancel(name, TENANT, actor="t")
    rig.clock.advance(KEEP.total_seconds() + 1)
    rig.submit({"count": 1}, name="new")
    return found


def kept(rig):
    """How many fleets, jobs and events there are."""
    with rig.database.read() as tx:
        return tuple(
            tx.execute(select(func.count()).select_from(table)).scalar_one()
            for table in (fleets, jobs, job_events)
        )


def test_fleets_are_kept_for_ever_by_default(rig, ended):
    """Without a policy there is nothing to do, and nothing goes."""
    before = kept(rig)
    with rig.database.read() as tx:
        assert Retire(rig.database, None).wanted(tx) is None
    Retire(rig.database, None).run(None)
    assert kept(rig) == before


def test_old_fleets_go_with_everything_that_is_theirs(rig, ended):
    """The loop forgets what ended long ago, jobs and events too, and then looks again in an hour."""
    loop = rig.make_loop(Retire(rig.database, KEEP))
    loop.prepare()
    for _ in range(5):
        loop.turn()
    assert kept(rig) == (1, 1, 1)
    with rig.database.read() as tx:
        assert not retirement.any_retired(tx)
    assert Retire(rig.database, KEEP).run(None) == rig.clock.at(3600)


def test_who_dies_in_between_is_taken_over_from(rig, ended, monkeypatch):
    """A worker that dies between any two steps leaves what another one goes on with, also without the policy."""
    monkeypatch.setattr(retire, "_MOST_BATCHES", 1)
    Retire(rig.database, KEEP).run(None)
    turns = 0
    while True:
        other = Retire(rig.database, None)
        with rig.database.read() as tx:
            if other.wanted(tx) is None:
                break
        other.run(None)
        turns += 1
    assert turns > 4
    assert kept(rig) == (1, 1, 1)


def test_a_fleet_is_archived_before_it_goes(rig, ended, tmp_path):
    """Each fleet has its own file, for our eyes only, with its rows of the results and their events."""
    folder = tmp_path / "archive"
    chore = Retire(rig.database, KEEP, folder)
    chore.run(None)
    assert kept(rig)[0] == 3, "nothing is deleted in the run that wrote the files"
    assert {path.name for path in folder.iterdir()} == {f"{fleet}.jsonl.gz" for fleet in ended}
    path = folder / f"{ended[0]}.jsonl.gz"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    head, *lines = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    assert (head["fleet"]["name"], head["fleet"]["count"]) == ("a", 3)
    assert [line["job"]["position"] for line in lines] == [1, 2, 3]
    assert [event["event"] for event in lines[0]["events"]] == ["validated", "cancelled"]
    assert lines[0]["job"]["submitted_at"] == "2026-03-01T12:00:00.000Z"
    assert lines[0]["job"]["fleet"] == "a"


def test_without_its_archive_no_fleet_goes(rig, ended, tmp_path):
    """Where the archive cannot be written nothing is retired; it is tried again ten minutes later."""
    folder = tmp_path / "archive"
    folder.write_text("in the way")
    chore, before = Retire(rig.database, KEEP, folder), kept(rig)
    with pytest.raises(FileExistsError):
        chore.run(None)
    assert kept(rig) == before
    assert chore.retry(None, rig.clock.now) == rig.clock.at(600)
    with rig.database.read() as tx:
        assert not retirement.any_retired(tx)


def test_a_fleet_that_is_kept_after_all_has_no_file(rig, ended, tmp_path, monkeypatch):
    """What changed while it was written is kept, and its file is taken away again."""
    monkeypatch.setattr(retirement, "retire", lambda *_: False)  # stands for a retry in that moment
    Retire(rig.database, KEEP, tmp_path).run(None)
    assert list(tmp_path.glob("*.gz")) == []


def test_an_archive_holds_no_secret(rig, tmp_path):
    """What came sealed with the request is not in the file."""
    fleet = rig.submit({"count": 1, "root_pass": "a-Secret-9-of-mine"}).id
    words = gzip.decompress(write_archive(rig.database, fleet, tmp_path).read_bytes())
    assert b"a-Secret-9-of-mine" not in words
    assert b"sealed" not in words


def test_a_long_fleet_is_written_in_pieces(rig, tmp_path, monkeypatch):
    """More jobs than are read at once are all in the file, each once and in order."""
    monkeypatch.setattr(retirement, "BATCH", 2)
    fleet = add_fleet(rig.database)
    for position in range(1, 6):
        add_job(rig.database, State.CANCELLED, fleet_id=fleet, position=position)
    lines = gzip.decompress(write_archive(rig.database, fleet, tmp_path).read_bytes()).splitlines()
    assert [json.loads(line)["job"]["position"] for line in lines[1:]] == [1, 2, 3, 4, 5]


def test_no_fleet_is_kept_for_less_than_a_day(rig):
    """Whatever somebody asks for: what the API applies late is found by its job's row."""
    rig.submit({"count": 1}, name="a")
    make_service(rig.database).cancel("a", TENANT, actor="t")
    rig.clock.advance(23 * 3600)
    rig.submit({"count": 1}, name="new")
    Retire(rig.database, timedelta(0)).run(None)
    assert kept(rig)[0] == 2
