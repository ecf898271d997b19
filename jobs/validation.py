"""Whether a request can succeed: a pure function of a request and a catalog, asked before anything is bought.

What depends on (type, region, image) is judged once for each distinct combination, never per job. The codes
are fixed; `image_lacks_capability` stands beside `region_lacks_capability`, and what no other code covers is
`invalid_request`. The facts behind the checks are in the API reference (POST /linode/instances, Catalogs).
"""

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, cached_property
from typing import Any, Literal, NamedTuple, TypeAlias

from jobs.catalog import Catalog, Image, PlanType, Region
from jobs.choices import Choice, alternatives, place_of, regions_of
from jobs.labels import InvalidPattern, Template, label_fault, labelled, templates_of
from jobs.passwords import strength_fault
from jobs.periods import USUAL_BOOT_SECONDS, time_problems
from jobs.requests import (
    INVALID_REQUEST,
    FleetRequest,
    GroupRequest,
    RequestFault,
    RequestWarning,
    Scalar,
    nearest,
    printable,
)

USER_DATA_BYTES = 65_535
"""The most user data that the API takes, before base64."""

DEFAULT_SWAP = 512
"""The swap disk, in MB, that the API makes where the request names none."""

TAG_LENGTHS = range(3, 51)
RESERVED_TAGS = ("nodewright:", "nw:")
"""How our own tags begin: they prove what we own, so nobody else may set them."""

TakenLabels: TypeAlias = Collection[str] | Callable[[Sequence[str]], Collection[str]]
"""The labels already in use, or a function that returns which of the given labels are."""

_ELSEWHERE = frozenset({"unavailable", "region_lacks_capability"})
_REGIONAL = ("placement_group", "ipv4", "backup_id")
"""The fields of a group that name things which are in one region."""

_KEY = re.compile(r"(?:ssh-|ecdsa-|sk-)[a-z0-9@.-]+ [A-Za-z0-9+/]{16,}={0,3}(?: .*)?")
_SHOWN_NAMES = 3
_Keys: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The house limits on a request, from the settings."""

    max_count: int = 10_000
    boot_seconds: float = USUAL_BOOT_SECONDS
    """How long an instance takes to boot."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What validation found.

    `bad_groups` are the groups with a fault. `labels` are those of every job, group by group, empty where no
    labels could be made. `taken` are the labels that are in use. A fault whose `group` is None refuses the
    whole request, also with `on_invalid: skip`.
    """

    faults: tuple[RequestFault, ...] = ()
    warnings: tuple[RequestWarning, ...] = ()
    bad_groups: frozenset[int] = frozenset()
    labels: tuple[tuple[str, ...], ...] = ()
    taken: frozenset[str] = frozenset()

    @property
    def ok(self) -> bool:
        """Whether nothing at all is wrong."""
        return not self.faults

    @property
    def refuses_all(self) -> bool:
        """Whether a fault concerns the request as a whole, so that no part of it can be accepted."""
        return any(fault.group is None for fault in self.faults)

    def fault_for(self, group: int, label: str) -> RequestFault | None:
        """Return the fault that rejects one job, or None: a label in use rejects its own job only."""
        whole = self._by_group.get(group) or self._by_group.get(None)
        if whole or label not in self.taken:
            return whole
        return self._taken_by_group.get(group)

    @cached_property
    def _by_group(self) -> dict[int | None, RequestFault]:
        """Each group's first fault that concerns all of its jobs."""
        return {fault.group: fault for fault in reversed(self.faults) if fault.code != "label_taken"}

    @cached_property
    def _taken_by_group(self) -> dict[int | None, RequestFault]:
        return {fault.group: fault for fault in self.faults if fault.code == "label_taken"}


class Spec(NamedTuple):
    """What a job's success in the catalog depends on; jobs with equal specs share one verdict."""

    type: str
    region: str
    image: str | None = None
    user_data: bool = False
    swap_size: int | None = None
    boot_size: int | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """One finding on a spec, not yet tied to a place in a document; `key` is the field that it blames."""

    code: str
    key: str
    message: str
    remedy: str
    nearest: str | None = None
    level: Literal["fault", "warning"] = "fault"


