"""The official command line, unchanged, against the simulator: its specification is baked into its package."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from simulator import SimulatorOptions, background

CLI = Path(sys.executable).with_name("linode-cli")

pytestmark = pytest.mark.skipif(
    not CLI.exists() and shutil.which("linode-cli") is None, reason="linode-cli is not installed"
)


@pytest.fixture(scope="module")
def server():
    """A simulator whose instances run after 0.3 s."""
    with background(SimulatorOptions(boot=0.3, limits={"list": [], "images": []})) as made:
        yield made


@pytest.fixture
def cli(server, tmp_path):
    """A function that runs linode-cli in an empty home and returns its JSON."""
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "LINODE_CLI_CONFIG": str(tmp_path / "linode-cli"),
        "LINODE_CLI_TOKEN": server.token,
        "LINODE_CLI_API_HOST": f"127.0.0.1:{server.port}",
        "LINODE_CLI_API_SCHEME": "http",
        "LINODE_CLI_API_VERSION": "v4",
    }

    def run(*arguments, status=0):
        command = [str(CLI), "--suppress-warnings", "--no-defaults", "--json", *arguments]
        ran = subprocess.run(command, capture_output=True, text=True, env=env, check=False, timeout=60)
        assert ran.returncode == status, (ran.stdout, ran.stderr)
        return json.loads(ran.stdout) if status == 0 and ran.stdout.strip() else ran.stdout + ran.stderr

    return run


def test_the_cli_lists_and_pages_catalogs(cli):
    """Types on one page, kernels page by page, and all pages of availability."""
    assert len(cli("linodes", "types")) == 37
    assert len(cli("kernels", "list", "--page", "4", "--page-size", "100")) == 30
    assert len(cli("regions", "list-avail", "--all-rows")) == 1457


def test_the_cli_filters(cli):
    """Its filter options become an X-Filter that is understood."""
    assert {row["vendor"] for row in cli("images", "list", "--vendor", "Debian")} == {"Debian"}


def test_the_cli_creates_waits_and_deletes(cli):
    """Create, poll until running, delete, and the list is empty."""
    (made,) = cli(
        *("linodes", "create", "--type", "g6-nanode-1", "--region", "us-east", "--image", "linode/debian12"),
        *("--root_pass", "aComplexP@ss1", "--label", "cli-1", "--tags", "cli", "--tags", "nw:1.1"),
    )
    assert (made["label"], made["status"]) == ("cli-1", "provisioning")
    deadline = time.monotonic() + 20
    while cli("linodes", "view", str(made["id"]))[0]["status"] != "running":
        assert time.monotonic() < deadline
    assert [row["id"] for row in cli("linodes", "list", "--label", "cli-1")] == [made["id"]]
    cli("linodes", "delete", str(made["id"]))
    assert cli("linodes", "list") == []


def test_the_cli_shows_our_errors(cli):
    """A refused create ends with status 2 and the API's words."""
    said = cli("linodes", "create", "--type", "no", "--region", "us-east", status=2)
    assert "A valid plan type by that ID was not found" in said
