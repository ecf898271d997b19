"""docker-compose.yml without Docker: its services' own commands and environments, run against local servers."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import yaml

from deploy.make_secrets import PAIRS, generated, torn, write
from nodewright.embedded import EmbeddedValkey, free_port
from nodewright.processes import Supervisor
from nodewright.settings import Settings, describe_settings
from tests.support.postgres import running_postgres

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
OURS = {name: spec for name, spec in SERVICES.items() if str(spec.get("image", "")).startswith("nodewright:")}
SECRETS = "/run/secrets/"
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def _environment(spec):
    """Return a service's environment with defaults put in, as Compose does without a .env file."""
    return {
        name: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)
        for name, value in spec.get("environment", {}).items()
    }


# The file says what is true


def test_ours_are_three():
    """Migration, HTTP service and worker are run from one image."""
    assert {"migrate", "service", "worker"} == set(OURS)


@pytest.mark.parametrize("name", OURS)
def test_every_variable_is_a_setting(name):
    """A service is given no variable that Nodewright does not know."""
    known = {info.name for info in describe_settings()}
    with_file = {f"{info.name}_FILE" for info in describe_settings() if info.file}

    assert set(_environment(OURS[name])) <= known | with_file


@pytest.mark.parametrize("name", OURS)
def test_every_secret_comes_by_file(name):
    """A secret setting is given as a file, and the service may read exactly the secrets that it names."""
    secret = {info.name for info in describe_settings() if info.secret}
    environment = _environment(OURS[name])
    files = {value.removeprefix(SECRETS) for value in environment.values() if value.startswith(SECRETS)}

    assert secret.isdisjoint(environment)
    assert set(OURS[name]["secrets"]) == files


def test_only_the_worker_has_the_token():
    """The Linode token is given to nobody but the worker."""
    holders = [name for name, spec in SERVICES.items() if "linode_token" in spec.get("secrets", ())]

    assert holders == ["worker"]


def test_secrets_are_made_by_the_script():
    """`make secrets` makes every secret that the file names, but the token, which it asks for."""
    assert {*generated(), "linode_token"} == set(COMPOSE["secrets"])


def test_image_has_this_version():
    """The image's tag is the project's version."""
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]

    assert {f"nodewright:{version}"} == {spec["image"] for spec in OURS.values()}


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_what_goes_on_has_a_healthcheck(name):
    """Each service that keeps running is checked and started again."""
    spec = SERVICES[name]

    if name == "migrate":
        assert spec["restart"] == "on-failure"
    else:
        assert spec["restart"] == "unless-stopped"
        assert spec["healthcheck"]["test"]


def test_nothing_is_open_to_the_network():
    """Ports are published on the host's loopback only, and databases not at all."""
    published = {name: spec["ports"] for name, spec in SERVICES.items() if "ports" in spec}

    assert {"service"} == set(published)
    assert all(port.startswith("127.0.0.1:") for port in published["service"])


def test_workers_can_be_scaled():
    """Nothing of the worker's can exist only once: neither a name nor a port."""
    assert {"container_name", "ports", "hostname"}.isdisjoint(SERVICES["worker"])


# Secrets


def test_secrets_are_kept(tmp_path):
    """A second run changes nothing: an encryption key that is replaced makes sealed secrets unreadable."""
    folder = tmp_path / "secrets"
    write(folder, generated())
    before = {path.name: path.read_text() for path in folder.iterdir()}

    assert write(folder, generated()) == []
    assert before == {path.name: path.read_text() for path in folder.iterdir()}
    assert folder.stat().st_mode & 0o777 == 0o700


def test_half_a_pair_is_not_made_anew(tmp_path):
    """A password that is in two files is never made for one of them only."""
    write(tmp_path, generated())
    (tmp_path / PAIRS[0][1]).unlink()

    assert [PAIRS[0][1]] == torn(tmp_path)


# The Dockerfile


def _copied():
    lines = re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
    return [source for line in lines for source in line.split()[:-1]]


@pytest.mark.parametrize("source", _copied())
def test_what_the_image_copies_is_there(source):
    """Each file that the Dockerfile copies exists, and .dockerignore lets it through."""
    assert (ROOT / source).exists()
    assert f"!{source}" in (ROOT / ".dockerignore").read_text().splitlines()


def test_the_image_runs_as_nobody_special():
    """The last stage ends as a user that is not root, and installs only what has a hash."""
    assert re.findall(r"^USER (\w+)$", DOCKERFILE, re.MULTILINE)[-1] == "nodewright"
    assert "--require-hashes -r requirements-run.lock" in DOCKERFILE


def test_the_locks_agree():
    """What the image runs, and what drives the browser, is pinned to the very versions that were tested."""
    pins = {
        name: set(re.findall(r"^([a-z0-9-]+==[^ ]+)", (ROOT / name).read_text(), re.MULTILINE))
        for name in ("requirements.lock", "requirements-run.lock", "requirements-browser.lock")
    }

    assert pins["requirements-run.lock"]
    assert pins["requirements-run.lock"] <= pins["requirements.lock"] <= pins["requirements-browser.lock"]


