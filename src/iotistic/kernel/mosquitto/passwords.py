"""Mosquitto's password file, written by us: `mosquitto_passwd` takes passwords on its command line only."""

import base64
import hashlib
import secrets

_ITERATIONS = 101
# The broker's own default. Our passwords are random 256-bit secrets, so a slow hash would protect nothing,
# and the broker computes it in its only thread.
_SALT_BYTES = 12
_HASH_BYTES = 64


def password_line(username: str, password: str) -> str:
    """Return `user:$7$iterations$salt$hash` with PBKDF2-HMAC-SHA512, as Mosquitto 2 reads it."""
    salt = secrets.token_bytes(_SALT_BYTES)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ITERATIONS, dklen=_HASH_BYTES)
    encoded = "$".join(base64.b64encode(part).decode() for part in (salt, digest))
    return f"{username}:$7${_ITERATIONS}${encoded}\n"
