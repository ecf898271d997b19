"""Endpoints of webhooks: who is told of what, where, and with which secrets it is signed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final

from sqlalchemy import delete, func, insert, or_, select, update

from jobs.database import Transaction
from jobs.identity import new_id
from jobs.queries import as_id
from jobs.reach import Reach, url_faults
from jobs.records import job_events, webhook_deliveries, webhooks
from jobs.requests import INVALID_REQUEST, InvalidRequest, RequestFault, nearest, printable
from jobs.signing import new_secret
from jobs.vault import Vault
from jobs.views import moment

KINDS: Final = (
    *("job.running", "job.failed", "job.cancelled", "job.rejected", "job.deleted", "job.parked"),
    *("fleet.settled", "instance.ttl_soon", "account.paused"),
)
"""What an endpoint may be told of."""
TEST: Final = "webhook.test"
"""What a test says; every endpoint takes it."""
MOST: Final = 20
"""So many endpoints a tenant may have."""
OVERLAP: Final = timedelta(hours=24)
"""So long after a rotation the secret before it signs too."""
_FIELDS: Final = ("url", "kinds")


@dataclass(frozen=True)
class EndpointRequest:
    """What somebody wants to be told, and where."""

    url: str
    kinds: tuple[str, ...] = KINDS


@dataclass(frozen=True)
class WebhookView:
    """An endpoint as people see it: everything but its secrets."""

    id: str
    url: str
    kinds: tuple[str, ...]
    state: str
    """``enabled`` or ``disabled``."""
    pending: int
    dead: int
    previous_until: datetime | None
    disabled_at: datetime | None
    disabled_reason: str | None
    created_at: datetime

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able mapping."""
        moments = ("previous_until", "disabled_at", "created_at")
        return {
            **vars(self),
            "kinds": list(self.kinds),
            **{name: moment(getattr(self, name)) for name in moments},
        }


# Requests ------------------------------------------------------------------------------------------------------------


def parse_endpoint(document: object, reach: Reach) -> EndpointRequest:
    """Return a request for an endpoint.

    Raises:
        InvalidRequest: it is wrong; every fault at once.

    """
    if not isinstance(document, dict):
        raise InvalidRequest([_fault("", None, "expected an object", 'send {"url": "https://…"}')])
    faults = [_unknown_field(str(name)) for name in document if name not in _FIELDS]
    if "url" in document:
        faults += url_faults(document["url"], reach)
    else:
        faults.append(_fault("url", None, "is missing", "give the URL of your endpoint"))
    asked = document.get("kinds", list(KINDS))
    faults += _kind_faults(asked)
    if faults:
        raise InvalidRequest(faults)
    return EndpointRequest(document["url"], tuple(kind for kind in KINDS if kind in asked))


def _kind_faults(asked: object) -> list[RequestFault]:
    if not isinstance(asked, list) or not asked:
        return [_fault("kinds", None, "expected a list of kinds", f"choose among {', '.join(KINDS)}")]
    return [_unknown_kind(index, kind) for index, kind in enumerate(asked) if kind not in KINDS]


def _unknown_kind(index: int, kind: object) -> RequestFault:
    if not isinstance(kind, str):
        return _fault("kinds", None, "expected text", f"choose among {', '.join(KINDS)}", f"/kinds/{index}")
    close = nearest(kind, KINDS)
    remedy = f"did you mean `{close}`?" if close else f"choose among {', '.join(KINDS)}"
    words = f"there is no kind '{printable(kind)}'"
    return _fault("kinds", kind, words, remedy, f"/kinds/{index}", close)


def _unknown_field(name: str) -> RequestFault:
    close = nearest(name, _FIELDS)
    remedy = f"did you mean `{close}`?" if close else "remove it"
    return _fault(printable(name), None, "unknown field", remedy, "", close)


def _fault(
    field: str,
    value: str | None,
    message: str,
    remedy: str,
    pointer: str | None = None,
    close: str | None = None,
) -> RequestFault:
    return RequestFault(
        code=INVALID_REQUEST,
        pointer=f"/{field}" if pointer is None and field else pointer or "",
        field=field,
        value=None if value is None else printable(value),
        message=message,
        remedy=remedy,
        nearest=close,
    )


# Rows ----------------------------------------------------------------------------------------------------------------


def count(tx: Transaction, tenant: str) -> int:
    """Return how many endpoints a tenant has."""
    found = select(func.count()).select_from(webhooks).where(webhooks.c.tenant_id == tenant)
    total: int = tx.execute(found).scalar_one()
    return total


def latest_event(tx: Transaction) -> int:
    """Return the highest event id that can be seen."""
    found: int | None = tx.execute(select(func.max(job_events.c.id))).scalar()
    return found or 0


