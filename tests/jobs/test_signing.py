from datetime import UTC, datetime
from random import Random

import pytest
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from jobs.signing import PREFIX, headers, new_secret

BODY = '{"type":"job.running","data":{"label":"büro"}}'


def now():
    """Return this moment in epoch seconds: the library compares with it."""
    return int(datetime.now(UTC).timestamp())


def signed(*secrets, timestamp=None, message_id="01a20f37-a902-7de5-9848-6955ab7f0866"):
    """Return the headers of a delivery."""
    return headers(secrets, message_id=message_id, timestamp=timestamp or now(), body=BODY)


def test_the_public_library_takes_our_signatures():
    """A receiver that uses the Standard Webhooks library verifies what we sign, text beyond ASCII included."""
    secret = new_secret(Random(1))
    assert Webhook(secret).verify(BODY.encode(), signed(secret))["type"] == "job.running"


def test_both_secrets_verify_during_a_rotation():
    """While a secret is replaced a delivery is signed with both: receivers with either verify it."""
    new, old = new_secret(Random(1)), new_secret(Random(2))
    found = signed(new, old)
    assert len(found["webhook-signature"].split(" ")) == 2
    for secret in (new, old):
        Webhook(secret).verify(BODY, found)


@pytest.mark.parametrize("spoil", ["body", "id", "timestamp", "secret", "age"])
def test_what_was_tampered_with_does_not_verify(spoil):
    """Another body, id, time or secret, and an old message: the library refuses each."""
    secret = new_secret(Random(1))
    found, body = signed(secret), BODY
    if spoil == "body":
        body = BODY.replace("running", "failed")
    elif spoil == "id":
        found["webhook-id"] = "another"
    elif spoil == "timestamp":
        found["webhook-timestamp"] = str(now() + 7)
    elif spoil == "age":
        found = signed(secret, timestamp=now() - 600)
    else:
        secret = new_secret(Random(3))
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body, found)


def test_secrets_are_long_and_differ():
    """A secret carries the standard's prefix and 256 bits, and no two are alike."""
    dice = Random(5)
    found = {new_secret(dice) for _ in range(100)}
    assert len(found) == 100
    assert {(one.startswith(PREFIX), len(one)) for one in found} == {(True, len(PREFIX) + 44)}