def validate(
    request: FleetRequest,
    catalog: Catalog,
    *,
    rules: Rules,
    now: datetime,
    taken_labels: TakenLabels = frozenset(),
) -> Report:
    """Judge a whole request. `now` is timezone-aware; nothing is raised, every finding is in the report."""
    found = _Findings(request)
    if request.total > rules.max_count:
        _blame_size(found, rules)
        return found.report()
    for key, value, problem in time_problems(request, now=now, boot_seconds=rules.boot_seconds):
        found.blame(None, (key,), Problem(*problem), value=value)
    _judge_tags(found, None, request.tags)
    judged = cache(lambda spec: tuple(judge(spec, catalog, now=now)))
    for position, group in enumerate(request.groups):
        for region in (None,) if group.regions is None else regions_of(group):
            for choice, verdict in _judge_choices(group, region, judged):
                found.add_verdict(position, choice, verdict)
        _judge_group(found, position, group)
    labels = _judge_labels(found)
    taken = _judge_taken(found, labels, taken_labels)
    return found.report(labels=tuple(map(tuple, labels)), taken=taken)


def _blame_size(found: "_Findings", rules: Rules) -> None:
    """Refuse a fleet that is too large as a whole, before anything is made of its many jobs."""
    total, limit = found.request.total, rules.max_count
    keys = ("count",) if found.request.flat else ("groups",)
    problem = Problem(f"asks for {total} instances, and one fleet may have {limit}", "split it")
    found.blame(None, keys, problem, value=total)


def validate_one(
    *,
    type: str,  # noqa: A002  # the field's name
    region: str,
    image: str | None,
    catalog: Catalog,
    now: datetime,
    user_data: bool = False,
    swap_size: int | None = None,
    boot_size: int | None = None,
) -> tuple[RequestFault, ...]:
    """Judge one job again, before its create, against a newer catalog; return its faults."""
    spec = Spec(type, region, image, user_data, swap_size, boot_size)
    return tuple(
        RequestFault(
            pointer=f"/{verdict.key}",
            field=verdict.key,
            value=_value_of(spec, verdict.key),
            **_finding_fields(verdict),
        )
        for verdict in judge(spec, catalog, now=now)
        if verdict.level == "fault"
    )


def spec_of(group: GroupRequest, choice: Choice) -> Spec:
    """Return what the catalog can judge of a group's instances of one type in one region."""
    has_data = group.user_data is not None
    return Spec(choice.type, choice.region, group.image, has_data, group.swap_size, group.boot_size)


def is_had_elsewhere(verdict: Verdict) -> bool:
    """Whether a fault is of one type in one region only, so that another alternative may be free of it."""
    return verdict.level == "fault" and verdict.key == "region" and verdict.code in _ELSEWHERE


def judge_group(
    group: GroupRequest, region: str | None, catalog: Catalog, *, now: datetime
) -> Iterator[Verdict]:
    """Yield all verdicts on a group's alternatives (of a spread: those in ``region``)."""
    for _, verdict in _judge_choices(group, region, lambda spec: tuple(judge(spec, catalog, now=now))):
        yield verdict


def _judge_choices(
    group: GroupRequest, region: str | None, judged: Callable[[Spec], tuple[Verdict, ...]]
) -> Iterator[tuple[Choice, Verdict]]:
    """Judge every alternative; what cannot be had now is passed over where another one can."""
    verdicts = {choice: judged(spec_of(group, choice)) for choice in alternatives(group, region)}
    some_open = any(all(one.level != "fault" for one in said) for said in verdicts.values())
    for choice, said in verdicts.items():
        for verdict in said:
            passed = some_open and is_had_elsewhere(verdict)
            yield choice, _passed_over(choice, verdict) if passed else verdict


def _passed_over(choice: Choice, verdict: Verdict) -> Verdict:
    message = f"{choice} is passed over: {verdict.message}"
    return Verdict("alternative_skipped", "region", message, "the other alternatives stand", level="warning")


