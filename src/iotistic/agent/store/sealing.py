"""Values that only the holder of the key file can read: AES-256-GCM, a fresh nonce for each, bound to their place.

    nonce (12 bytes) | ciphertext and tag          of: one byte (0 plain, 1 zlib) | value

Compressed first: what goes to an SD card is what wears it down. The place (a table and a key) is
authenticated with the value, so that rows cannot change places.
"""

import hashlib
import hmac
import json
import secrets
import zlib
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from iotistic.agent.store.errors import SealBroken, StoreKeyWrong
from iotistic.kernel.files import PRIVATE, write_atomic

_KEY_BYTES = 32
_NONCE_BYTES = 12
_COMPRESS_FROM_BYTES = 128
_MOST_UNPACKED_BYTES = 64 * 2**20
_PLAIN, _PACKED = b"\0", b"\1"


class Sealer:
    """Seals and opens with one key of 32 bytes."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)
        self._digest_key = hashlib.sha256(b"iotistic lookup" + key).digest()

    def seal(self, value: bytes, place: str) -> bytes:
        """Return a value as it may lie on the disk."""
        packed = zlib.compress(value, 1) if len(value) >= _COMPRESS_FROM_BYTES else value
        plain = _PACKED + packed if len(packed) < len(value) else _PLAIN + value
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plain, place.encode())

    def unseal(self, sealed: bytes, place: str) -> bytes:
        """Return a value that was sealed for this place. Raises SealBroken."""
        try:
            plain = self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], place.encode())
        except (InvalidTag, ValueError, TypeError) as exc:
            raise SealBroken(f"what is kept as {place} cannot be read with this key") from exc
        return _unpack(plain[1:]) if plain[:1] == _PACKED else plain[1:]

    def seal_json(self, value: Any, place: str) -> bytes:
        """Return a JSON value as it may lie on the disk."""
        return self.seal(canonical(value), place)

    def unseal_json(self, sealed: bytes, place: str) -> Any:
        """Return a JSON value that was sealed for this place. Raises SealBroken."""
        return json.loads(self.unseal(sealed, place))

    def lookup(self, name: str) -> bytes:
        """Return what a name is found by; without the key it cannot be guessed."""
        return hmac.digest(self._digest_key, name.encode(), "sha256")[:16]


def canonical(value: Any) -> bytes:
    """Return JSON that is the same for the same value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(
        "utf-8", "surrogatepass"
    )


def make_key(path: Path) -> bytes:
    """Write a new key (mode 600) and return it. Raises OSError."""
    key = secrets.token_bytes(_KEY_BYTES)
    write_atomic(path, key.hex() + "\n", mode=PRIVATE)
    return key


def read_key(path: Path) -> bytes | None:
    """Return the key that a file holds, None when there is no file. Raises StoreKeyWrong and OSError."""
    try:
        written = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        key = bytes.fromhex(written.decode("ascii"))
    except ValueError:
        key = b""
    if len(key) != _KEY_BYTES:
        raise StoreKeyWrong(
            f"the key file {path} does not hold a key of {_KEY_BYTES} bytes", hint="put the right file back"
        )
    return key


def _unpack(packed: bytes) -> bytes:
    unpacking = zlib.decompressobj()
    return unpacking.decompress(packed, _MOST_UNPACKED_BYTES)
