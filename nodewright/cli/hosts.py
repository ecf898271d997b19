"""Instances as other tools read them: Ansible, ssh, /etc/hosts, CSV and JSON. Pure: a format yields its text in parts.

Labels are made of letters, digits, dots, dashes and underscores. Nothing here relies on that: what a format cannot hold
is quoted, or left out and said.
"""

import csv
import json
import re
import shlex
from ast import literal_eval
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from io import StringIO
from ipaddress import ip_address
from typing import Any, Final

import yaml

from nodewright.cli.output import safe_cell

_PLAIN: Final = re.compile("[A-Za-z0-9._/:-]+")
_NO_GROUP: Final = re.compile("[^A-Za-z0-9_]")
_ONE_WORD: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
"""What is one word, and no pattern, wherever names stand: in ssh_config, in /etc/hosts, in an Ansible inventory."""


@dataclass(frozen=True)
class Host:
    """One instance. ``name`` is its label, made distinct where two accounts have the same."""

    name: str
    label: str
    linode_id: int
    ipv4: str | None
    ipv6: str | None
    fleet: str
    fleet_id: str
    job_id: str
    region: str
    type: str
    image: str | None
    state: str
    tags: tuple[str, ...]

    @property
    def address(self) -> str | None:
        """Where it is reached: by IPv4, else by IPv6; None: it has no address."""
        return next((one for one in (self.ipv4, self.ipv6) if one and _is_address(one)), None)

    @property
    def variables(self) -> dict[str, Any]:
        """What Ansible knows of it. `tags` is a word of Ansible's own, so ours are `instance_tags`."""
        facts = {name: value for name, value in vars(self).items() if name not in {"name", "tags"}}
        where = {} if self.address is None else {"ansible_host": self.address}
        return {**where, **facts, "instance_tags": list(self.tags)}

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups that it is in, as Ansible spells names."""
        named = [("fleet", self.fleet), ("region", self.region), ("type", self.type)]
        named += [("tag", tag) for tag in self.tags]
        return tuple(dict.fromkeys(_NO_GROUP.sub("_", f"{kind}_{value}") for kind, value in named if value))


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def distinct(hosts: Iterable[Host], renamed: Callable[[Host, str], Host]) -> Iterator[Host]:
    """Yield hosts with names that occur once: a label that was there before gets its instance's id behind it."""
    seen: set[str] = set()
    for host in hosts:
        one = host if host.name not in seen else renamed(host, f"{host.name}-{host.linode_id}")
        seen.add(one.name)
        yield one


def fits(host: Host, *, needs_address: bool) -> bool:
    """Return whether a format of one word a name can hold it."""
    return _ONE_WORD.fullmatch(host.name) is not None and not (needs_address and host.address is None)


# Formats -------------------------------------------------------------------------------------------------------------


def _by_group(hosts: Iterable[Host]) -> tuple[dict[str, dict[str, Any]], dict[str, list[str]]]:
    variables: dict[str, dict[str, Any]] = {}
    groups: dict[str, list[str]] = {}
    for host in hosts:
        variables[host.name] = host.variables
        for group in host.groups:
            groups.setdefault(group, []).append(host.name)
    return variables, dict(sorted(groups.items()))


def ansible(hosts: Iterable[Host]) -> Iterator[str]:
    """Yield what Ansible expects of an inventory script asked for `--list`."""
    variables, groups = _by_group(hosts)
    listed: dict[str, Any] = {name: {"hosts": names} for name, names in groups.items()}
    everything = {"hosts": list(variables), "children": list(groups)}
    found = {"_meta": {"hostvars": variables}, "all": everything, **listed}
    yield json.dumps(found, indent=2, ensure_ascii=False) + "\n"


def ansible_yaml(hosts: Iterable[Host]) -> Iterator[str]:
    """Yield a static inventory for Ansible's `yaml` plugin."""
    variables, groups = _by_group(hosts)
    children: dict[str, Any] = {
        name: {"hosts": {host: {} for host in names}} for name, names in groups.items()
    }
    found = {"all": {"hosts": variables, "children": children}}
    yield yaml.safe_dump(found, sort_keys=False, allow_unicode=True, width=1000)


