"""The metrics of a run equal the table's own counts, with four workers, after one of them was killed in its midst."""

import json
from collections import Counter
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import create_engine, text

from jobs.database import normalise_url
from nodewright import Client
from simulator import SimulatorOptions, background
from tests.acceptance.stack import environment, kill_worker, until, up
from tests.support.postgres import running_postgres

pytestmark = [pytest.mark.stack, pytest.mark.postgres]
CREATE = {"method": "POST", "route": "/linode/instances"}
FAULTS = [
    {**CREATE, "action": "no_capacity", "reason": "image is not valid", "label": "web-000?", "count": 9},
    {**CREATE, "action": "server_error", "label": "web-003?", "count": 3},
    {**CREATE, "action": "reset_after", "label": "web-005?", "count": 3},
]
COUNT = 60
SPEC = {"type": "g6-nanode-1", "region": "us-east", "image": "linode/debian12"}


@pytest.fixture
def api():
    """A simulated API that takes thirty creates in a second."""
    with background(SimulatorOptions(boot=0.5, create_limit=30, create_window=1)) as running:
        yield running


@pytest.fixture
def postgres_url():
    """An empty database of a server of its own."""
    with running_postgres() as server:
        yield server.url(server.create())


@pytest.fixture
def env(api, tmp_path, postgres_url):
    """The environment of a stack in front of it, on PostgreSQL."""
    return environment(
        tmp_path / "home",
        LINODE_TOKEN="simulated-token",
        LINODE_API_URL=api.url,
        NODEWRIGHT_DATABASE_URL=postgres_url,
        NODEWRIGHT_CREATE_LIMIT="30/1",
        NODEWRIGHT_GRACE_SECONDS="1",
        NODEWRIGHT_LEASE_SECONDS="10",
    )


@pytest.fixture
def ask(postgres_url):
    """Asks the database in SQL."""
    engine = create_engine(normalise_url(postgres_url))

    def asked(query):
        with engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(query))]

    yield asked
    engine.dispose()


def control(api, method, path, **more):
    """Ask the simulator itself."""
    url = f"{api.url.removesuffix('/v4')}/_control/{path}"
    return httpx.request(method, url, trust_env=False, **more).raise_for_status().json()


def calls(api):
    """Return how many calls the API had."""
    return sum(one["count"] for one in control(api, "GET", "traffic")["calls"])


def home_client(env):
    """Return a client of the stack."""
    place = json.loads((Path(env["NODEWRIGHT_HOME"]) / "service.json").read_text())
    return Client(place["url"], place["api_key"])


STEPS = {
    # A job that was retried waits anew from then on. The view job_results rounds, so the rows are asked themselves.
    "waiting": "CASE WHEN linode_id IS NOT NULL THEN extract(epoch FROM sent_at - coalesce((SELECT max(at) "
    "FROM job_events e WHERE e.job_id = jobs.id AND event = 'retried'), submitted_at)) END",
    "creating": "extract(epoch FROM created_at - sent_at)",
    "booting": "extract(epoch FROM running_at - created_at)",
}


class Scrape:
    """The metrics as Prometheus reads them."""

    def __init__(self, env):
        place = json.loads((Path(env["NODEWRIGHT_HOME"]) / "service.json").read_text())
        said = httpx.get(f"{place['url']}/metrics", trust_env=False).raise_for_status().text
        families = text_string_to_metric_families(said)
        self.samples = [sample for family in families for sample in family.samples]

    def by(self, name, *labels):
        """Return one metric by the values of some labels; the others are summed up, and zeroes are left out."""
        found = Counter()
        for sample in self.samples:
            if sample.name == name:
                found[tuple(sample.labels[label] for label in labels)] += sample.value
        return {key: value for key, value in found.items() if value}

    def value(self, name):
        """Return a metric without labels."""
        return self.by(name).get((), 0)

    @property
    def caught_up(self):
        """Whether the counters count every event."""
        return self.value("nodewright_job_events_unfolded") == 0


def counted(rows):
    """Return rows whose last column is a count as a mapping."""
    return {tuple(row[:-1]): row[-1] for row in rows}


def settled(ask):
    """Return whether no job moves any more."""
    moving = "('submitted', 'queued', 'dispatched', 'creating', 'uncertain', 'booting', 'deleting')"
    return not ask(f"SELECT id FROM jobs WHERE state IN {moving} LIMIT 1")


