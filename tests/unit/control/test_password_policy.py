"""Which names, mail addresses and passwords are accepted."""

import pytest

from iotistic.control.accounts.model import PasswordRefused, UserInvalid
from iotistic.control.accounts.policy import check_email, check_password, check_username

NAMES = ("ada.byron", "ada.byron@lovelace.example", "Ada Byron")


@pytest.mark.parametrize(
    "password",
    ["four random words", "xK9!mmPq2zz", "ein langer Satz auf Deutsch", "パスワードは長いほうがいい"],
)
def test_a_long_password_of_ones_own_is_accepted(password):
    check_password(password, least=10, names=NAMES)


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("nine char", "shorter"),
        ("x1y2z3" * 50, "longer"),
        ("half a \ud800 character", "half a character"),
        ("aaaaaaaaaaaa", "repeats"),
        ("abababababab", "repeats"),
        ("1234567890", "repeats or counts"),
        ("abcdefghijkl", "repeats or counts"),
        ("9876543210", "repeats or counts"),
        ("Password2026!", "commonest"),
        ("!!qwertyuiop1", "commonest"),
        ("1qaz2wsx3edc", "commonest"),
        ("iotistic42!!", "commonest"),
        ("my ada.byron 77", "your name"),
        ("ADA.BYRON-2026", "your name"),
    ],
)
def test_what_is_guessed_first_is_refused_with_the_reason(password, reason):
    with pytest.raises(PasswordRefused, match=reason):
        check_password(password, least=10, names=NAMES)


def test_a_refusal_does_not_repeat_the_password():
    with pytest.raises(PasswordRefused) as refused:
        check_password("letmein1234!", least=10, names=())

    assert "letmein" not in str(refused.value.as_dict())


@pytest.mark.parametrize("username", ["", "ab", "a b c", "ada@example.net", "-ada", "x" * 65, "adä", "ada\n"])
def test_what_is_no_user_name_is_refused(username):
    with pytest.raises(UserInvalid):
        check_username(username)


@pytest.mark.parametrize(
    "email", ["", "ada", "@example.net", "ada@", "a b@c", "a@b@c", "a@b..c", "a@" + "b" * 254]
)
def test_what_is_no_mail_address_is_refused(email):
    with pytest.raises(UserInvalid):
        check_email(email)


@pytest.mark.parametrize("email", ["ada@example.net", "ada+iot@localhost", "ä@example.museum"])
def test_a_mail_address_is_accepted(email):
    check_email(email)
