"""What the faces call for webhooks: endpoints and their deliveries, each its tenant's."""

from dataclasses import dataclass
from random import Random

from jobs import deliveries, webhooks
from jobs.database import Database, Transaction
from jobs.deliveries import DeliveryView
from jobs.reach import Reach
from jobs.service import NotFound, SecretsRefused, ServiceError
from jobs.vault import UnreadableSecretError, Vault
from jobs.webhooks import EndpointRequest, WebhookView


class TooManyWebhooks(ServiceError):  # noqa: N818 - the words of the answer
    """The tenant has as many endpoints as it may."""


class WebhookDisabled(ServiceError):  # noqa: N818 - the words of the answer
    """The endpoint is disabled: nothing is sent to it but tests."""


@dataclass(frozen=True)
class Endpoint:
    """An endpoint with its new secret, which nobody is shown again."""

    webhook: WebhookView
    secret: str


class Hooks:
    """The endpoints of one installation.

    Args:
        database: where the rows are.
        vault: seals secrets; None: no endpoint can be made.
        reach: how far inwards endpoints may be.
        dice: randomness for ids and secrets; the system's.

    """

    def __init__(self, database: Database, *, vault: Vault | None, reach: Reach, dice: Random) -> None:
        self._database = database
        self._vault = vault
        self._dice = dice
        self.reach = reach

    def add(self, request: EndpointRequest, tenant: str) -> Endpoint:
        """Add an endpoint: it is told of what happens from now on.

        Raises:
            TooManyWebhooks: the tenant has as many as it may.
            SecretsRefused: there is no key to keep its secret with.

        """
        vault = self._keys()
        with self._database.write() as tx:
            if webhooks.count(tx, tenant) >= webhooks.MOST:
                raise TooManyWebhooks(
                    f"there are {webhooks.MOST} endpoints, which is the most; remove one first"
                )
            made, secret = webhooks.add(tx, request, tenant=tenant, vault=vault, dice=self._dice)
            return Endpoint(_find(tx, made, tenant), secret)

    def endpoints(self, tenant: str) -> list[WebhookView]:
        """Return a tenant's endpoints, oldest first."""
        with self._database.read() as tx:
            return webhooks.list_webhooks(tx, tenant=tenant)

    def show(self, webhook_id: str, tenant: str) -> WebhookView:
        """Return one endpoint. Raises NotFound."""
        with self._database.read() as tx:
            return _find(tx, webhook_id, tenant)

    def remove(self, webhook_id: str, tenant: str) -> tuple[WebhookView, int]:
        """Remove an endpoint with its log; return it, and how many deliveries had not arrived. Raises NotFound."""
        with self._database.write() as tx:
            found = _find(tx, webhook_id, tenant)
            return found, webhooks.remove(tx, found.id)

    def rotate(self, webhook_id: str, tenant: str) -> Endpoint:
        """Give an endpoint a new secret; the present one signs too for a day. One before that ends at once.

        Raises:
            NotFound: there is no such endpoint.
            SecretsRefused: no key opens its present secret.

        """
        vault = self._keys()
        with self._database.write() as tx:
            found = _find(tx, webhook_id, tenant)
            try:
                secret = webhooks.rotate(tx, found.id, vault=vault, dice=self._dice)
            except UnreadableSecretError as error:
                raise SecretsRefused(f"{error} (NODEWRIGHT_ENCRYPTION_KEYS)") from None
            return Endpoint(_find(tx, found.id, tenant), secret)

    def test(self, webhook_id: str, tenant: str) -> DeliveryView:
        """Enqueue a test, also for a disabled endpoint: if it arrives, that is enabled again. Raises NotFound."""
        with self._database.write() as tx:
            found = _find(tx, webhook_id, tenant)
            return _delivery(tx, found.id, deliveries.enqueue_test(tx, found.id, self._dice))

    def deliveries(
        self,
        webhook_id: str,
        tenant: str,
        *,
        state: str | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> list[DeliveryView]:
        """Return an endpoint's deliveries, newest first; those older than ``after``. Raises NotFound."""
        with self._database.read() as tx:
            found = _find(tx, webhook_id, tenant)
            return deliveries.list_deliveries(tx, found.id, state=state, limit=limit, after=after)

    def resend(self, webhook_id: str, delivery_id: str, tenant: str) -> DeliveryView:
        """Send a delivery again, whatever became of it.

        Raises:
            NotFound: there is no such endpoint or delivery.
            WebhookDisabled: the endpoint takes nothing.

        """
        with self._database.write() as tx:
            found = _find(tx, webhook_id, tenant)
            delivery = _delivery(tx, found.id, delivery_id)
            _sent(deliveries.resend(tx, found.id, delivery_id=delivery.id))
            return _delivery(tx, found.id, delivery.id)

    def resend_dead(self, webhook_id: str, tenant: str) -> int:
        """Send every dead delivery again; return how many.

        Raises:
            NotFound: there is no such endpoint.
            WebhookDisabled: the endpoint takes nothing.

        """
        with self._database.write() as tx:
            return _sent(deliveries.resend(tx, _find(tx, webhook_id, tenant).id))

    def _keys(self) -> Vault:
        if self._vault is None:
            raise SecretsRefused("no encryption key is configured (NODEWRIGHT_ENCRYPTION_KEYS)")
        return self._vault


def _find(tx: Transaction, webhook_id: str, tenant: str) -> WebhookView:
    found = webhooks.find(tx, webhook_id, tenant=tenant)
    if found is None:
        raise NotFound(f"there is no webhook {webhook_id!r}")
    return found


def _delivery(tx: Transaction, webhook_id: str, delivery_id: str) -> DeliveryView:
    found = deliveries.find(tx, webhook_id, delivery_id)
    if found is None:
        raise NotFound(f"there is no delivery {delivery_id!r} to this webhook")
    return found


def _sent(count: int | None) -> int:
    if count is None:
        raise WebhookDisabled("the endpoint is disabled; a test that arrives enables it again")
    return count
