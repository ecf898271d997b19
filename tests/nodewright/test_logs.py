"""Log lines are JSON, and those about a job carry its id, its fleet's and the request's."""

import io
import json
from dataclasses import replace

import httpx
import pytest

from nodewright.logs import make_logger
from tests.nodewright.conftest import _serving


@pytest.fixture
def log_of(site):
    """Serves the site to what a test does; returns the lines of its log once the service has ended."""

    def run(act):
        file = io.StringIO()
        site.deps = replace(site.deps, log=make_logger("info", file=file, part="service"))
        headers = {"Authorization": f"Bearer {site.key}", "X-Request-Id": "req-7"}
        with (
            _serving(site),
            httpx.Client(base_url=site.url, headers=headers, trust_env=False) as http,
        ):
            done = act(http)
        return done, [json.loads(line) for line in file.getvalue().splitlines()]

    return run


def test_a_request_says_what_it_is_about(log_of, document):
    """A submit's line names the fleet that it made; a line about a job names the job and its fleet."""

    def act(http):
        fleet = http.post("/v1/fleets", json=document()).json()["fleet"]["id"]
        job = http.get("/v1/jobs").json()["jobs"][0]["id"]
        http.get(f"/v1/jobs/{job}")
        http.post(f"/v1/jobs/{job}/retry")
        http.post(f"/v1/jobs/{job}/cancel")
        http.post(f"/v1/jobs/{job}/resolve", json={"absent": True})
        return fleet, job

    (fleet, job), (submit, listed, *of_job) = log_of(act)
    assert (submit["event"], submit["fleet"], submit["part"]) == ("request", fleet, "service")
    assert {"fleet", "job"}.isdisjoint(listed), "nothing is said of an earlier request"
    assert [line["status"] for line in of_job] == [200, 409, 200, 409]
    assert {line["job"] for line in of_job} == {job}
    # The job of a refused resolve is not read.
    assert [line.get("fleet") for line in of_job] == [fleet, fleet, fleet, None]
    assert {line["request_id"] for line in (submit, listed, *of_job)} == {"req-7"}


def test_a_fleet_is_named_as_it_was_asked_for(log_of, document):
    """A line about a fleet has its name or id, whichever the path has; one that is not there too."""

    def act(http):
        http.post("/v1/fleets", json=document())
        http.get("/v1/fleets/web")
        http.get("/v1/fleets/none")

    _, (_, *lines) = log_of(act)
    assert [(line["fleet"], line["status"]) for line in lines] == [("web", 200), ("none", 404)]
