"""The simulated world: instances, labels, tags, events, accounts. No IO, no clock, no dice; ``now`` comes in.

A world is deterministic in its settings and the calls it gets, cheap to make, and safe to ``copy.deepcopy``.
"""

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Literal

from simulator import create
from simulator.accounts import DEFAULT_TOKEN, Token
from simulator.audit import Audit
from simulator.catalog import Catalog, Row, load_catalog
from simulator.draws import draw
from simulator.faults import Faults
from simulator.filters import Filter
from simulator.lifecycle import (
    BOOTING_AT,
    SETTLED,
    BootFate,
    Event,
    Instance,
    LifeClock,
    Timeline,
    first_boot,
    iso,
    job_timeline,
)
from simulator.limits import HeaderMode, Limits
from simulator.wire import ApiError, Complaint, refusal

OperationKind = Literal["create", "update", "delete", "boot", "shutdown", "reboot"]

FIRST_INSTANCE = 70_000_001
FIRST_EVENT = 900_000_001
FOREIGN_TOKEN = "somebody-else"  # noqa: S105  # a name in the audit, not a credential

_POWER: Mapping[str, tuple[str, str, float]] = {
    "boot": ("booting", "running", 0.5),
    "reboot": ("rebooting", "running", 0.5),
    "shutdown": ("shutting_down", "offline", 0.1),
}
"""Operation → status meanwhile, status afterwards, share of the boot time that it takes (a guess)."""


@dataclass(slots=True)
class WorldSettings:
    """How the world behaves. Durations are seconds; instances' lives and ``latency`` shrink with speed."""

    boot: float = 60.0
    boot_spread: float = 0.0
    """Each instance's boot time is drawn from ``boot`` ± this."""
    latency: float = 0.0
    """How long a create's reply takes; the instance exists from its arrival on."""
    jitter: tuple[float, float] = (0.0, 0.0)
    """Network latency of every call: mean and spread."""
    deletion: float = 0.0
    """How long a deleted instance still shows, with status ``deleting``."""
    headers: HeaderMode = "all"
    seed: int = 0
    instance_limit: int | None = None
    """Instances that an account may have; over it is the recorded ``Account Limit reached``."""
    no_capacity: str = "The selected region has no capacity for this plan. Please try another region."
    """The real words of v4 are unknown."""


@dataclass(frozen=True, slots=True)
class Operation:
    """A change to instances that a token asks for."""

    kind: OperationKind
    token: Token
    ident: int = 0
    body: Mapping[str, Any] = field(default_factory=dict)
    fate: BootFate = "running"
    lag: float = 0.0


