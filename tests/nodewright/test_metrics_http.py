import re
import threading
from random import Random

import httpx
import pytest
from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics

from jobs import house, keys, tallies
from jobs.alarms import CODES
from jobs.states import Event
from nodewright.metrics import METRICS, PER_PROCESS, series
from nodewright.service.metrics import DatabaseCollector
from tests.support.clock import FakeClock

NAME = re.compile(r"nodewright(_[a-z]+)+")
BASE_UNITS = {"seconds", "usd"}
NO_UNITS = {"milliseconds", "minutes", "hours", "days", "ms", "dollars", "cents", "micros"}


def scrape(http):
    """Return the families of a scrape by their names."""
    said = http.get("/metrics").raise_for_status().text
    return {family.name: family for family in parser.text_string_to_metric_families(said)}


def value(families, name, **labels):
    """Return one sample's value."""
    samples = [one for family in families.values() for one in family.samples if one.name == name]
    (found,) = [one.value for one in samples if labels.items() <= one.labels.items()]
    return found


@pytest.fixture
def full(http, served, document):
    """A service of which every metric has a sample; returns its scrape."""
    http.post("/v1/fleets", json=document())
    with served.database.write() as tx:
        counts = {
            (tallies.EVENTS, tallies.labelled(event="sent")): 3,
            (tallies.ENDED, tallies.labelled(outcome="failed", code="no_capacity")): 2,
            (tallies.REQUESTS, tallies.labelled(method="GET", route="/regions", status="200")): 5,
            (f"{tallies.WAITING}_bucket", tallies.labelled(le="5.0")): 2,
            (f"{tallies.WAITING}_bucket", tallies.labelled(le="+Inf")): 1,
            (f"{tallies.WAITING}_sum", "{}"): 100_006.5,
        }
        tallies.add(tx, counts)
        tallies.chore_failed(tx, "watch:default")
        house.heartbeat(tx, "worker-1")
    return scrape(http)


def test_every_metric_is_what_the_table_says(full):
    """What is shown is declared: name, kind, help and labels; and of what is declared nothing is missing but windows,
    chores and the like, of which this installation has none.
    """
    declared = {name.removesuffix("_total"): one for name, one in METRICS.items()}
    assert set(full) == set(declared)
    for name, family in full.items():
        said = declared[name]
        assert (family.type, family.documentation) == (said.kind, said.documentation)
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(said.labels), sample
            assert sample.name in series(said.name), sample


@pytest.mark.parametrize("name", METRICS)
def test_names_are_by_the_conventions(name):
    """Counters end in _total, nothing else does; units are base units; there is help that ends as a sentence does."""
    said = METRICS[name]
    assert NAME.fullmatch(name)
    assert name.endswith("_total") is (said.kind == "counter")
    assert NO_UNITS.isdisjoint(name.split("_"))
    assert said.documentation.endswith(".")
    assert said.kind in {"counter", "gauge", "histogram"}
    if said.kind == "histogram":
        assert name.endswith("_seconds")


def test_counters_are_those_of_the_database(full):
    """Tallies become counters, and buckets become a histogram: heights add up, and the sum is exact."""
    assert value(full, tallies.ENDED, outcome="failed", code="no_capacity") == 2
    assert value(full, tallies.REQUESTS, route="/regions", status="200") == 5
    assert value(full, tallies.CHORES_FAILED, chore="watch", account="default") == 1
    assert value(full, f"{tallies.WAITING}_bucket", le="1.0") == 0
    assert value(full, f"{tallies.WAITING}_bucket", le="43200.0") == 2
    assert value(full, f"{tallies.WAITING}_bucket", le="+Inf") == 3
    assert value(full, f"{tallies.WAITING}_count") == 3
    assert value(full, f"{tallies.WAITING}_sum") == 100_006.5
    assert value(full, f"{tallies.BOOTING}_count") == 0


def test_counters_begin_at_nothing(full):
    """Each event and each end is there from the beginning, or Prometheus would not see the first one."""
    assert {one.labels["event"] for one in full["nodewright_job_events"].samples} == set(Event)
    ends = {
        (one.labels["outcome"], one.labels["code"]): one.value
        for one in full["nodewright_jobs_ended"].samples
    }
    assert ends["failed", "boot_timeout"] == ends["rejected", "unknown_type"] == ends["running", ""] == 0
    assert len(ends) == 2 * len(tallies.CODES) + 3


def test_gauges_tell_of_now(full):
    """States, queue, workers and alarms; each code that an alarm can have is there from the beginning, as 0."""
    assert value(full, "nodewright_jobs", state="queued") == 3
    assert value(full, "nodewright_jobs", state="failed") == 0
    assert value(full, "nodewright_queue_oldest_seconds") > 0
    assert value(full, "nodewright_workers") == 1
    assert value(full, "nodewright_job_events_unfolded") == 3
    alarms = {sample.labels["code"]: sample.value for sample in full["nodewright_alarms"].samples}
    assert alarms == dict.fromkeys(CODES, 0)