# The services run


class Host:
    """A stand-in for Docker: secret files in a folder, services as processes, their checks as commands."""

    def __init__(self, folder, secrets, changes):
        self.folder = folder
        self.changes = changes
        write(folder / "secrets", secrets)

    def environment(self, name):
        """Return a service's own environment; addresses of other containers become local ones."""
        own = {**_environment(OURS[name]), **self.changes}
        placed = {key: value.replace(SECRETS, f"{self.folder}/secrets/") for key, value in own.items()}
        return {"PATH": os.environ["PATH"], "NODEWRIGHT_HOME": str(self.folder / "home"), **placed}

    def run(self, name):
        """Run a service that ends."""
        return subprocess.run(
            self._command(name), env=self.environment(name), cwd="/", check=False, timeout=60
        )

    @contextmanager
    def running(self, name):
        """Keep a service running; SIGTERM ends it in its time, with code 0."""
        path = self.folder / f"{name}.log"
        with (
            path.open("w") as log,
            subprocess.Popen(
                self._command(name), env=self.environment(name), cwd="/", stdout=log, stderr=log
            ) as process,
        ):
            try:
                self._await_healthy(name, process, path)
                yield
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(45)
        assert process.returncode == 0, path.read_text()

    def _await_healthy(self, name, process, path):
        deadline = time.monotonic() + 30
        while not self.healthy(name):
            assert process.poll() is None, path.read_text()
            assert time.monotonic() < deadline, path.read_text()

    def healthy(self, name):
        """Ask as Docker does."""
        kind, program, script, *arguments = OURS[name]["healthcheck"]["test"]
        assert (kind, program, script) == ("CMD", "python", "/opt/nodewright/healthcheck.py")
        command = [sys.executable, str(ROOT / "deploy/healthcheck.py"), *arguments]
        return not subprocess.run(
            command, env=self.environment(name), cwd="/", check=False, capture_output=True
        ).returncode

    def _command(self, name):
        entry = re.search(r'^ENTRYPOINT \["(\w+)"\]$', DOCKERFILE, re.MULTILINE)[1]
        return [str(Path(sys.executable).parent / entry), *OURS[name]["command"]]


@contextmanager
def _simulator():
    port = free_port()
    command = f"{sys.executable} -m simulator --port {port} --boot 1 --token the-token"
    with subprocess.Popen(shlex.split(command), cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        try:
            _await(lambda: httpx.get(f"http://127.0.0.1:{port}/_control/health", trust_env=False).is_success)
            yield f"http://127.0.0.1:{port}/v4"
        finally:
            process.terminate()


def _await(asked):
    deadline = time.monotonic() + 20
    while True:
        try:
            if asked():
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture
def host(tmp_path):
    """Local servers in place of the containers that are not ours."""
    with running_postgres() as postgres, Supervisor() as supervisor, _simulator() as api:
        valkey = EmbeddedValkey.planned(tmp_path / "valkey")
        valkey.start(supervisor, dict(os.environ))
        secrets = {
            **generated(),
            "database_url": postgres.url(postgres.create()),
            "redis_url": valkey.url,
            "linode_token": "the-token",
        }
        port = str(free_port())
        yield Host(tmp_path, secrets, {"LINODE_API_URL": api, "NODEWRIGHT_PORT": port})


@pytest.mark.stack
@pytest.mark.postgres
@pytest.mark.valkey
def test_the_services_work_together(host):
    """Migrate, service and worker, each by its own command and environment, bring a fleet to its end."""
    assert not host.healthy("service")
    assert not host.healthy("worker")
    assert host.run("migrate").returncode == 0
    with host.running("service"), host.running("worker"):
        _await_catalog(host)
        done = _submit(host)

    assert done.returncode == 0, done.stderr
    assert '"running": 3' in done.stdout


def _client_environment(host):
    values = Settings.load(host.environment("service"))
    return {
        "PATH": os.environ["PATH"],
        "NODEWRIGHT_HOME": str(host.folder / "client"),
        "NODEWRIGHT_URL": f"http://127.0.0.1:{values.port}",
        "NODEWRIGHT_API_KEY": values.api_key.get_secret_value(),
    }


def _await_catalog(host):
    url = _client_environment(host)["NODEWRIGHT_URL"]
    _await(lambda: httpx.get(f"{url}/readyz", trust_env=False).json()["catalog"] == "fresh")


def _submit(host):
    options = "--name web --count 3 --type g6-nanode-1 --region us-east --image linode/debian12 --wait --json"
    command = [str(Path(sys.executable).parent / "nodewright"), "submit", *options.split()]
    return subprocess.run(
        command, env=_client_environment(host), check=False, capture_output=True, text=True, timeout=60
    )
