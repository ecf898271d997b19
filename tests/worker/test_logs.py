import io
import json
from types import SimpleNamespace

import pytest

from jobs.fleets import Trace
from nodewright.logs import make_logger
from tests.support.fleets import fleet_request, make_service
from worker.app import CREATE_TASK, _add_tasks, build_app


@pytest.fixture
def create(rig):
    """Runs the task of a create in this thread; returns the lines that it logged."""
    file = io.StringIO()
    app = build_app("memory://")
    parts = SimpleNamespace(crew=rig.engine, loop=SimpleNamespace(wake=lambda: None), service=None)
    parts.log = make_logger("info", file=file)
    _add_tasks(app, parts)

    def run(job_id):
        app.tasks[CREATE_TASK](job_id)
        return json.loads(file.getvalue().splitlines()[-1])

    return run


def test_a_creates_line_carries_job_fleet_and_request(rig, create):
    """The worker's line names job, fleet, and the request that made the fleet; another job's line names its own."""
    service = make_service(rig.database)
    made = [
        service.submit(
            fleet_request(name=name), tenant="default", actor="test", trace=Trace(f"req-{name}", None)
        ).fleet
        for name in ("one", "two")
    ]
    jobs = {row.id: rig.row(row.id).fleet_id for row in service.jobs("default")}
    lines = [create(job_id) for job_id in rig.admit()]
    assert {(line["job"], line["fleet"], line["request_id"]) for line in lines} == {
        (job, fleet.id, f"req-{fleet.name}") for fleet in made for job, of in jobs.items() if of == fleet.id
    }
    assert {line["ended"] for line in lines} == {"booting"}


def test_a_line_of_a_job_that_is_not_to_be_made_carries_the_job_only(rig, create):
    """A wake-up that came twice is nobody's create: no row was read for it, and nothing of the last job is said."""
    job_id = rig.job()
    create(job_id)
    line = create(job_id)
    assert (line["job"], line["ended"]) == (job_id, "not mine")
    assert {"fleet", "request_id"}.isdisjoint(line)
