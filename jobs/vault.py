"""Secrets at rest: sealed with the newest key, opened with any of the keys (rotation)."""

import base64
import hashlib
import hmac
import json
from collections.abc import Sequence
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet


class UnreadableSecretError(Exception):
    """The secret cannot be opened: none of the keys made it, or it was damaged."""


def new_key() -> str:
    """Return a new key: 32 random bytes in URL-safe base64, as Fernet wants it."""
    return Fernet.generate_key().decode()


class Vault:
    """Seals and opens small JSON documents with authenticated encryption.

    Args:
        keys: Fernet keys, the newest first; the first seals, all open.

    Raises:
        ValueError: no key was given, or one is not 32 bytes of URL-safe base64. The message holds no key.

    """

    def __init__(self, keys: Sequence[str]) -> None:
        try:
            self._fernet = MultiFernet([Fernet(key) for key in keys])
            self._marks = tuple(_marking_key(key) for key in keys)
        except ValueError:
            raise ValueError(
                "expected encryption keys of 32 bytes in URL-safe base64, newest first, got something else"
            ) from None

    def __repr__(self) -> str:
        """Say nothing about the keys."""
        return "Vault(…)"

    def seal(self, document: dict[str, Any]) -> bytes:
        """Return ``document`` encrypted."""
        return self._fernet.encrypt(json.dumps(document, separators=(",", ":")).encode())

    def open(self, sealed: bytes) -> dict[str, Any]:
        """Return the document that was sealed.

        Raises:
            UnreadableSecretError: no key fits.

        """
        try:
            document: dict[str, Any] = json.loads(self._fernet.decrypt(sealed))
        except InvalidToken:
            raise UnreadableSecretError("the secret cannot be opened with the configured keys") from None
        return document

    def rotate(self, sealed: bytes) -> bytes:
        """Return the same secret, sealed with the newest key.

        Raises:
            UnreadableSecretError: no key fits.

        """
        try:
            return self._fernet.rotate(sealed)
        except InvalidToken:
            raise UnreadableSecretError("the secret cannot be opened with the configured keys") from None

    def marks(self, content: bytes) -> tuple[str, ...]:
        """Return digests of ``content`` that tell nobody without a key what it was: one for each key, newest first.

        A plain digest of something that holds a password would let a thief of the database try passwords on it.
        """
        return tuple(hmac.new(key, content, hashlib.sha256).hexdigest() for key in self._marks)


def _marking_key(key: str) -> bytes:
    # Not the key itself: what encrypts must do nothing else.
    return hmac.new(base64.urlsafe_b64decode(key), b"nodewright request", hashlib.sha256).digest()
