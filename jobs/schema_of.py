"""The JSON Schema of a fleet document, made from the models: for editors, and for the OpenAPI document. Pure."""

from typing import Any, Final

from jobs.requests import FLEET_FIELDS, GROUP_FIELDS, FleetRequest
from jobs.validation import TAG_LENGTHS

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_GROUP: Final = "GroupRequest"
_PLACEMENT: Final = "PlacementGroup"
_POLICY: Final = "OnFailure"
_PLACES: Final = ("region", "regions")
_EITHER_WAY: Final = FLEET_FIELDS & GROUP_FIELDS
"""At top level of a document without groups these are the fleet's."""

FLEET_TEXTS: Final = {
    "name": "The fleet's name; labels are made from it.",
    "groups": "Instances of several kinds. Without it the document itself is the only group.",
    "on_invalid": "`refuse`: one wrong group refuses everything. `skip`: only the wrong jobs are rejected.",
    "priority": "Higher goes first.",
    "account": "One of the tenant's accounts. Without it the jobs are spread over all of them.",
    "tags": "Tags for every instance, beside each group's own.",
    "not_before": "Nothing is sent before this moment.",
    "deadline": "What is not bought by then ends as deadline_exceeded.",
    "ttl": "So long after its create each instance is deleted: 90m, 2h, 3d, or seconds.",
    "boot_timeout": "What is not up so long after its create has failed: 10m, or seconds.",
    "on_failure": "When the fleet is given up.",
    "on_existing": "`refuse`: a fleet of this name that has instances refuses it. `new`: it is a fleet of its own.",
}
GROUP_TEXTS: Final = {
    "count": "How many instances.",
    "type": "The plan's id. Of several, the next one is taken where one cannot be had.",
    "region": "The region's id. Of several, the next one is taken where one has no room.",
    "regions": "Regions to spread the instances over: a list, evenly, or weights. In place of `region`.",
    "prefer": "Whether alternatives are tried in the `order` written, or the `cheapest` first.",
    "image": "The image's id. Without an image the instance stays off.",
    "name": "For the label pattern, as `{group}`.",
    "label_pattern": "How labels are made, from `name`, `group`, `index`, `region` and `type`.",
    "tags": "Tags for each instance, 3 to 50 characters each.",
    "root_pass": "The root password. Without one, each instance gets a strong random one that nobody is shown.",
    "reveal_root_pass": "Make one strong password for the group, and show it once in the answer to the submit.",
    "authorized_keys": "Public SSH keys.",
    "authorized_users": "Linode users whose keys are added.",
    "user_data": "For cloud-init, as text.",
    "booted": "false leaves the instances off: they count as running once they are offline.",
    "backups_enabled": "Linode's backup service, which costs extra.",
    "backup_id": "A backup to make the instance from, in place of an image.",
    "private_ip": "A private IPv4 address beside the public one.",
    "swap_size": "The swap disk, in MB.",
    "boot_size": "The boot disk, in MB.",
    "kernel": "The kernel's id.",
    "firewall_id": "A firewall to put the instance behind.",
    "stackscript_id": "A StackScript to run at the first boot.",
    "stackscript_data": "What the StackScript asks for.",
    "interfaces": "Network interfaces, as in Linode's create call.",
    "interface_generation": "Which kind of interfaces.",
    "network_helper": "Whether Linode's network helper configures the instance.",
    "ipv4": "Reserved IPv4 addresses.",
    "placement_group": "The placement group to join.",
    "disk_encryption": "Whether disks are encrypted.",
    "maintenance_policy": "What happens at maintenance of the host.",
}
FILE_TEXTS: Final = {
    "user_data_file": "A file with user data for cloud-init, beside this one.",
    "authorized_keys_file": "A file of public keys, one a line, or a list of such files.",
}
_EXAMPLES: Final = {
    "name": "web",
    "type": "g6-nanode-1",
    "region": "us-east",
    "image": "linode/debian12",
    "label_pattern": "{name}-{index:04d}",
}


def fleet_schema(*, files: bool = False) -> dict[str, Any]:
    """Return the schema of a fleet document; ``files``: of a fleet file, which may name other files."""
    whole = FleetRequest.model_json_schema(ref_template="#/$defs/{model}")
    definitions = whole.pop("$defs")
    group, fleet = definitions[_GROUP], whole
    _ask_for_place(group)
    _describe(group, GROUP_TEXTS)
    _describe(fleet, FLEET_TEXTS)
    if files:
        group["properties"] |= _file_fields()
        _bound_tags(group, fleet)
    definitions |= {"FleetOfGroups": fleet, "FleetOfOneGroup": _flat(fleet, group), _GROUP: group}
    definitions[_POLICY]["description"] = "After so many failed jobs, with `same_cause` of one error code."
    _tidy(definitions)
    return {
        "$schema": DIALECT,
        "title": "Fleet",
        "description": "A fleet of Linodes to be made by Nodewright.",
        "oneOf": [{"$ref": "#/$defs/FleetOfOneGroup"}, {"$ref": "#/$defs/FleetOfGroups"}],
        "$defs": definitions,
    }


def _describe(model: dict[str, Any], texts: dict[str, str]) -> None:
    for name, field in model["properties"].items():
        field["description"] = texts[name]
        if name in _EXAMPLES:
            field["examples"] = [_EXAMPLES[name]]


def _bound_tags(*models: dict[str, Any]) -> None:
    """Say what an editor can tell at once. For the service it is no fault of shape: a plan shows it as what it is."""
    for model in models:
        tags = model["properties"]["tags"]["items"]
        tags |= {"minLength": TAG_LENGTHS.start, "maxLength": TAG_LENGTHS.stop - 1}


def _file_fields() -> dict[str, Any]:
    one = {"type": "string", "minLength": 1}
    many = {"type": "array", "items": one}
    shapes: dict[str, dict[str, Any]] = {
        "user_data_file": dict(one),
        "authorized_keys_file": {"anyOf": [one, many]},
    }
    return {name: {**shape, "description": FILE_TEXTS[name]} for name, shape in shapes.items()}


def _flat(fleet: dict[str, Any], group: dict[str, Any]) -> dict[str, Any]:
    """Return the document that has its only group's fields at top level."""
    head = {name: field for name, field in fleet["properties"].items() if name != "groups"}
    inner = {name: field for name, field in group["properties"].items() if name not in _EITHER_WAY}
    required = {*fleet["required"], *group["required"]} - {"groups"}
    return {
        "type": "object",
        "additionalProperties": False,
        "description": "A fleet of one kind of instances.",
        "properties": {**head, **inner},
        "required": sorted(required),
        "oneOf": group["oneOf"],
    }


def _ask_for_place(group: dict[str, Any]) -> None:
    """Say that a group has a region or regions, never both: the model leaves that to the parser."""
    for name in _PLACES:
        field = group["properties"][name]
        (form,) = (one for one in field.pop("anyOf") if one != {"type": "null"})
        field.pop("default")
        field |= form
    group["oneOf"] = [{"required": [name]} for name in _PLACES]


def _tidy(definitions: dict[str, Any]) -> None:
    """Drop what the models say to Python only: titles, and docstrings in the words of this code."""
    texts = {"FleetOfGroups": "A fleet of several kinds of instances.", _GROUP: "Instances of one kind."}
    for name, model in definitions.items():
        model.pop("title", None)
        if name in texts:
            model["description"] = texts[name]
        for field in model.get("properties", {}).values():
            field.pop("title", None)