class World:
    """Everything that the API remembers."""

    def __init__(
        self,
        settings: WorldSettings | None = None,
        *,
        limits: Limits | None = None,
        faults: Faults | None = None,
        tokens: Sequence[Token] = (Token(DEFAULT_TOKEN),),
        catalog: Catalog | None = None,
        speed: float = 1.0,
    ) -> None:
        self.settings = settings or WorldSettings()
        self.limits = limits or Limits()
        self.faults = faults or Faults(self.settings.seed)
        self.catalog = catalog or load_catalog()
        self.tokens = {token.value: token for token in tokens}
        self.clock = LifeClock(speed)
        self.audit = Audit()
        self.instances: dict[int, Instance] = {}
        self.events: list[Event] = []
        self.calls = 0
        self._alive: dict[str, dict[int, Instance]] = {}
        self._labels: dict[tuple[str, str], int] = {}
        self._tagged: dict[tuple[str, str], dict[int, Instance]] = {}
        self._agenda: list[tuple[float, int, Operation | int]] = []
        self._planned = 0

    # What is there

    def images(self, token: Token | None) -> Mapping[str, Row]:
        """Public images, and the account's own where there is a token."""
        return self.catalog.images if token is None else self.catalog.all_images

    def instance(self, account: str, ident: int) -> Instance:
        """An instance of that account that is still there, else 404."""
        found = self._alive.get(account, {}).get(ident)
        if found is None:
            raise refusal(404, "Not found")
        return found

    def label_of(self, ident: int) -> str | None:
        """The label of an instance, dead or alive, of anybody."""
        found = self.instances.get(ident)
        return None if found is None else str(found.shown["label"])

    def listed(self, account: str, wanted: Filter, now: float) -> list[Instance]:
        """The account's instances that match, oldest first; those with a list lag come later."""
        candidates = sorted(self._candidates(account, wanted.equal or {}), key=attrgetter("ident"))
        visible = [one for one in candidates if one.listed_from <= now]
        if wanted.order_by is None and (wanted.test is None or wanted.names_only("tags")):
            return visible  # the index has answered already
        by_shown = {id(one.shown): one for one in visible}
        return [by_shown[id(shown)] for shown in wanted.apply([one.shown for one in visible])]

    def events_of(self, account: str, life: float) -> Iterator[Event]:
        """The account's events that have begun, newest first."""
        return (
            event
            for event in reversed(self.events)
            if event.account == account and event.timeline[0][0] <= life
        )

    def _candidates(self, account: str, equal: Mapping[str, Any]) -> Sequence[Instance]:
        """An index's answer where the filter names a tag or a label: benchmarks keep tens of thousands."""
        if isinstance(label := equal.get("label"), str):
            ident = self._labels.get((account, label))
            return [] if ident is None else [self.instances[ident]]
        if isinstance(tag := equal.get("tags"), str):
            return list(self._tagged.get((account, tag), {}).values())
        return list(self._alive.get(account, {}).values())

    # What happens

    def advance(self, now: float) -> None:
        """Let everything happen that was due until ``now``: late creates, removals of deleted instances."""
        while self._agenda and self._agenda[0][0] <= now:
            due, _, item = heapq.heappop(self._agenda)
            if isinstance(item, Operation):
                self._apply_late(item, due)
            elif item in self.instances:
                self._forget(self.instances[item])

    def next_due(self) -> float | None:
        """The wall time of the next thing that will happen by itself, if any."""
        return self._agenda[0][0] if self._agenda else None

    def schedule(self, operation: Operation, due: float) -> None:
        """Perform an operation at a later wall time; nobody hears what became of it but the audit."""
        self._plan(due, operation)

    def perform(self, operation: Operation, now: float) -> dict[str, Any]:
        """Do it now, all or nothing; returns what the API answers, or raises its refusal."""
        if operation.kind == "create":
            return self._create(operation, now)
        instance = self.instance(operation.token.account, operation.ident)
        if operation.kind == "update":
            return self._update(instance, operation.body, now)
        if operation.kind == "delete":
            return self._delete(instance, now)
        return self._power(instance, operation.kind, now)

    def set_speed(self, speed: float, now: float) -> None:
        """Let instances live faster or slower from ``now`` on."""
        self.clock.change(speed, now)

    def add_foreign(self, account: str, body: Mapping[str, Any], now: float) -> Instance:
        """An instance that somebody else made in the account, past all checks but its label's."""
        self._check_label(account, body.get("label"))
        return self._make(Operation("create", Token(FOREIGN_TOKEN, account), body=body), now, foreign=True)

    def untag(self, ident: int, tag: str) -> None:
        """Take a tag off an instance, as a person would in the Cloud Manager."""
        instance = self.instances[ident]
        self._retag(instance, [other for other in instance.shown["tags"] if other != tag])

    def remove(self, ident: int, now: float) -> None:
        """Take an instance away, as a person would: at once and without a token."""
        instance = self.instances[ident]
        instance.deleted = now
        self._forget(instance)

    # How

    def _plan(self, due: float, item: Operation | int) -> None:
        self._planned += 1
        heapq.heappush(self._agenda, (due, self._planned, item))

    def _apply_late(self, operation: Operation, due: float) -> None:
        try:
            self.perform(operation, due)
        except ApiError as error:
            result = error.complaints[0].reason
        else:
            result = "applied"
        self.audit.late.append((due, f"{operation.kind}: {result}"))

    def _create(self, operation: Operation, now: float) -> dict[str, Any]:
        body, account = operation.body, operation.token.account
        found = create.complaints(body, self.catalog, self.images(operation.token))
        label = body.get("label")
        if isinstance(label, str) and (account, label) in self._labels:
            found.append(Complaint(create.LABEL_TAKEN, "label"))
        if found:
            raise ApiError(400, found)
        self._check_room(account, body)
        instance = self._make(operation, now)
        return {**instance.shown, "status": "provisioning"}

    def _check_room(self, account: str, body: Mapping[str, Any]) -> None:
        limit = self.settings.instance_limit
        if limit is not None and len(self._alive.get(account, {})) >= limit:
            raise refusal(400, create.ACCOUNT_LIMIT)
        if (create.region_id(body), body["type"]) in self.catalog.unavailable:
            raise refusal(400, self.settings.no_capacity, "region")

    def _check_label(self, account: str, label: object, *, but: int | None = None) -> None:
        if isinstance(label, str) and self._labels.get((account, label), but) != but:
            raise refusal(400, create.LABEL_TAKEN, "label")

    def _make(self, operation: Operation, now: float, *, foreign: bool = False) -> Instance:
        ident = FIRST_INSTANCE + len(self.instances)
        plan = self.catalog.types[operation.body["type"]]
        life, seconds = self.clock.at(now), self._boot_seconds(ident)
        boots = operation.body.get("booted") is not False and operation.body.get("image") is not None
        instance = Instance(
            ident=ident,
            account=operation.token.account,
            token=operation.token.value,
            shown=_shown(ident, operation.body, plan, iso(now)),
            timeline=first_boot(life, seconds, boots=boots, fate=operation.fate),
            created=now,
            listed_from=now + operation.lag if operation.lag else 0.0,
            foreign=foreign,
        )
        self._index(instance)
        self._first_events(instance, life, seconds, boots=boots, fate=operation.fate)
        return instance

    def _boot_seconds(self, ident: int) -> float:
        spread = self.settings.boot_spread
        if not spread:
            return self.settings.boot
        shift = 2 * draw(self.settings.seed, "boot", ident) - 1
        return max(0.0, self.settings.boot + spread * shift)

    def _first_events(
        self, instance: Instance, life: float, seconds: float, *, boots: bool, fate: BootFate
    ) -> None:
        half = life + seconds * BOOTING_AT
        end = None if fate == "stuck" else half
        self._event(instance, "linode_create", instance.created, job_timeline(life, life, end))
        if boots and fate != "stuck":
            course = job_timeline(life, half, life + seconds, failed=fate == "offline")
            self._event(instance, "linode_boot", instance.created, course)

    def _event(self, instance: Instance, action: str, now: float, timeline: Timeline) -> None:
        entity = {
            "id": instance.ident,
            "type": "linode",
            "label": instance.shown["label"],
            "url": f"/v4/linode/instances/{instance.ident}",
        }
        ident = FIRST_EVENT + len(self.events)
        self.events.append(Event(ident, instance.account, action, now, timeline, entity))

    def _update(self, instance: Instance, body: Mapping[str, Any], now: float) -> dict[str, Any]:
        found = [*create.label_complaints(body), *create.tag_complaints(body)]
        if found:
            raise ApiError(400, found)
        if body.get("label") is not None:
            self._check_label(instance.account, body["label"], but=instance.ident)
            self._relabel(instance, body["label"])
        if body.get("tags") is not None:
            self._retag(instance, list(body["tags"]))
        kept: dict[str, Any] = {"group": str(body["group"] or "")} if "group" in body else {}
        if "watchdog_enabled" in body:
            kept["watchdog_enabled"] = bool(body["watchdog_enabled"])
        instance.change(updated=iso(now), **kept)
        return instance.rendered(self.clock.at(now))

    def _delete(self, instance: Instance, now: float) -> dict[str, Any]:
        if instance.deleted is not None:
            return {}
        instance.deleted = now
        life = self.clock.at(now)
        self._event(instance, "linode_delete", now, job_timeline(life, life, life + self.settings.deletion))
        if self.settings.deletion <= 0:
            self._forget(instance)
            return {}
        instance.timeline = ((life, "deleting"),)
        self._plan(now + self.settings.deletion / self.clock.speed, instance.ident)
        return {}

    def _power(self, instance: Instance, kind: str, now: float) -> dict[str, Any]:
        life = self.clock.at(now)
        if instance.status(life) not in SETTLED:
            raise refusal(400, "Linode busy.")
        meanwhile, afterwards, share = _POWER[kind]
        end = life + self.settings.boot * share
        instance.timeline = ((life, meanwhile), (end, afterwards))
        self._event(instance, f"linode_{kind}", now, job_timeline(life, life, end))
        return {}

    def _index(self, instance: Instance) -> None:
        self.instances[instance.ident] = instance
        self._alive.setdefault(instance.account, {})[instance.ident] = instance
        self._labels[instance.account, instance.shown["label"]] = instance.ident
        for tag in instance.shown["tags"]:
            self._tagged.setdefault((instance.account, tag), {})[instance.ident] = instance

    def _forget(self, instance: Instance) -> None:
        if self._alive[instance.account].pop(instance.ident, None) is None:
            return
        self._labels.pop((instance.account, instance.shown["label"]), None)
        for tag in instance.shown["tags"]:
            self._tagged[instance.account, tag].pop(instance.ident, None)

    def _relabel(self, instance: Instance, label: str) -> None:
        del self._labels[instance.account, instance.shown["label"]]
        self._labels[instance.account, label] = instance.ident
        instance.change(label=label)

    def _retag(self, instance: Instance, tags: Sequence[str]) -> None:
        for tag in instance.shown["tags"]:
            self._tagged[instance.account, tag].pop(instance.ident, None)
        instance.change(tags=sorted(set(tags)))
        for tag in instance.shown["tags"]:
            self._tagged.setdefault((instance.account, tag), {})[instance.ident] = instance

    def revoke(self, value: str) -> None:
        """Forget a token: from now on it is 401 ``Invalid Token``."""
        self.tokens.pop(value, None)