# One spec against the catalog


def judge(spec: Spec, catalog: Catalog, *, now: datetime) -> Iterator[Verdict]:
    """Yield all verdicts on a spec. What the catalog does not say is not judged."""
    plan, region = catalog.types.get(spec.type), catalog.regions.get(spec.region)
    image = None if spec.image is None else catalog.images.get(spec.image)
    yield from _judge_names(spec, catalog, plan, region, image)
    if region:
        yield from _judge_region(spec, catalog, plan, region)
    if image:
        yield from _judge_image(spec, image, now)
    if plan and image:
        yield from _judge_size(spec, plan, image)


def _judge_names(
    spec: Spec, catalog: Catalog, plan: PlanType | None, region: Region | None, image: Image | None
) -> Iterator[Verdict]:
    if plan is None:
        yield _unknown("type", spec.type, catalog.type_ids)
    if region is None:
        yield _unknown("region", spec.region, catalog.region_ids)
    if image is None and spec.image is not None:
        yield _unknown("image", spec.image, catalog.image_ids)


def _unknown(key: str, name: str, names: tuple[str, ...]) -> Verdict:
    close = nearest(name, names)
    remedy = f"did you mean `{close}`?" if close else f"choose one of the {len(names)} that the catalog lists"
    return Verdict(f"unknown_{key}", key, f"there is no {key} '{printable(name)}'", remedy, close)


def _judge_region(spec: Spec, catalog: Catalog, plan: PlanType | None, region: Region) -> Iterator[Verdict]:
    if spec.user_data and region.lacks("Metadata"):
        yield _lacks(region, "Metadata", "user data", catalog)
    if plan and plan.needs and region.lacks(plan.needs):
        yield _lacks(region, plan.needs, f"type '{plan.id}'", catalog)
    elif plan and catalog.is_unavailable(region.id, plan.id):
        yield _unavailable(region, plan, catalog)
    if region.status != "ok":
        message = f"region '{region.id}' reports status '{printable(region.status)}'"
        yield Verdict("region_status", "region", message, "creates there may fail or wait", level="warning")


def _lacks(region: Region, capability: str, reason: str, catalog: Catalog) -> Verdict:
    message = f"{reason} needs the capability '{capability}', which region '{region.id}' lacks"
    remedy = _choose("region", catalog.regions_with(capability))
    return Verdict("region_lacks_capability", "region", message, remedy)


def _unavailable(region: Region, plan: PlanType, catalog: Catalog) -> Verdict:
    elsewhere = [name for name in catalog.region_ids if catalog.availability.get((name, plan.id))]
    message = f"type '{plan.id}' can't be had in region '{region.id}' now"
    return Verdict("unavailable", "region", message, _choose("region", elsewhere))


def _choose(noun: str, names: Sequence[str]) -> str:
    if not names:
        return f"choose another {noun} or type"
    more = ", …" if len(names) > _SHOWN_NAMES else ""
    return f"choose another {noun}, such as {', '.join(names[:_SHOWN_NAMES])}{more}"


def _judge_image(spec: Spec, image: Image, now: datetime) -> Iterator[Verdict]:
    if image.status != "available":
        message = f"image '{image.id}' has status '{printable(image.status)}'"
        yield Verdict("unavailable", "image", message, "wait until it is available, or choose another image")
    if spec.user_data and image.lacks("cloud-init"):
        message = f"image '{image.id}' lacks the capability 'cloud-init', so nothing would read the user data"
        yield Verdict("image_lacks_capability", "image", message, "choose an image with cloud-init")
    yield from _image_warnings(spec, image, now)


def _image_warnings(spec: Spec, image: Image, now: datetime) -> Iterator[Verdict]:
    ended = image.eol is not None and image.eol <= now
    if image.deprecated or ended:
        state = "deprecated" if image.deprecated else f"past its end of life ({image.eol:%Y-%m-%d})"
        message = f"image '{image.id}' is {state}"
        yield Verdict("image_deprecated", "image", message, "choose a newer image", level="warning")
    if image.regions and spec.region not in image.regions:
        message = f"image '{image.id}' has no copy in region '{printable(spec.region)}'"
        yield Verdict(
            "image_not_replicated", "image", message, "creates may be slow or refused", level="warning"
        )


