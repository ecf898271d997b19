"""Standard Webhooks signatures (standardwebhooks.com, ``v1``): how a receiver knows a message is ours and whole."""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from random import Random
from typing import Final

PREFIX: Final = "whsec_"
_BYTES: Final = 32


def new_secret(dice: Random) -> str:
    """Return a new signing secret: ``whsec_`` and 32 random bytes in base64."""
    return PREFIX + base64.b64encode(dice.randbytes(_BYTES)).decode()


def signature(secret: str, *, message_id: str, timestamp: int, body: str) -> str:
    """Return one signature, ``v1,…``. ``timestamp``: when it is sent, in epoch seconds.

    >>> key = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    >>> signature(key, message_id="msg_p5jXN8AQM9LWM0D4loKWxJek", timestamp=1614265330, body='{"test": 2432232314}')
    'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='
    """
    key = base64.b64decode(secret.removeprefix(PREFIX))
    signed = f"{message_id}.{timestamp}.{body}".encode()
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def headers(secrets: Sequence[str], *, message_id: str, timestamp: int, body: str) -> dict[str, str]:
    """Return the three headers of a delivery, signed with each of ``secrets``."""
    signatures = [signature(one, message_id=message_id, timestamp=timestamp, body=body) for one in secrets]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signatures),
    }
