import hashlib

import pytest

from jobs.vault import UnreadableSecretError, Vault, new_key

DOCUMENT = {"0": {"root_pass": "Sömething-s3cret", "user_data": "#cloud-config\n"}}


def test_what_is_sealed_opens_again():
    """A document comes back as it was, and its ciphertext shows none of it."""
    vault = Vault([new_key()])
    sealed = vault.seal(DOCUMENT)
    assert vault.open(sealed) == DOCUMENT
    assert b"s3cret" not in sealed
    assert vault.seal(DOCUMENT) != sealed


def test_rotation_keeps_old_secrets_readable():
    """A new key in front seals; the old one behind it opens until everything is sealed anew."""
    old, new = new_key(), new_key()
    sealed = Vault([old]).seal(DOCUMENT)
    both = Vault([new, old])
    assert both.open(sealed) == DOCUMENT
    assert Vault([new]).open(both.seal(DOCUMENT)) == DOCUMENT
    assert Vault([new]).open(both.rotate(sealed)) == DOCUMENT


@pytest.mark.parametrize(
    "spoil", [lambda sealed: sealed[:-5], lambda sealed: sealed[:0], lambda sealed: sealed[5:]]
)
def test_a_damaged_secret_is_refused(spoil):
    """Whatever was changed in a secret, it does not open, and the error says nothing of it."""
    vault = Vault([new_key()])
    with pytest.raises(UnreadableSecretError, match="cannot be opened"):
        vault.open(spoil(vault.seal(DOCUMENT)))


def test_a_wrong_key_opens_nothing():
    """Another key's secret is unreadable, and the cause is not chained to the message."""
    with pytest.raises(UnreadableSecretError) as caught:
        Vault([new_key()]).open(Vault([new_key()]).seal(DOCUMENT))
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("keys", [[], [""], ["short"], [new_key(), "AAAA"], ["ключ"]])
def test_bad_keys_are_refused_without_being_shown(keys):
    """No key, or one of another form, is a ValueError that quotes none of them."""
    with pytest.raises(ValueError, match="expected encryption keys of 32 bytes") as caught:
        Vault(keys)
    assert not any(key and key in str(caught.value) for key in keys)


def test_a_vault_shows_no_key():
    """The repr of a vault is blank."""
    key = new_key()
    assert key not in repr(Vault([key]))


def test_a_damaged_secret_is_not_rotated():
    """What no key opens is not sealed anew."""
    with pytest.raises(UnreadableSecretError, match="cannot be opened"):
        Vault([new_key()]).rotate(Vault([new_key()]).seal(DOCUMENT))


def test_marks_tell_contents_apart_and_need_a_key():
    """A mark is the same for the same content and key, another for another of either, and goes with each key."""
    old, new = new_key(), new_key()
    (mark,) = Vault([old]).marks(b"a")
    assert Vault([old]).marks(b"a") == (mark,)
    assert Vault([old]).marks(b"b") != (mark,)
    assert Vault([new]).marks(b"a") != (mark,)
    assert Vault([new, old]).marks(b"a")[1] == mark
    assert mark != hashlib.sha256(b"a").hexdigest()