def _judge_size(spec: Spec, plan: PlanType, image: Image) -> Iterator[Verdict]:
    """Compare sizes in MB: an image must fit the disk less the swap asked for, or the boot disk asked for.

    The swap that the API makes unasked only warns: whether it shrinks to make room is not documented.
    """
    if plan.disk is None or image.size is None:
        return
    room = plan.disk - (spec.swap_size or 0)
    room = room if spec.boot_size is None else min(room, spec.boot_size)
    message = f"image '{image.id}' needs {image.size} MB, and type '{plan.id}' leaves it {room} MB"
    if image.size > room:
        yield Verdict("image_too_large", "image", message, "choose a type with a larger disk, or less swap")
    elif spec.swap_size is None and image.size > room - DEFAULT_SWAP:
        remedy = f"set swap_size: the default swap takes {DEFAULT_SWAP} MB"
        yield Verdict("image_tight", "image", message, remedy, level="warning")


def _finding_fields(verdict: Verdict) -> dict[str, Any]:
    return {
        "code": verdict.code,
        "message": verdict.message,
        "remedy": verdict.remedy,
        "nearest": verdict.nearest,
    }


def _value_of(spec: Spec, key: str) -> Scalar:
    return {"type": spec.type, "region": spec.region, "image": spec.image}[key]


# One group by itself


class Problem(NamedTuple):
    """What is wrong at one place of a document, and what to do about it."""

    message: str
    remedy: str
    code: str = INVALID_REQUEST


class _Findings:
    """Collects findings and ties each to its place in the document."""

    def __init__(self, request: FleetRequest) -> None:
        self.request = request
        self.faults: list[RequestFault] = []
        self.warnings: list[RequestWarning] = []
        self._seen: set[tuple[int, str, str, str]] = set()

    def blame(self, group: int | None, keys: _Keys, problem: Problem, *, value: Scalar = None) -> None:
        """Add a fault at a place of a group (of the fleet: None)."""
        self.faults.append(RequestFault(**self._place(group, keys, value), **problem._asdict(), group=group))

    def blame_name(self, group: int, problem: Problem) -> None:
        """Add a fault of a group that has its cause in the fleet's name."""
        place = self._place(None, ("name",), self.request.name)
        self.faults.append(RequestFault(**place, **problem._asdict(), group=group))

    def warn(self, group: int, keys: _Keys, problem: Problem) -> None:
        """Add a warning at a place of a group."""
        self.warnings.append(
            RequestWarning(**self._place(group, keys, None), **problem._asdict(), group=group)
        )

    def add_verdict(self, group: int, choice: Choice, verdict: Verdict) -> None:
        """Add what was found on one of the group's alternatives; what concerns several of them only once."""
        asked = self.request.groups[group]
        value = {"type": choice.type, "region": choice.region, "image": asked.image or ""}[verdict.key]
        fields = _finding_fields(verdict)
        place = self._place(group, place_of(asked, verdict.key, value), value)
        key = (group, place["pointer"], verdict.code, verdict.message)
        if key in self._seen:
            return
        self._seen.add(key)
        if verdict.level == "fault":
            self.faults.append(RequestFault(**place, **fields, group=group))
        else:
            self.warnings.append(RequestWarning(**place, **fields, group=group))

    def _place(self, group: int | None, keys: _Keys, value: Scalar) -> dict[str, Any]:
        pointer, field = self.request.place(group, *keys)
        shown = printable(value) if isinstance(value, str) else value
        return {"pointer": pointer, "field": field, "value": shown}

    def report(
        self, *, labels: tuple[tuple[str, ...], ...] = (), taken: frozenset[str] = frozenset()
    ) -> Report:
        """Return everything found."""
        return Report(
            faults=tuple(self.faults),
            warnings=tuple(self.warnings),
            bad_groups=frozenset(fault.group for fault in self.faults if fault.group is not None),
            labels=labels,
            taken=taken,
        )