def add(
    tx: Transaction, request: EndpointRequest, *, tenant: str, vault: Vault, dice: Random
) -> tuple[str, str]:
    """Add an endpoint; return its id and its secret, the only time that it is seen."""
    secret = new_secret(dice)
    webhook_id = new_id(tx.now, dice)
    row = {
        "id": webhook_id,
        "tenant_id": tenant,
        "url": request.url,
        "kinds": list(request.kinds),
        "sealed": vault.seal({"secret": secret}),
        "after_event": latest_event(tx),
        "fence": 0,
        "created_at": tx.now,
    }
    tx.execute(insert(webhooks), row)
    return webhook_id, secret


def rotate(tx: Transaction, webhook_id: str, *, vault: Vault, dice: Random) -> str:
    """Give an endpoint a new secret and return it. The one before signs too, for :data:`OVERLAP`; no third one does.

    Raises:
        UnreadableSecretError: no key opens the present one.

    """
    mine = webhooks.c.id == webhook_id
    sealed = tx.execute(select(webhooks.c.sealed).where(mine).with_for_update()).scalar_one()
    secret = new_secret(dice)
    kept = vault.seal({"secret": secret, "previous": vault.open(sealed)["secret"]})
    tx.execute(update(webhooks).where(mine).values(sealed=kept, previous_until=tx.now + OVERLAP))
    return secret


def secrets_of(vault: Vault, sealed: bytes, previous_until: datetime | None, now: datetime) -> list[str]:
    """Return the secrets that sign now, the newest first.

    Raises:
        UnreadableSecretError: no key opens them.

    """
    found = vault.open(sealed)
    also = previous_until is not None and now < previous_until and "previous" in found
    return [found["secret"], *([found["previous"]] if also else [])]


def remove(tx: Transaction, webhook_id: str) -> int:
    """Remove an endpoint and all its deliveries; return how many had not arrived."""
    # First its row: whoever enqueues for it, or sends to it, comes before or after this, not between.
    tx.execute(select(webhooks.c.id).where(webhooks.c.id == webhook_id).with_for_update())
    mine = webhook_deliveries.c.webhook_id == webhook_id
    gone = delete(webhook_deliveries).where(mine).returning(webhook_deliveries.c.state)
    lost = [state for state in tx.execute(gone).scalars() if state != "delivered"]
    tx.execute(delete(webhooks).where(webhooks.c.id == webhook_id))
    return len(lost)


def disable(tx: Transaction, webhook_id: str, reason: str) -> None:
    """Send nothing more to an endpoint, and give up what waits for it."""
    tx.execute(
        update(webhooks)
        .where(webhooks.c.id == webhook_id, webhooks.c.disabled_at.is_(None))
        .values(disabled_at=tx.now, disabled_reason=reason)
    )
    waiting = (webhook_deliveries.c.webhook_id == webhook_id, webhook_deliveries.c.state == "pending")
    words = "the endpoint was disabled"
    given_up = {"state": "dead", "due_at": None, "ended_at": tx.now}
    error = func.coalesce(webhook_deliveries.c.error, words)
    tx.execute(update(webhook_deliveries).where(*waiting).values(**given_up, error=error))


def enable(tx: Transaction, webhook_id: str) -> None:
    """Tell an endpoint again, from now on."""
    tx.execute(
        update(webhooks)
        .where(webhooks.c.id == webhook_id, webhooks.c.disabled_at.is_not(None))
        .values(disabled_at=None, disabled_reason=None, after_event=latest_event(tx))
    )


def find(tx: Transaction, webhook_id: str, *, tenant: str) -> WebhookView | None:
    """Return one of a tenant's endpoints."""
    known = as_id(webhook_id)
    if known is None:
        return None
    found = _views(tx, webhooks.c.id == known, webhooks.c.tenant_id == tenant)
    return found[0] if found else None


def list_webhooks(tx: Transaction, *, tenant: str) -> list[WebhookView]:
    """Return a tenant's endpoints, oldest first."""
    return _views(tx, webhooks.c.tenant_id == tenant)


def _views(tx: Transaction, *where: Any) -> list[WebhookView]:  # noqa: ANN401 - SQLAlchemy expressions
    rows = tx.execute(select(webhooks).where(*where).order_by(webhooks.c.id)).all()
    counted = _counted(tx, [row.id for row in rows])
    direct = ("id", "url", "disabled_at", "disabled_reason", "created_at")
    return [
        WebhookView(
            **{name: getattr(row, name) for name in direct},
            kinds=tuple(row.kinds),
            state="enabled" if row.disabled_at is None else "disabled",
            pending=counted.get((row.id, "pending"), 0),
            dead=counted.get((row.id, "dead"), 0),
            previous_until=_still(row.previous_until, tx.now),
        )
        for row in rows
    ]


def _still(until: datetime | None, now: datetime) -> datetime | None:
    return until if until is not None and until > now else None


def _counted(tx: Transaction, ids: Sequence[str]) -> dict[tuple[str, str], int]:
    table = webhook_deliveries.c
    # Said so that either partial index can be used.
    open_ones = or_(table.state == "pending", table.state == "dead")
    statement = select(table.webhook_id, table.state, func.count()).where(
        table.webhook_id.in_(ids), open_ones
    )
    return {(row[0], row[1]): row[2] for row in tx.execute(statement.group_by(table.webhook_id, table.state))}
