"""Secrets that have to be shown to others later, encrypted for the database (AES-256-GCM).

What is sealed is bound to a name: moved to another row, it does not open.
"""

import secrets
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import SecretStr

from iotistic.kernel.errors import Conflict, Invalid

_NONCE_BYTES = 12


class SealMissing(Invalid):
    """This server has no secret to encrypt with."""

    code = "seal.missing"


class SealBroken(Conflict):
    """This was encrypted with another secret, or for something else."""

    code = "seal.broken"


class Seal:
    """Encrypts for one `purpose`; `setting` is the name of the secret's setting, for hints."""

    def __init__(self, secret: SecretStr | None, *, purpose: str, setting: str) -> None:
        plain = secret.get_secret_value().encode() if secret else b""
        self._key = AESGCM(sha256(purpose.encode() + b"\0" + plain).digest()) if plain else None
        self._setting = setting

    def close(self, name: str, value: SecretStr) -> bytes:
        """Return what is kept. Raises SealMissing."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._key_or_refuse().encrypt(nonce, value.get_secret_value().encode(), name.encode())

    def open(self, name: str, sealed: bytes) -> SecretStr:
        """Return what was sealed under this name. Raises SealMissing, SealBroken."""
        try:
            plain = self._key_or_refuse().decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], name.encode())
        except InvalidTag as exc:
            raise SealBroken(hint="set the secret anew") from exc
        return SecretStr(plain.decode())

    def _key_or_refuse(self) -> AESGCM:
        if self._key is None:
            raise SealMissing(hint=f"set {self._setting}_FILE")
        return self._key