def _judge_group(found: _Findings, position: int, group: GroupRequest) -> None:
    _judge_tags(found, position, group.tags)
    _judge_keys(found, position, group)
    _judge_members(found, position, group)
    for key, problem in _group_problems(group):
        found.blame(position, (key,), problem)
    for key, problem in _group_warnings(group):
        found.warn(position, (key,), problem)


def _judge_tags(found: _Findings, position: int | None, tags: Sequence[str]) -> None:
    for index, tag in enumerate(tags):
        problem = _tag_problem(tag)
        if problem:
            found.blame(position, ("tags", index), problem, value=tag)


def _tag_problem(tag: str) -> Problem | None:
    if len(tag) not in TAG_LENGTHS:
        return Problem(f"the tag has {len(tag)} characters, and a tag has 3 to 50", "lengthen or shorten it")
    if tag.startswith(RESERVED_TAGS):
        prefix = tag.partition(":")[0]
        return Problem(
            f"tags that begin with `{prefix}:` are kept for proof of ownership", "choose another tag"
        )
    return None


def _judge_keys(found: _Findings, position: int, group: GroupRequest) -> None:
    """Refuse what is no public key, without repeating it: it may be a private one."""
    for index, key in enumerate(group.authorized_keys):
        if "PRIVATE KEY" in key:
            problem = Problem("this is a private key", "give the public one, from the file that ends in .pub")
            found.blame(position, ("authorized_keys", index), problem)
        elif not _KEY.fullmatch(key.strip()):
            problem = Problem("this is no SSH public key", "give a line such as `ssh-ed25519 AAAA… name`")
            found.blame(position, ("authorized_keys", index), problem)


def _judge_members(found: _Findings, position: int, group: GroupRequest) -> None:
    for key in ("type", "region", "regions"):
        members = getattr(group, key)
        for index, name in enumerate(members if isinstance(members, list) else ()):
            if name in members[:index]:
                problem = Problem(f"'{printable(name)}' stands twice", "name it once")
                found.blame(position, (key, index), problem, value=name)


def _group_problems(group: GroupRequest) -> Iterator[tuple[str, Problem]]:
    if group.image is not None and group.backup_id is not None:
        yield (
            "backup_id",
            Problem("an instance is made from an image or from a backup", "remove one of the two"),
        )
    yield from secret_problems(group)
    yield from _regional_problems(group)
    if group.stackscript_id is not None and group.image is None:
        yield "stackscript_id", Problem("a StackScript needs an image to run on", "add an image")
    if group.stackscript_data is not None and group.stackscript_id is None:
        yield "stackscript_data", Problem("there is no StackScript to give it to", "add stackscript_id")


def _regional_problems(group: GroupRequest) -> Iterator[tuple[str, Problem]]:
    regions = regions_of(group)
    for key in _REGIONAL:
        if getattr(group, key) and len(regions) > 1:
            message = f"names something of one region, and there are several ({', '.join(regions)})"
            yield key, Problem(message, "name one region in this group")


def secret_problems(group: GroupRequest) -> Iterator[tuple[str, Problem]]:
    """Yield what is wrong with a group's secrets, each with its field."""
    weakness = group.root_pass and strength_fault(group.root_pass.get_secret_value())
    if weakness:
        remedy = "choose a longer, more mixed one, or leave it out: a strong one is made for each instance"
        yield "root_pass", Problem(f"the password {weakness}", remedy, "weak_password")
    if group.root_pass is not None and group.reveal_root_pass:
        yield "reveal_root_pass", Problem("a password is given, so none is made", "remove one of the two")
    size = len(group.user_data.get_secret_value().encode()) if group.user_data else 0
    if size > USER_DATA_BYTES:
        message = f"the user data has {size} bytes, and the API takes {USER_DATA_BYTES}"
        yield "user_data", Problem(message, "fetch the rest from the instance", "user_data_too_large")


