"""Mosquitto's password file, written by us: `mosquitto_passwd` takes passwords on its command line only."""

import base64
import binascii
import hashlib
import hmac
import secrets

_ITERATIONS = 101
# The broker's own default. Our passwords are random 256-bit secrets, so a slow hash would protect nothing,
# and the broker computes it in its only thread.
CHOSEN_ITERATIONS = 10_000
"""For passwords that people choose: 5 ms of that thread at each connection."""
_SALT_BYTES = 12
_HASH_BYTES = 64


def password_hash(password: str, *, iterations: int = _ITERATIONS, salt: bytes | None = None) -> str:
    """Return `$7$iterations$salt$hash` with PBKDF2-HMAC-SHA512, as Mosquitto 2 reads it.

    `salt` is for passwords that are random themselves, where the same text is wanted each time.
    """
    salt = salt or secrets.token_bytes(_SALT_BYTES)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, iterations, dklen=_HASH_BYTES)
    encoded = "$".join(base64.b64encode(part).decode() for part in (salt, digest))
    return f"$7${iterations}${encoded}"


def password_line(username: str, password: str) -> str:
    """Return `user:$7$iterations$salt$hash` with its line break."""
    return f"{username}:{password_hash(password)}\n"


def is_password(known: str, presented: str) -> bool:
    """Whether `presented` is the password of a hash; a hash that cannot be read is of none."""
    try:
        _empty, kind, iterations, salt, digest = known.split("$")
        wanted = base64.b64decode(digest, validate=True)
        made = hashlib.pbkdf2_hmac(
            "sha512",
            presented.encode("utf-8", "replace"),
            base64.b64decode(salt, validate=True),
            int(iterations),
            dklen=len(wanted),
        )
    except (ValueError, binascii.Error):
        return False
    return kind == "7" and hmac.compare_digest(made, wanted)
