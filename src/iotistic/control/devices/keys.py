"""API keys of devices: random 256-bit secrets, found by a prefix of their SHA-256 and compared by the whole of it."""

import hmac
import secrets

from iotistic.control.devices.model import DeviceKeyWeak
from iotistic.kernel.web.auth import digest

_LEAST = 32
_LEAST_DIFFERENT = 8
_PREFIX = 8


def make_api_key() -> str:
    """Return a new key, as devices make theirs: 64 hexadecimal digits."""
    return secrets.token_hex(32)


def prefix_of(key_digest: bytes) -> bytes:
    """Return what finds a key."""
    return key_digest[:_PREFIX]


def is_key(known: bytes, presented: bytes) -> bool:
    """Compare two digests in constant time."""
    return hmac.compare_digest(known, presented)


def digest_of(api_key: str) -> bytes:
    """Return what is kept of a key that somebody shows."""
    return digest(api_key.encode("utf-8", "replace").decode())


def check_strength(api_key: str) -> None:
    """Refuse a key that is easily guessed. Raises DeviceKeyWeak."""
    if len(api_key) < _LEAST or not api_key.isascii() or " " in api_key:
        raise DeviceKeyWeak(f"deviceApiKey needs {_LEAST} characters or more, in ASCII and without spaces")
    if len(set(api_key)) < _LEAST_DIFFERENT:
        raise DeviceKeyWeak("deviceApiKey is not random", hint="make 32 random bytes and write them in hex")