def _group_warnings(group: GroupRequest) -> Iterator[tuple[str, Problem]]:
    if group.image is not None:
        return
    if group.booted and group.backup_id is None:
        message = "without an image nothing can boot, so the instances stay offline"
        yield "image", Problem(message, "add an image, or set booted: false", "stays_offline")
    for key in ("root_pass", "reveal_root_pass", "authorized_keys", "authorized_users"):
        if getattr(group, key):
            yield key, Problem("has no effect without an image", "remove it, or add an image", "no_effect")


# Labels, over the whole fleet


def _judge_labels(found: _Findings) -> list[list[str]]:
    """Make all labels and blame those that are malformed or stand twice."""
    parts = [_templates(found, position) for position in range(len(found.request.groups))]
    made = labelled(parts)
    for position, (templates, lists) in enumerate(zip(parts, made, strict=True)):
        for (template, _), labels in zip(templates, lists, strict=True):
            if template and _is_malformed(found, position, template, labels):
                break
    whole = [[label for part in lists for label in part] for lists in made]
    _judge_doubles(found, whole)
    return whole


def _templates(found: _Findings, position: int) -> Sequence[tuple[Template | None, int]]:
    try:
        return templates_of(found.request, position)
    except InvalidPattern as error:
        remedy = "write it like `{name}-{index:04d}`"
        _blame_label(found, position, Problem(str(error), remedy, "invalid_label"))
        return [(None, found.request.groups[position].count)]


def _is_malformed(found: _Findings, position: int, template: Template, labels: list[str]) -> bool:
    """Blame the labels of one template where they are malformed.

    Look at the shortest and the longest label only: between them nothing but digits differs.
    """
    if not template.indexes and len(labels) > 1:
        message = f"all {len(labels)} instances would be called '{printable(labels[0])}'"
        _blame_label(found, position, Problem(message, "add {index} to the label pattern", "invalid_label"))
        return True
    for label in (labels[0], labels[-1]):
        fault = label_fault(label)
        if fault:
            message = f"the label '{printable(label)}' {fault}"
            _blame_label(
                found, position, Problem(message, "change the name or label_pattern", "invalid_label")
            )
            return True
    return False


def _blame_label(found: _Findings, position: int, problem: Problem) -> None:
    pattern = found.request.groups[position].label_pattern
    if pattern is None:
        found.blame_name(position, problem)
    else:
        found.blame(position, ("label_pattern",), problem, value=pattern)


def _judge_doubles(found: _Findings, labels: list[list[str]]) -> None:
    seen: set[str] = set()
    for position, group_labels in enumerate(labels):
        doubles = seen.intersection(group_labels)
        seen.update(group_labels)
        if doubles:
            message = f"{_listed(doubles)} also in another group of this request"
            remedy = "tell the groups apart, with {group} in the label pattern"
            _blame_label(found, position, Problem(message, remedy, "invalid_label"))


def _judge_taken(found: _Findings, labels: list[list[str]], taken_labels: TakenLabels) -> frozenset[str]:
    wanted = [label for group_labels in labels for label in group_labels]
    known = taken_labels(wanted) if callable(taken_labels) else taken_labels
    taken = frozenset(wanted).intersection(known)
    for position, group_labels in enumerate(labels if taken else ()):
        clash = taken.intersection(group_labels)
        if clash:
            message = f"{_listed(clash)} in use"
            _blame_label(
                found, position, Problem(message, "choose another name or label_pattern", "label_taken")
            )
    return taken


def _listed(labels: Collection[str]) -> str:
    """Return `label 'a' is` or `labels 'a', 'b', 'c' and 7 more are`."""
    if len(labels) == 1:
        return f"label '{next(iter(labels))}' is"
    shown = ", ".join(f"'{label}'" for label in sorted(labels)[:_SHOWN_NAMES])
    rest = len(labels) - _SHOWN_NAMES
    return f"labels {shown} and {rest} more are" if rest > 0 else f"labels {shown} are"