def test_an_alarm_shows(http, served):
    """A paused account is one alarm, with its code."""
    served.pause("unauthorized", "Invalid Token")
    found = scrape(http)
    assert value(found, "nodewright_alarms", code="unauthorized") == 1
    assert value(found, "nodewright_accounts_paused", by="api") == 1


def test_the_service_counts_by_route_not_by_path(http):
    """Answers are counted by route template and status; what nobody serves, and methods that nobody knows, are one."""
    for path in ("/v1/fleets/one", "/v1/fleets/two", "/.git/config", "/wp-login.php"):
        http.get(path)
    http.request("BREW", "/v1/fleets")
    samples = scrape(http)["nodewright_http_requests"].samples
    counted = {
        tuple(one.labels[name] for name in ("method", "route", "status")): one.value
        for one in samples
        if one.name.endswith("_total")
    }
    assert counted["GET", "/v1/fleets/{ref}", "404"] == 2
    assert counted["GET", "(none)", "404"] == 2
    assert {method for method, *_ in counted} == {"GET", "OTHER"}
    assert not [route for _, route, _ in counted if "git" in route or "one" in route.split("/")]


def test_what_breaks_off_is_a_500(http, served):
    """An error of ours is counted as what the caller is told: 500."""
    served.database.close()
    served.deps.service.fleets = None
    assert http.get("/v1/fleets").status_code == 500
    del served.deps.service.fleets
    assert value(scrape(http), "nodewright_http_requests_total", route="/v1/fleets", status="500") == 1


def test_openmetrics_is_spoken_where_it_is_asked_for(http):
    """Prometheus asks for OpenMetrics, and its strict parser reads every family."""
    answer = http.get("/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    names = {family.name for family in openmetrics.text_string_to_metric_families(answer.text)}
    assert {name.removesuffix("_total") for name in METRICS} <= names


# Who may read it -----------------------------------------------------------------------------------------------------


def asked(served, *scopes, **headers):
    """Return the status with which a key of these scopes is answered."""
    key = keys.create_key(
        served.database, tenant="default", name="p", dice=Random(str(scopes)), scopes=scopes
    )
    found = httpx.get(
        f"{served.url}/metrics", headers={"Authorization": f"Bearer {key}", **headers}, trust_env=False
    )
    return found.status_code


def test_who_may_read_them(served):
    """A key with the scope `metrics` or `admin` may; others may not, for the numbers are of all tenants together."""
    assert asked(served, "metrics") == asked(served, "admin") == 200
    assert asked(served, "submit", "read", "operate") == 403
    assert httpx.get(f"{served.url}/metrics", trust_env=False).status_code == 200
    foreign = {"Host": "evil.example"}
    assert httpx.get(f"{served.url}/metrics", headers=foreign, trust_env=False).status_code == 401


def test_a_key_for_metrics_may_nothing_else(served):
    """Prometheus' key opens none of /v1."""
    key = keys.create_key(served.database, tenant="default", name="p", dice=Random(5), scopes=("metrics",))
    headers = {"Authorization": f"Bearer {key}"}
    for path in ("/v1/fleets", "/v1/jobs", "/v1/status", "/v1/rate-windows"):
        assert httpx.get(f"{served.url}{path}", headers=headers, trust_env=False).status_code == 403


# Cheap ---------------------------------------------------------------------------------------------------------------


class Reading:
    """Something that takes so long to be read; counts how often it was."""

    def __init__(self, served, seconds=0.0):
        self.served, self.seconds, self.times = served, seconds, 0
        self.clock = FakeClock()

    def __call__(self):
        self.times += 1
        self.clock.advance(self.seconds)
        return self.served.deps.service.readings()

    def collector(self):
        return DatabaseCollector(self, self.clock.monotonic)


def test_who_asks_again_at_once_is_shown_the_same(served):
    """Within a second the database is read once, whoever asks; later it is read again."""
    reading = Reading(served)
    collector = reading.collector()
    threads = [threading.Thread(target=lambda: list(collector.collect())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert reading.times == 1
    reading.clock.advance(1.1)
    list(collector.collect())
    assert reading.times == 2


def test_what_is_dear_is_kept_longer(served):
    """Where reading takes half a second it is done every ten seconds at most."""
    reading = Reading(served, seconds=0.5)
    collector = reading.collector()
    list(collector.collect())
    reading.clock.advance(9)
    list(collector.collect())
    assert reading.times == 1
    reading.clock.advance(2)
    list(collector.collect())
    assert reading.times == 2


def test_per_process_metrics_are_few():
    """Only what a service knows of itself is kept in its memory."""
    own = {name for name, one in METRICS.items() if one.kept == PER_PROCESS}
    assert own == {
        "nodewright_http_requests_total",
        "nodewright_http_request_seconds",
        "nodewright_build_info",
    }
