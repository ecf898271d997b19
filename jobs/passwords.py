"""Root passwords: a strong one from dice that are passed in, and why a given one is hopeless."""

import random
import string

LENGTHS = range(7, 129)
"""The lengths that the API takes (API.md, root_pass)."""

GENERATED_LENGTH = 32

_SIGNS = "!#%+,-./:=?@^_~"  # no quotes, backslash, dollar or space: safe to paste into a shell or a file
_CLASSES = (string.ascii_lowercase, string.ascii_uppercase, string.digits, _SIGNS)
_LONG_ENOUGH_ALONE = 16
_FEWEST_CLASSES = 2
_FEWEST_DISTINCT = 5
# fmt: off
_GUESSED_FIRST = frozenset({
    "password", "passwort", "passw0rd", "p@ssw0rd", "p@ssword", "qwerty", "qwertyuiop", "qwertz",
    "letmein", "welcome", "admin", "administrator", "root", "toor", "changeme", "secret",
    "linode", "iloveyou", "monkey", "dragon", "abc", "abcd", "abcdef", "test",
    "default", "master",
})
# fmt: on


def generate_password(rng: random.Random) -> str:
    """Return a password of 32 characters with at least one of each class; pass `secrets.SystemRandom()`."""
    everything = "".join(_CLASSES)
    drawn = [rng.choice(letters) for letters in _CLASSES]
    drawn += rng.choices(everything, k=GENERATED_LENGTH - len(drawn))
    rng.shuffle(drawn)
    return "".join(drawn)


def strength_fault(password: str) -> str | None:
    """Say why the API is certain to refuse a password, or None; the text never repeats the password.

    An estimate of our own. The API scores strength itself and stays the judge; here only the hopeless is
    refused: a length outside 7-128, fewer than 5 different characters, one class of characters only (unless
    16 or more long), or a word that is guessed first, with nothing but digits and signs round it.
    """
    if len(password) not in LENGTHS:
        return f"has {len(password)} characters, and a password has 7 to 128"
    if len(set(password)) < _FEWEST_DISTINCT:
        return f"has fewer than {_FEWEST_DISTINCT} different characters"
    if len(password) < _LONG_ENOUGH_ALONE and len(_classes(password)) < _FEWEST_CLASSES:
        return "mixes too little: use at least two of small letters, capitals, digits and signs"
    word = password.lower()
    if word in _GUESSED_FIRST or word.strip(string.digits + string.punctuation) in _GUESSED_FIRST:
        return "is one of the first to be guessed"
    return None


def _classes(password: str) -> set[str]:
    return {_class_of(char) for char in password}


def _class_of(char: str) -> str:
    if char.isdigit():
        return "digit"
    if char.isalpha():
        return "capital" if char.isupper() else "small"
    return "sign"
