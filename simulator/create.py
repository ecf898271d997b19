"""What POST /linode/instances refuses, and in which words (API.md). Complaints accumulate, one object each.

Words marked *ours* are not recorded anywhere: clients must not lean on them.
"""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from typing import Any

from simulator.catalog import CAPABILITY_OF_CLASS, REGION_ALIASES, Catalog, Row
from simulator.wire import Complaint

Body = Mapping[str, Any]

NO_CREDENTIALS = "Must provide valid root_pass, authorized_keys, or authorized_users"
LABEL_TAKEN = "Label must be unique among your linodes"
ACCOUNT_LIMIT = "Account Limit reached. Please open a support ticket."
PLAN_LIMIT = (
    "A limit on your account is preventing the deployment of the selected Linode plan. "
    "To request access to this plan, please contact Support and provide the Linode plan name."
)
VCPU_LIMIT = (
    "You've reached the limit for the number of active vCPUs in this Linode plan. "
    "Please contact Support to request an increase and provide the total number of vCPUs you may need."
)
WEAK_PASSWORD = "Password does not meet strength requirement."  # noqa: S105  # words, not a password

_LABEL = re.compile(r"[a-zA-Z]((?!--|__|\.\.)[a-zA-Z0-9\-_.])+")
_LABEL_LENGTH = range(3, 65)
_TAG_LENGTH = range(3, 51)
_PASSWORD_LENGTH = range(7, 129)
_LARGEST_USER_DATA = 65535
_ENOUGH_POINTS = 3
_ENOUGH_CHARACTERS = 5


def complaints(body: Body, catalog: Catalog, images: Mapping[str, Row]) -> list[Complaint]:
    """Everything that is wrong with a create by itself; uniqueness and limits are the world's to check."""
    plan = catalog.types.get(_text(body.get("type")))
    region = catalog.regions.get(region_id(body))
    image = images.get(_text(body.get("image")))
    return [
        *_type_complaints(body, plan),
        *_region_complaints(body, region, plan),
        *_image_complaints(body, image, plan),
        *_metadata_complaints(body, region, image),
        *label_complaints(body),
        *tag_complaints(body),
        *_password_complaints(body),
    ]


def region_id(body: Body) -> str:
    """The region asked for, under the name that it reads back as."""
    asked = _text(body.get("region"))
    return REGION_ALIASES.get(asked, asked)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _type_complaints(body: Body, plan: Row | None) -> Iterator[Complaint]:
    if body.get("type") is None:
        yield Complaint("type is required", "type")
    elif plan is None:
        yield Complaint("A valid plan type by that ID was not found", "type")


def _region_complaints(body: Body, region: Row | None, plan: Row | None) -> Iterator[Complaint]:
    if body.get("region") is None:
        yield Complaint("region is required", "region")
        return
    if region is None:
        yield Complaint("region is not valid", "region")
        return
    needed = CAPABILITY_OF_CLASS.get(plan["class"]) if plan else None
    if needed and needed not in region["capabilities"]:
        yield Complaint(f"The selected plan needs a region with {needed}.", "region")  # ours


def _image_complaints(body: Body, image: Row | None, plan: Row | None) -> Iterator[Complaint]:
    if body.get("image") is None:
        return
    if body.get("backup_id") is not None:
        yield Complaint("Cannot specify both image and backup_id", "image")  # ours
    if image is None:
        yield Complaint("image is not valid", "image")
        return
    if plan is not None and image["size"] > plan["disk"]:
        yield Complaint("The image does not fit the disk of the selected plan", "image")  # ours
    if not any(body.get(name) for name in ("root_pass", "authorized_keys", "authorized_users")):
        yield Complaint(NO_CREDENTIALS)


def _metadata_complaints(body: Body, region: Row | None, image: Row | None) -> Iterator[Complaint]:
    metadata = body.get("metadata")
    user_data = metadata.get("user_data") if isinstance(metadata, dict) else None
    if user_data in (None, ""):
        return
    size = _decoded_size(user_data)
    if size is None:
        yield Complaint("Must be base64", "metadata.user_data")  # ours
    elif size > _LARGEST_USER_DATA:
        yield Complaint(f"Must be at most {_LARGEST_USER_DATA} bytes", "metadata.user_data")  # ours
    if region is not None and "Metadata" not in region["capabilities"]:
        yield Complaint("Metadata is not supported in this region", "region")  # ours
    if image is not None and "cloud-init" not in image["capabilities"]:
        yield Complaint("The image does not support cloud-init", "image")  # ours


def _decoded_size(user_data: object) -> int | None:
    try:
        return len(base64.b64decode(_text(user_data) or "?", validate=True))
    except (binascii.Error, ValueError):
        return None


def label_complaints(body: Body) -> Iterator[Complaint]:
    """3-64 characters, a letter first, alphanumeric last, and no doubled ``-``, ``_`` or ``.``."""
    label = body.get("label")
    if label is None:
        return
    if not isinstance(label, str) or len(label) not in _LABEL_LENGTH:
        yield Complaint("Must be 3-64 characters", "label")  # ours
    elif not _LABEL.fullmatch(label) or not label[-1].isalnum():
        yield Complaint("Label contains invalid characters", "label")  # ours


def tag_complaints(body: Body) -> Iterator[Complaint]:
    """Tags are a list of texts of 3-50 characters each."""
    tags = body.get("tags")
    if tags is None:
        return
    if not isinstance(tags, list):
        yield Complaint("Must be of type Array", "tags")  # ours
    elif any(len(_text(tag)) not in _TAG_LENGTH for tag in tags):
        yield Complaint("Each tag must be 3-50 characters", "tags")  # ours


def _password_complaints(body: Body) -> Iterator[Complaint]:
    password = body.get("root_pass")
    if password is None:
        return
    if not isinstance(password, str) or len(password) not in _PASSWORD_LENGTH:
        yield Complaint("Must be 7-128 characters", "root_pass")  # ours
    elif not is_strong(password):
        yield Complaint(WEAK_PASSWORD, "root_pass")


def is_strong(password: str) -> bool:
    """Our simple score; the real one is unknown.

    One point for each kind of character (lower, upper, digit, other), one more from 12 characters on and
    one more from 20 on. Three points are enough, if at least five different characters are used.
    """
    kinds = (str.islower, str.isupper, str.isdigit, lambda char: not char.isalnum())
    points = sum(any(map(kind, password)) for kind in kinds)
    points += (len(password) >= 12) + (len(password) >= 20)  # noqa: PLR2004  # the docstring names them
    return points >= _ENOUGH_POINTS and len(set(password)) >= _ENOUGH_CHARACTERS
