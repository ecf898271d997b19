import csv
import json
import re
import shlex
import shutil
import subprocess
from ast import literal_eval
from configparser import ConfigParser
from ipaddress import ip_address
from pathlib import Path

import pytest
import yaml

from nodewright.cli.hosts import Format, Host, distinct, fits, written

SPEC = ("--type", "g6-nanode-1", "--region", "us-east", "--image", "linode/debian12")
STRANGE = ("a b", "x*", "!web", "-oProxyCommand=touch", "a\nHost *", "#web", "", "web;id")


def host(number=1, **changes):
    """A running instance."""
    usual = {
        "name": f"web-{number:04d}",
        "label": f"web-{number:04d}",
        "linode_id": 7000 + number,
        "ipv4": f"192.0.2.{number}",
        "ipv6": f"2001:db8::{number}",
        "fleet": "web shop",
        "fleet_id": "01",
        "job_id": f"{number}",
        "region": "us-east",
        "type": "g6-nanode-1",
        "image": "linode/debian12",
        "state": "running",
        "tags": ("prod", "front end"),
    }
    return Host(**{**usual, **changes})


def text(kind, *hosts, user="root"):
    """Some hosts in a format."""
    return "".join(written(hosts or (host(1), host(2)), kind, user=user))


def test_ansible_reads_it_as_a_scripts_answer():
    """The JSON is what an inventory script answers to --list: groups, and all variables under _meta."""
    found = json.loads(text(Format.ANSIBLE))
    assert found["all"]["hosts"] == ["web-0001", "web-0002"]
    assert set(found["all"]["children"]) == {
        *("fleet_web_shop", "region_us_east", "type_g6_nanode_1", "tag_prod", "tag_front_end")
    }
    for group in found["all"]["children"]:
        assert found[group] == {"hosts": ["web-0001", "web-0002"]}
        assert group.isidentifier()
    facts = found["_meta"]["hostvars"]["web-0001"]
    assert (facts["ansible_host"], facts["linode_id"], facts["label"]) == ("192.0.2.1", 7001, "web-0001")
    assert facts["instance_tags"] == ["prod", "front end"]
    assert "tags" not in facts


def test_yaml_says_the_same():
    """The YAML inventory holds the same hosts, variables and groups."""
    found, script = yaml.safe_load(text(Format.YAML)), json.loads(text(Format.ANSIBLE))
    assert found["all"]["hosts"] == script["_meta"]["hostvars"]
    assert {name: list(group["hosts"]) for name, group in found["all"]["children"].items()} == {
        name: script[name]["hosts"] for name in script["all"]["children"]
    }


def test_ini_says_the_same():
    """The INI inventory holds the same groups, and variables that Ansible reads back as they were."""
    one = host(1, job_id="0x10", image=None, fleet='it\'s "two" # words', label="None")
    head, _, groups = text(Format.INI, one).partition("\n\n")
    name, *words = shlex.split(head)
    facts = dict(word.split("=", 1) for word in words)
    assert name == "web-0001"
    assert {key: _as_ansible(value) for key, value in facts.items()} == {
        key: value for key, value in one.variables.items() if value is not None
    }
    parsed = ConfigParser(allow_no_value=True)
    parsed.read_string(groups)
    assert "tag_prod" in parsed.sections()
    assert all(list(parsed[group]) == ["web-0001"] for group in parsed.sections())


def _as_ansible(value):
    # ansible.plugins.inventory.ini: what can be read as Python is, all else is text.
    try:
        return literal_eval(value)
    except (ValueError, SyntaxError):
        return value


@pytest.mark.skipif(shutil.which("ssh") is None, reason="there is no ssh here")
def test_ssh_understands_its_config(tmp_path):
    """The real ssh finds address, user and key alias of a host in the file, and nothing of ours for another one."""
    path = tmp_path / "config"
    path.write_text(text(Format.SSH_CONFIG, host(1), host(2, ipv4=None), user="admin"))

    def asked(name):
        done = subprocess.run(
            ["ssh", "-F", path, "-G", name],
            capture_output=True,
            text=True,
            check=True,
            stdin=subprocess.DEVNULL,
        )
        return dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)

    first, second = asked("web-0001"), asked("web-0002")
    assert (first["hostname"], first["user"], first["hostkeyalias"]) == ("192.0.2.1", "admin", "linode-7001")
    assert second["hostname"] == "2001:db8::2"
    assert asked("elsewhere")["user"] != "admin"


def test_hosts_file():
    """Each line of /etc/hosts is an address and a name."""
    for line, number in zip(text(Format.HOSTS).splitlines(), (1, 2), strict=True):
        address, name = line.split("\t")
        assert (str(ip_address(address)), name) == (f"192.0.2.{number}", f"web-000{number}")


