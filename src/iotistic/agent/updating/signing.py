"""Signatures of releases: Ed25519 over a line that says what they are for, and the description."""

import base64
import binascii

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from iotistic.agent.updating.errors import ReleaseInvalid, ReleaseUntrusted, UpdateNotSetUp

_PURPOSE = b"iotistic-agent-release\n"


def check_signature(wanted: str, description: bytes, signature: bytes, key_pem: str) -> None:
    """Return when a description was signed with the key. Raises UpdateNotSetUp, ReleaseUntrusted."""
    key = _public_key(key_pem)
    try:
        key.verify(base64.b64decode(signature, validate=False), _PURPOSE + description)
    except (InvalidSignature, binascii.Error, ValueError) as exc:
        hint = "compare AGENT_UPDATE_KEY with the key that the release was signed with"
        raise ReleaseUntrusted(f"the description of {wanted} is not signed with the key", hint=hint) from exc


def sign_release(description: bytes, key_pem: bytes) -> bytes:
    """Return the signature of a description. Raises ReleaseInvalid for a key that is none."""
    try:
        key = load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        raise ReleaseInvalid("the private key cannot be read") from exc
    if not isinstance(key, Ed25519PrivateKey):
        raise ReleaseInvalid(
            "the private key is not of Ed25519", hint="openssl genpkey -algorithm ed25519 -out key.pem"
        )
    return base64.b64encode(key.sign(_PURPOSE + description)) + b"\n"


def _public_key(pem: str) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise UpdateNotSetUp("AGENT_UPDATE_KEY is no public key in PEM") from exc
    if not isinstance(key, Ed25519PublicKey):
        raise UpdateNotSetUp("AGENT_UPDATE_KEY is no key of Ed25519")
    return key
