"""What to do about each error code that a job can carry: one table, for the terminal, the page and the documents.

The words stand alone: no job, fleet or instance is named in them. ``docs/reference/errors.md`` is held to them.
"""

from typing import Final

UNKNOWN: Final = "Read the reason; it is in the words of whoever said no."
"""What is said of a code that is not in the table."""

ENDED: Final[dict[str, str]] = {
    "invalid_request": "The message names the field, the value as typed and the remedy: mend it and submit again.",
    "unknown_type": "Choose a plan that exists; the message names the nearest one.",
    "unknown_region": "Choose a region that exists; the message names the nearest one.",
    "unknown_image": "Choose an image that the account has; the message names the nearest one.",
    "image_too_large": "Choose a larger plan, or less swap.",
    "region_lacks_capability": "Choose another region; the message names those that have it.",
    "image_lacks_capability": "Choose an image with cloud-init, or leave the user data out.",
    "unavailable": "Choose another region or plan, or wait and retry.",
    "invalid_label": "Change the name or the label pattern, and submit again.",
    "label_taken": "Choose another name or label pattern, or delete the instance that has the label; then retry.",
    "weak_password": "Give a longer one, or none: each instance then gets a strong random one.",
    "user_data_too_large": "Let the instance fetch the rest.",
    "account_limit": "Ask Linode support to raise the limit, or delete instances; then retry.",
    "no_capacity": "Choose another region or plan, or retry later. A request may name alternatives for both.",
    "unauthorized": "Set a valid token and restart the workers, or replace it with `nodewright accounts add-token`; "
    "the jobs go on by themselves.",
    "missing_scope": "Make a token with `linodes:read_write`; set it, or add it with `nodewright accounts add-token`.",
    "quota_exceeded": "Ask for less, or have it raised: `nodewright tenants set`, else `NODEWRIGHT_MAX_INSTANCES`, "
    "`NODEWRIGHT_MAX_HOURLY_USD`, `NODEWRIGHT_MAX_COUNT`.",
    "rejected_by_api": "Read the reason, in the API's own words; mend the request, then retry or submit again.",
    "boot_failed": "Look at it in the Cloud Manager: the job still owns it, and it costs money. A retry deletes it "
    "first.",
    "boot_timeout": "Look at it in the Cloud Manager: the job still owns it, and it costs money. A retry deletes it "
    "first.",
    "vanished": "Find out who deleted it; retry to have it again.",
    "deadline_exceeded": "Retry with another deadline: `nodewright retry FLEET --deadline TIME`, or `--deadline none`.",
    "stopped_by_policy": "Mend the cause of the failures before it, and retry: that lifts the stop.",
    "credentials_erased": "Give them again with `nodewright retry` or `scale`, or put the old key back into "
    "`NODEWRIGHT_ENCRYPTION_KEYS`.",
}
"""Codes of jobs that ended."""

WAITING: Final[dict[str, str]] = {
    "rate_limited": "Nothing: it goes on by itself.",
    "not_sent": "Nothing: it is tried again. If it lasts, look at the network.",
    "outcome_unknown": "Nothing: it is being looked up.",
    "delete_failed": "Nothing: it is tried again. If it lasts, look at the reason.",
    "not_ours": "Look at the instance: somebody changed its tags.",
    "paused": "`nodewright resume`, once it may go on.",
}
"""Codes of jobs that wait."""


def remedy(code: str) -> str:
    """Return what to do about an error code."""
    return ENDED.get(code) or WAITING.get(code) or UNKNOWN