def test_csv_and_json():
    """CSV and JSON hold every host with the same facts; a spreadsheet runs none of them."""
    evil = host(2, tags=("=1+1",))
    rows = list(csv.DictReader(text(Format.CSV, host(1), evil).splitlines()))
    found = json.loads(text(Format.JSON, host(1), evil))["instances"]
    assert [row["name"] for row in rows] == [one["name"] for one in found] == ["web-0001", "web-0002"]
    assert rows[0]["tags"] == "prod front end"
    assert rows[1]["tags"] == "'=1+1"
    assert found[1]["tags"] == ["=1+1"]
    assert set(rows[0]) == set(found[0])
    assert json.loads("".join(written((), Format.JSON, user="root"))) == {"instances": []}


@pytest.mark.parametrize("name", STRANGE)
def test_what_is_no_word_is_left_out(name):
    """A label that is no plain word, were there ever one, reaches no file where it could mean something else."""
    assert not fits(host(name=name), needs_address=False)
    for kind in (Format.ANSIBLE, Format.JSON):
        assert json.loads(text(kind, host(name=name)))
    assert yaml.safe_load(text(Format.YAML, host(name=name)))["all"]["hosts"][name]["linode_id"] == 7001


def test_what_has_no_address():
    """Without an address, or with one that is none, a host fits only formats that need none."""
    for bare in (host(ipv4=None, ipv6=None), host(ipv4="$(id)", ipv6=None)):
        assert fits(bare, needs_address=False)
        assert not fits(bare, needs_address=True)
        assert "ansible_host" not in bare.variables


def test_what_a_host_knows_is_documented():
    """The how-to lists each variable of a host, and each format."""
    page = (Path(__file__).parents[2] / "docs/howto/inventory.md").read_text()
    variables = page.partition("Its variables are ")[2].partition(".\n")[0]
    assert set(re.findall(r"`([a-z0-9_]+)`", variables)) == set(host().variables)
    assert all(f"`{kind}`" in page for kind in Format)


def test_names_are_distinct():
    """Two accounts may have the same label: the second one gets its instance's id behind it."""
    same = [host(1), host(2, name="web-0001"), host(3)]
    names = [one.name for one in distinct(same, lambda one, name: host(one.linode_id - 7000, name=name))]
    assert names == ["web-0001", "web-0001-7002", "web-0003"]


def _fleet(served, run, tmp_path):
    path = tmp_path / "fleet.yaml"
    common = "type: g6-nanode-1, region: us-east, image: linode/debian12"
    path.write_text(
        f"name: shop\ngroups:\n  - {{count: 2, {common}, tags: [prod], label_pattern: 'w-{{index}}'}}\n"
        f"  - {{count: 1, {common}, label_pattern: 'db-{{index}}'}}\n"
    )
    assert run("submit", str(path), env=served.env).exit_code == 0


def test_only_what_runs(served, run, tmp_path):
    """Only running instances are listed, unless other ones are asked for, with the tags of their own group."""
    _fleet(served, run, tmp_path)
    assert json.loads(run("inventory", "--json", env=served.env).stdout) == {"instances": []}
    served.give_instances()
    listed = json.loads(run("inventory", "shop", "--list", env=served.env).stdout)
    assert listed["tag_prod"]["hosts"] == ["w-1", "w-2"]
    assert listed["fleet_shop"]["hosts"] == ["w-1", "w-2", "db-1"]
    asked = run("inventory", "--tag", "prod", "--format", "hosts", env=served.env)
    assert sorted(line.split("\t")[1] for line in asked.stdout.splitlines()) == ["w-1", "w-2"]
    assert run("inventory", "--state", "booting", "--format", "hosts", env=served.env).stdout == ""
    assert (
        len(run("inventory", "--state", "any", "--format", "hosts", env=served.env).stdout.splitlines()) == 3
    )


def test_one_host(served, run, tmp_path):
    """Asked for one host, as Ansible may, it prints its variables; of one that is unknown there are none."""
    _fleet(served, run, tmp_path)
    served.give_instances()
    assert json.loads(run("inventory", "--host", "db-1", env=served.env).stdout)["label"] == "db-1"
    assert json.loads(run("inventory", "--host", "nobody", env=served.env).stdout) == {}


def test_what_is_left_out_is_said(served, run, tmp_path):
    """What a format cannot hold is counted on standard error."""
    _fleet(served, run, tmp_path)
    served.give_instances()
    served.put_all("running", ipv4=None)
    done = run("inventory", "--format", "ssh-config", env=served.env)
    assert (done.exit_code, done.stdout) == (0, "")
    assert "3 left out: no address yet" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--user", "a b"], "--user: expected a user's name, got 'a b'"),
        (["--user", "x\nProxyCommand id"], "--user: expected"),
        (["--state", "nowhere"], "got 'nowhere'"),
        (["nobody"], "'nobody'"),
        (["--format", "xml"], "xml"),
    ],
)
def test_bad_input(served, run, arguments, words):
    """Bad input is named, and exits with 2."""
    done = run("inventory", *arguments, env=served.env)
    assert done.exit_code == 2
    assert words in done.stderr
