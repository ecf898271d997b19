"""What we send to create an instance, with the secrets kept out of every repr."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, JsonValue, Secret, SecretStr

JsonObject = dict[str, JsonValue]


class _Request(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    def to_json(self) -> JsonObject:
        """The JSON body, in the clear, secrets included: only what was set, None meaning not set."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: _plain(value) for name, value in values.items() if value is not None}

    def secrets(self) -> tuple[str, ...]:
        """Every secret text in the request, so that it can be struck out of what comes back."""
        return tuple(text for name in type(self).model_fields for text in _secret_texts(getattr(self, name)))


class Metadata(_Request):
    """Data for the instance's first boot: base64 of at most 65535 bytes (`Metadata.encode` makes it)."""

    user_data: SecretStr | None = None

    @classmethod
    def encode(cls, user_data: bytes) -> Metadata:
        """Metadata from the data itself, before base64."""
        return cls(user_data=SecretStr(base64.b64encode(user_data).decode("ascii")))


class PlacementGroup(_Request):
    """The placement group a new instance joins."""

    id: int
    compliant_only: bool | None = None


class InstanceCreate(_Request):
    """Every field of `POST /linode/instances`; `type` and `region` are required, None is not sent.

    Shapes and limits are the provider's (OpenAPI 4.189.0) and are not checked here. `root_pass`,
    `metadata.user_data` and `stackscript_data` are masked in repr. `swap_size` and `boot_size` are MB.
    `interfaces` holds objects as the API takes them; which shape depends on `interface_generation`.
    """

    type: str
    region: str
    image: str | None = None
    label: str | None = None
    tags: tuple[str, ...] | None = None
    root_pass: SecretStr | None = None
    authorized_keys: tuple[str, ...] | None = None
    authorized_users: tuple[str, ...] | None = None
    booted: bool | None = None
    backups_enabled: bool | None = None
    backup_id: int | None = None
    private_ip: bool | None = None
    swap_size: int | None = None
    boot_size: int | None = None
    kernel: str | None = None
    firewall_id: int | None = None
    metadata: Metadata | None = None
    stackscript_id: int | None = None
    stackscript_data: Secret[JsonObject] | None = None
    interfaces: tuple[JsonObject, ...] | None = None
    interface_generation: str | None = None
    network_helper: bool | None = None
    ipv4: tuple[str, ...] | None = None
    placement_group: PlacementGroup | None = None
    disk_encryption: str | None = None
    maintenance_policy: str | None = None


def _plain(value: Any) -> JsonValue:  # noqa: ANN401 - any field's value
    if isinstance(value, _Request):
        return value.to_json()
    if isinstance(value, Secret | SecretStr):
        revealed: JsonValue = value.get_secret_value()
        return revealed
    return list(value) if isinstance(value, tuple) else value


def _secret_texts(value: object) -> Iterator[str]:
    if isinstance(value, _Request):
        yield from value.secrets()
    elif isinstance(value, Secret | SecretStr):
        yield from _texts(value.get_secret_value())


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