def equal(scrape, ask):
    """Hold every metric of jobs against the tables."""
    assert scrape.by("nodewright_jobs", "state") == counted(
        ask("SELECT state, count(*) FROM jobs GROUP BY state")
    )
    assert scrape.by("nodewright_job_events_total", "event") == counted(
        ask("SELECT event, count(*) FROM job_events GROUP BY event")
    )
    # The jobs that ended for good, and those that failed and were retried.
    ends = Counter(
        counted(ask("SELECT state, coalesce(error_code, ''), count(*) FROM jobs GROUP BY state, error_code"))
    )
    retried = (
        "SELECT 'failed', f.detail->>'code', count(*) FROM job_events r JOIN LATERAL (SELECT detail FROM job_events "
        "WHERE job_id = r.job_id AND id < r.id AND state = 'failed' ORDER BY id DESC LIMIT 1) f ON true "
        "WHERE r.event = 'retried' GROUP BY f.detail->>'code'"
    )
    ends.update(counted(ask(retried)))
    assert scrape.by("nodewright_jobs_ended_total", "outcome", "code") == ends
    for step, seconds in STEPS.items():
        ((number, total),) = ask(f"SELECT count({seconds}), sum({seconds}) FROM jobs")
        name = f"nodewright_job_{step}_seconds"
        assert scrape.value(f"{name}_count") == number
        assert scrape.value(f"{name}_sum") == pytest.approx(float(total), abs=0.001), step
        for (bound,), height in scrape.by(f"{name}_bucket", "le").items():
            below = ask(f"SELECT count(*) FROM jobs WHERE {seconds} <= {bound.replace('+Inf', '1e9')}")
            assert [(height,)] == below, (step, bound)
    ((refused,),) = ask("SELECT coalesce(sum(refused), 0) FROM rate_windows")
    assert scrape.value("nodewright_linode_refused_total") == refused
    ((hourly,),) = ask("SELECT sum(hourly_microusd) FROM jobs WHERE state = 'running'")
    assert scrape.value("nodewright_spend_usd_per_hour") == pytest.approx(float(hourly) / 1e6)


def read_logs(folder):
    """Hold every log line about a job to what it must carry."""
    ours = [folder / "service.log", *folder.glob("worker-*.log")]
    found = [line for path in ours for line in path.read_text().splitlines()]
    # Celery says goodbye in plain words.
    lines = [json.loads(line) for line in found if line and "Warm shutdown" not in line]
    of_jobs = [line for line in lines if "job" in line and line.get("ended") != "not mine"]
    assert len(of_jobs) >= COUNT
    for line in of_jobs:
        assert {"fleet", "request_id"} <= set(line), line
    submits = [line for line in lines if line.get("path") == "/v1/fleets" and line["method"] == "POST"]
    assert {(line["fleet"], line["request_id"]) for line in submits} >= {
        (line["fleet"], line["request_id"]) for line in of_jobs if line["part"] == "worker"
    }


def test_the_metrics_of_a_run_equal_the_tables_counts(api, env, ask, tmp_path):
    """Creates are refused, fail and lose their replies, a worker of four is killed, a fleet is cancelled, jobs are
    retried: each metric is what SQL counts in the tables, no more and no less.
    """
    control(api, "POST", "faults", json=FAULTS)
    with up(env, tmp_path / "up.log", "--workers", "4") as stack, home_client(env) as client:
        client.submit({"name": "web", "count": COUNT, **SPEC})
        until(lambda: ask("SELECT count(*) FROM jobs WHERE state = 'running'")[0][0] > 5, 60)
        before = calls(api)
        assert kill_worker(stack.pid, "worker-2")
        client.submit({"name": "other", "count": COUNT, **SPEC})
        client.cancel("other")
        until(lambda: settled(ask), 90)
        client.retry("web")
        until(lambda: settled(ask), 60)
        scrape = until(lambda: (one := Scrape(env)).caught_up and settled(ask) and one, 30)
        equal(scrape, ask)
        ends = scrape.by("nodewright_jobs_ended_total", "outcome")
        assert ends["failed",] >= 9
        assert ends["cancelled",] >= 1
        assert scrape.by("nodewright_job_events_total", "event")["unknown",] >= 3
        assert scrape.value("nodewright_workers") == 4
    read_logs(Path(env["NODEWRIGHT_HOME"]) / "logs")
    # Each worker handed over what it had counted as it ended; only what the killed one had not yet is missing.
    ((counted_calls,),) = ask(
        "SELECT sum(value) FROM tallies WHERE metric = 'nodewright_linode_requests_total'"
    )
    assert calls(api) - before <= counted_calls <= calls(api)