def _shown(ident: int, body: Mapping[str, Any], plan: Row, date: str) -> dict[str, Any]:
    metadata = body.get("metadata")
    image = body.get("image")
    return {
        "id": ident,
        "label": body.get("label") or f"linode{ident}",
        "group": str(body.get("group") or ""),
        "created": date,
        "updated": date,
        "type": plan["id"],
        "ipv4": _ipv4(ident, private=bool(body.get("private_ip"))),
        "ipv6": f"2001:db8::f03c:91ff:{ident >> 16 & 0xFFFF:x}:{ident & 0xFFFF:x}/128",
        "image": image,
        "region": create.region_id(body),
        "site_type": "core",
        "specs": _specs(plan),
        "alerts": {
            "cpu": plan["vcpus"] * 90,
            "network_in": 10,
            "network_out": 10,
            "transfer_quota": 80,
            "io": 10000,
        },
        "backups": _backups(enabled=bool(body.get("backups_enabled"))),
        "hypervisor": "kvm",
        "watchdog_enabled": True,
        "tags": sorted(set(body.get("tags") or ())),
        "host_uuid": f"{ident:040x}",
        "has_user_data": isinstance(metadata, dict) and bool(metadata.get("user_data")),
        "placement_group": _placement_group(body.get("placement_group")),
        "disk_encryption": body.get("disk_encryption") or "enabled",
        "interface_generation": body.get("interface_generation") or "legacy_config",
        "maintenance_policy": body.get("maintenance_policy") or "linode/migrate",
        "lke_cluster_id": None,
        "capabilities": ["Block Storage Encryption", "SMTP Enabled", "Maintenance Policy"],
    }


def _specs(plan: Row) -> dict[str, int]:
    return {
        "disk": plan["disk"],
        "memory": plan["memory"],
        "vcpus": plan["vcpus"],
        "gpus": plan["gpus"],
        "transfer": plan["transfer"],
        "accelerated_devices": 0,
    }


def _backups(*, enabled: bool) -> dict[str, Any]:
    return {
        "enabled": enabled,
        "available": False,
        "schedule": {"day": None, "window": None},
        "last_successful": None,
    }


def _placement_group(asked: object) -> dict[str, Any] | None:
    if not isinstance(asked, dict):
        return None
    return {
        "id": asked.get("id"),
        "label": f"group-{asked.get('id')}",
        "placement_group_type": "anti_affinity:local",
        "placement_group_policy": "strict" if asked.get("compliant_only") else "flexible",
        "migrating_to": None,
    }


def _ipv4(ident: int, *, private: bool) -> list[str]:
    """Addresses of 100.64.0.0/10, which nobody routes: four million before one comes again."""
    host = ident - FIRST_INSTANCE + 1
    public = f"100.{64 + (host >> 16) % 64}.{host >> 8 & 255}.{host & 255}"
    return [public, f"192.168.{128 + (host >> 8) % 128}.{host & 255}"] if private else [public]