def ansible_ini(hosts: Iterable[Host]) -> Iterator[str]:
    """Yield a static inventory for Ansible's `ini` plugin."""
    variables, groups = _by_group(hosts)
    for name, facts in variables.items():
        words = [f"{key}={_ini(value)}" for key, value in facts.items() if value is not None]
        yield f"{name} {' '.join(words)}\n"
    for group, names in groups.items():
        yield f"\n[{group}]\n" + "".join(f"{name}\n" for name in names)


def _ini(value: Any) -> str:  # noqa: ANN401 - a variable's value
    # Ansible reads a value as Python does where that is possible, and text has to stay text.
    plain = isinstance(value, str) and _PLAIN.fullmatch(value) and not _is_literal(value)
    return value if plain else shlex.quote(repr(value))


def _is_literal(text: str) -> bool:
    try:
        literal_eval(text)
    except (ValueError, SyntaxError):
        return False
    return True


def ssh_config(hosts: Iterable[Host], *, user: str) -> Iterator[str]:
    """Yield a block of `ssh_config` per host. The key is kept by instance: addresses are used again."""
    for host in hosts:
        yield (
            f"Host {host.name}\n    HostName {host.address}\n    User {user}\n"
            f"    HostKeyAlias linode-{host.linode_id}\n\n"
        )


def hosts_file(hosts: Iterable[Host]) -> Iterator[str]:
    """Yield a line of `/etc/hosts` per host."""
    for host in hosts:
        yield f"{host.address}\t{host.name}\n"


CSV_COLUMNS: Final = (
    *("name", "address", "ipv4", "ipv6", "linode_id", "fleet", "region", "type", "image", "state", "tags"),
    *("label", "fleet_id", "job_id"),
)


def as_csv(hosts: Iterable[Host]) -> Iterator[str]:
    """Yield a row per host, tags separated by spaces."""
    yield _csv_line(CSV_COLUMNS)
    for host in hosts:
        row: Mapping[str, Any] = {**as_json_row(host), "tags": " ".join(host.tags)}
        yield _csv_line(safe_cell(row[name]) for name in CSV_COLUMNS)


def _csv_line(cells: Iterable[object]) -> str:
    out = StringIO()
    csv.writer(out, lineterminator="\n").writerow(cells)
    return out.getvalue()


def as_json(hosts: Iterable[Host]) -> Iterator[str]:
    """Yield ``{"instances": […]}``, host by host."""
    yield '{"instances": ['
    for index, host in enumerate(hosts):
        yield (",\n" if index else "\n") + json.dumps(as_json_row(host), ensure_ascii=False)
    yield "\n]}\n"


def as_json_row(host: Host) -> dict[str, Any]:
    """Return a host as programs read it."""
    return {**vars(host), "tags": list(host.tags), "address": host.address}


class Format(StrEnum):
    """Whom an inventory is for."""

    ANSIBLE = "ansible"
    INI = "ini"
    YAML = "yaml"
    SSH_CONFIG = "ssh-config"
    HOSTS = "hosts"
    CSV = "csv"
    JSON = "json"


ONE_WORD_NAMES: Final = frozenset({Format.INI, Format.SSH_CONFIG, Format.HOSTS})
NEEDS_ADDRESS: Final = frozenset({Format.SSH_CONFIG, Format.HOSTS})


def written(hosts: Iterable[Host], kind: Format, *, user: str) -> Iterator[str]:
    """Yield an inventory in one of the formats."""
    if kind is Format.SSH_CONFIG:
        return ssh_config(hosts, user=user)
    writers: dict[Format, Callable[[Iterable[Host]], Iterator[str]]] = {
        Format.ANSIBLE: ansible,
        Format.INI: ansible_ini,
        Format.YAML: ansible_yaml,
        Format.HOSTS: hosts_file,
        Format.CSV: as_csv,
        Format.JSON: as_json,
    }
    return writers[kind](hosts)
