import asyncio

import pytest

from nodewright import AsyncClient, Client

HOUR = 3600


@pytest.fixture
def fleet(served, http, document):
    """The id of a running fleet with a time to live of an hour."""
    made = http.post("/v1/fleets", json=document(ttl="1h")).json()["fleet"]
    served.give_instances()
    return made["id"]


def test_a_fleet_shows_its_times(http, document):
    """A fleet shows its times as they were asked for, in UTC and in seconds."""
    times = {"not_before": "2030-01-01T02:00:00+02:00", "deadline": "2030-01-02T00:00:00Z", "ttl": "2h"}
    made = http.post("/v1/fleets", json=document(**times, boot_timeout="5m")).json()["fleet"]
    assert (made["not_before"], made["deadline"]) == ("2030-01-01T00:00:00.000Z", "2030-01-02T00:00:00.000Z")
    assert (made["ttl_seconds"], made["boot_timeout_seconds"], made["stopped_at"]) == (2 * HOUR, 300, None)


@pytest.mark.parametrize("by", ["2h", 2 * HOUR])
def test_a_time_to_live_is_extended(http, fleet, by):
    """An extension holds for the fleet and for each of its jobs."""
    answer = http.post(f"/v1/fleets/{fleet}/ttl", json={"extend": by})
    assert answer.status_code == 200, answer.text
    assert (answer.json()["extended"], answer.json()["fleet"]["ttl_seconds"]) == (3, 3 * HOUR)


def test_both_clients_extend(served, fleet):
    """Both clients can do it, by the fleet's name too."""
    with Client(served.url, served.key) as client:
        assert client.extend_ttl("web", "1h").extended == 3

    async def again():
        async with AsyncClient(served.url, served.key) as client:
            return await client.extend_ttl(fleet, 60)

    assert asyncio.run(again()).fleet.ttl_seconds == 2 * HOUR + 60


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"extend": 0},
        {"extend": "2 hours"},
        {"extend": True},
        {"extend": 1, "x": 1},
        {"extend": "9999d"},
    ],
)
def test_bad_extensions(http, fleet, body):
    """Anything but a duration is refused with field, value and remedy, and nothing is changed."""
    answer = http.post(f"/v1/fleets/{fleet}/ttl", json=body)
    assert answer.status_code == 422
    (fault,) = answer.json()["errors"]
    assert (fault["code"], fault["pointer"]) == ("invalid_request", "/extend")
    assert "2h" in fault["remedy"]
    assert http.get(f"/v1/fleets/{fleet}").json()["fleet"]["ttl_seconds"] == HOUR


def test_what_cannot_be_extended(http, fleet, document):
    """A fleet that has no time to live, and one that has the longest, are refused with their reason."""
    http.post("/v1/fleets", json=document(name="forever"))
    answer = http.post("/v1/fleets/forever/ttl", json={"extend": "1h"})
    assert (answer.status_code, answer.json()["code"]) == (409, "no_ttl")
    answer = http.post(f"/v1/fleets/{fleet}/ttl", json={"extend": "3650d"})
    assert answer.status_code == 422
    assert "extend it by 3649d23h at most" in answer.json()["errors"][0]["remedy"]
    assert http.post("/v1/fleets/nothing/ttl", json={"extend": "1h"}).status_code == 404


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"deadline": "2020-01-01T00:00:00Z"}, "/deadline"),
        ({"ttl": "5m", "boot_timeout": "5m"}, "/ttl"),
        ({"not_before": "2030-01-02T00:00:00Z", "deadline": "2030-01-01T00:00:00Z"}, "/not_before"),
        ({"region": ["us-east", "us-eats"]}, "/region/1"),
        ({"regions": {"us-east": 0}, "region": None}, "/regions/us-east"),
    ],
)
def test_bad_times_and_places(http, document, change, pointer):
    """What cannot be kept is refused at submit with its place, and nothing is stored."""
    asked = {name: value for name, value in document(**change).items() if value is not None}
    answer = http.post("/v1/fleets", json=asked)
    assert answer.status_code == 422
    (fault,) = answer.json()["errors"]
    assert fault["pointer"] == pointer
    assert fault["remedy"]
    assert fault["value"] is not None
    assert http.get("/v1/fleets").json()["fleets"] == []


def test_the_command_line_extends(served, run, fleet):
    """`show` lets a fleet live longer and says so; what it cannot do ends with exit code 2."""
    done = run("show", "web", "--extend-ttl", "2h", env=served.env)
    assert done.exit_code == 0, done.stderr
    assert "3 instances of web live longer by 2h." in done.stdout
    assert "Each instance is deleted 3:00:00 after its create." in done.stdout
    wrong = run("show", fleet, "--extend-ttl", "soon", env=served.env)
    assert wrong.exit_code == 2
    assert "write it as 90m, 2h or 3d" in wrong.stderr
    assert run("show", "nothing", "--extend-ttl", "2h", env=served.env).exit_code == 2


def test_a_job_says_what_was_asked_for(served, run, http, document):
    """A job shows its alternatives beside what it is."""
    http.post("/v1/fleets", json=document(region=["us-east", "us-ord"]))
    job = http.get("/v1/jobs?fleet=web").json()["jobs"][0]
    detail = http.get(f"/v1/jobs/{job['id']}").json()["job"]
    assert (job["choice"], job["region"]) == (0, "us-east")
    assert detail["asked"] == {"types": ["g6-nanode-1"], "regions": ["us-east", "us-ord"], "spread": False}
    shown = run("show", job["id"], env=served.env).stdout
    assert "g6-nanode-1 in us-east or us-ord" in shown


def test_a_plan_shows_alternatives_and_spreads(served, run, tmp_path):
    """A plan shows what may be taken instead, what it costs at most, and how many instances go where."""
    path = tmp_path / "fleet.yaml"
    path.write_text(
        "name: web\ngroups:\n"
        "- {type: [g6-nanode-1, g1-gpu-rtx6000-1], region: us-ord, count: 2}\n"
        "- {type: g6-nanode-1, regions: {us-east: 2, us-west: 1}, count: 3}\n"
    )
    done = run("plan", str(path), env=served.env)
    assert done.exit_code == 0, done.stdout + done.stderr
    words = [line.split() for line in done.stdout.splitlines()]
    assert ["+", "2", "g6-nanode-1", "us-west"] not in [line[:4] for line in words]
    assert ["+", "2", "g6-nanode-1", "us-east"] in [line[:4] for line in words]
    assert ["+", "1", "g6-nanode-1", "us-west"] in [line[:4] for line in words]
    assert ["or", "g1-gpu-rtx6000-1", "us-ord"] in words
    assert ["at", "most", "$3.02", "$2,015.00"] in words


def test_options_name_alternatives(served, run, http):
    """`--region a,b` names alternatives; a wrong member is named by its option."""
    spec = ("--type", "g6-nanode-1", "--image", "linode/debian12")
    done = run("submit", "--name", "web", "--region", "us-east,us-ord", *spec, env=served.env)
    assert done.exit_code == 0, done.stderr
    (job,) = http.get("/v1/jobs?fleet=web").json()["jobs"]
    assert http.get(f"/v1/jobs/{job['id']}").json()["job"]["asked"]["regions"] == ["us-east", "us-ord"]
    wrong = run("submit", "--name", "w", "--region", "us-east,us-eats", *spec, env=served.env)
    assert wrong.exit_code == 2
    assert "--region: there is no region 'us-eats'" in wrong.stderr
