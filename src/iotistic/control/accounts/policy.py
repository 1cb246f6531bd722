"""Which names, mail addresses and passwords are accepted."""

import re
import unicodedata
from importlib.resources import files
from itertools import pairwise

from iotistic.control.accounts.model import PasswordRefused, UserInvalid

LONGEST_PASSWORD = 256  # characters; so that nobody has us hash megabytes
_FEWEST_DIFFERENT = 5  # characters
_USERNAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{2,63}")
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s.]+(\.[^@\s.]+)*")
_LONGEST_EMAIL = 254
_SHORTEST_PART = 4  # a name of three letters stands in many good passwords

COMMONEST: frozenset[str] = frozenset(
    files("iotistic.control.accounts").joinpath("common_passwords.txt").read_text(encoding="utf-8").split()
)
"""Passwords, and the words they are made of, that are tried first; in small letters."""


def check_username(username: str) -> None:
    """Raise UserInvalid for what is no name: 3 to 64 of a-z, 0-9, `.`, `_`, `-`."""
    if not _USERNAME.fullmatch(username):
        raise UserInvalid(
            "a user name has 3 to 64 letters, digits, dots, hyphens or underscores", field="username"
        )


def check_email(email: str) -> None:
    """Raise UserInvalid for what cannot be a mail address."""
    if len(email) > _LONGEST_EMAIL or not _EMAIL.fullmatch(email):
        raise UserInvalid("this is no mail address", field="email")


def normal(password: str) -> str:
    """Return `password` as it is hashed: keyboards disagree on how an accented letter is put together."""
    return unicodedata.normalize("NFC", password)


def check_password(password: str, *, least: int, names: tuple[str, ...]) -> None:
    """Raise PasswordRefused, saying why, for what is guessed first; `names` are the person's own."""
    password = normal(password)
    if len(password) < least:
        _refuse(f"the password is shorter than {least} characters", "a few random words make a long one")
    if len(password) > LONGEST_PASSWORD:
        _refuse(f"the password is longer than {LONGEST_PASSWORD} characters", "use a shorter one")
    if any("\ud800" <= character <= "\udfff" for character in password):
        _refuse("the password holds half a character, which no keyboard types", "use whole characters")
    folded = password.casefold()
    if len(set(folded)) < _FEWEST_DIFFERENT or _is_run(folded):
        _refuse("the password repeats or counts up a few characters", "use several random words")
    if _is_common(folded):
        _refuse("the password is one of the commonest", "use several random words")
    if any(part in folded for name in names for part in _parts(name)):
        _refuse("the password holds your name or mail address", "use words that have nothing to do with you")


def _refuse(message: str, hint: str) -> None:
    raise PasswordRefused(message, hint=hint)


def _is_common(folded: str) -> bool:
    """Whether it is a common word, also with digits and signs put around it."""
    core = re.sub(r"^[^a-z]+|[^a-z]+$", "", folded)
    return folded in COMMONEST or core in COMMONEST


def _is_run(folded: str) -> bool:
    """Whether every character follows the one before: 1234567890, abcdefghij."""
    steps = {ord(after) - ord(before) for before, after in pairwise(folded)}
    return steps <= {1, -9} or steps <= {-1, 9}


def _parts(name: str) -> list[str]:
    whole = name.casefold()
    return [part for part in (whole, whole.partition("@")[0]) if len(part) >= _SHORTEST_PART]
