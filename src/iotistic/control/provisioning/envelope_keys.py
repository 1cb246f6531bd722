"""The cloud's keys for envelopes, in a file of mode 600; the newest is told to devices, older ones still open."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa, x25519

from iotistic.contracts.provisioning.answers import CloudKey
from iotistic.contracts.provisioning.envelope import CloudPrivateKey, key_id_of, open_envelope
from iotistic.control.provisioning.model import EnvelopeKeyUnknown
from iotistic.kernel.errors import Invalid
from iotistic.kernel.files import write_once

_ID = 16


class EnvelopeKeyUnusable(Invalid):
    """The key for envelopes is neither X25519 nor RSA."""

    code = "provisioning.envelope_key_unusable"


def read_or_make_key(path: Path) -> CloudPrivateKey:
    """Return the key in a file, making one (X25519) the first time. Raises EnvelopeKeyUnusable."""
    if not path.exists():
        key = x25519.X25519PrivateKey.generate()
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_once(path, pem)
    content = path.read_bytes()
    try:
        found = serialization.load_pem_private_key(content, password=None)
    except (ValueError, TypeError) as exc:
        raise EnvelopeKeyUnusable(f"{path} holds no private key in PEM") from exc
    if isinstance(found, x25519.X25519PrivateKey | rsa.RSAPrivateKey):
        return found
    raise EnvelopeKeyUnusable


class EnvelopeKeys:
    """Opens envelopes."""

    def __init__(self, current: CloudPrivateKey, former: Sequence[CloudPrivateKey] = ()) -> None:
        self.told = CloudKey(_pem(current), _name(current))
        self._keys: Mapping[str, CloudPrivateKey] = {_name(key): key for key in (*former, current)}

    def open(self, document: object) -> dict[str, object]:
        """Return what is in an envelope. Raises EnvelopeKeyUnknown, EnvelopeInvalid."""
        key = self._keys.get(key_id_of(document))
        if key is None:
            raise EnvelopeKeyUnknown(hint="ask for the cloud's key again")
        return open_envelope(document, key)


def _pem(key: CloudPrivateKey) -> str:
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


def _name(key: CloudPrivateKey) -> str:
    return hashlib.sha256(_pem(key).encode()).hexdigest()[:_ID]
