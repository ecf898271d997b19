import random
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.passwords import generate_password, strength_fault


@given(st.integers())
def test_generated_passwords_are_strong(seed):
    """A generated password has 32 characters, each class among them, and is never refused."""
    password = generate_password(random.Random(seed))
    assert len(password) == 32
    for letters in (string.ascii_lowercase, string.ascii_uppercase, string.digits, string.punctuation):
        assert set(password) & set(letters)
    assert strength_fault(password) is None


def test_dice_are_passed_in():
    """The same dice make the same password, other dice another."""
    assert generate_password(random.Random(1)) == generate_password(random.Random(1))
    assert generate_password(random.Random(1)) != generate_password(random.Random(2))


def test_system_dice_are_accepted():
    """The system's own randomness serves as dice."""
    assert len({generate_password(random.SystemRandom()) for _ in range(50)}) == 50


@pytest.mark.parametrize(
    ("password", "words"),
    [
        ("Ab3!xy", "has 6 characters"),
        ("Ab3!" * 33, "has 132 characters"),
        ("aaaaaaaaA1", "fewer than 5 different"),
        ("hgfdsamnb", "mixes too little"),
        ("82736450", "mixes too little"),
        ("Password123!", "first to be guessed"),
        ("p@ssw0rd", "first to be guessed"),
        ("!!letmein99", "first to be guessed"),
    ],
)
def test_hopeless_passwords(password, words):
    """A password that the API is certain to refuse is refused with the reason, without being repeated."""
    fault = strength_fault(password)
    assert fault is not None
    assert words in fault
    assert password not in fault


@pytest.mark.parametrize(
    "password",
    ["correct-horse", "hunter2hunter", "nQ7aaaab", "correcthorsebattery", "пароль-1234", "Ab3!xyz"],
)
def test_the_rest_is_left_to_the_api(password):
    """A password that might pass is not refused here."""
    assert strength_fault(password) is None
