"""What only the cloud can open: a key of AES-256-GCM for one message, wrapped for the cloud's public key.

    RSA-OAEP-256           the key is random, and encrypted for an RSA key of 2048 to 8192 bits
    X25519-HKDF-SHA256     the key is derived from an exchange with a key pair made for this message

The cloud's key id, the device's uuid and the way of wrapping are authenticated with the message: an envelope
cannot be passed off as another device's, nor as one for another key. Base64 is read strictly, so that one
envelope has one spelling.

    {"keyId", "uuid", "alg", "wrapped", "iv", "ciphertext"}      all but the first three in base64

A bare RSA-OAEP payload (`{"keyId", "encryptedPayload"}`), small enough to fit the key, is opened as well.
"""

import base64
import binascii
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from iotistic.contracts.provisioning.fields import Fields, ProvisioningInvalid, parse_uuid

_KEY_BYTES, _NONCE_BYTES, _X25519_BYTES = 32, 12, 32
_RSA_BITS = range(2048, 8193)
_LARGEST = 128 * 1024
_LABEL = b"iotistic provisioning v2"

CloudPublicKey = rsa.RSAPublicKey | x25519.X25519PublicKey
CloudPrivateKey = rsa.RSAPrivateKey | x25519.X25519PrivateKey


class EnvelopeInvalid(ProvisioningInvalid):
    """This is not an envelope that was made for this key."""

    code = "provisioning.envelope_invalid"


class Wrapping(StrEnum):
    """How the key of an envelope reaches the cloud."""

    RSA_OAEP_256 = "RSA-OAEP-256"
    X25519 = "X25519-HKDF-SHA256"


@dataclass(frozen=True, slots=True)
class Addressed:
    """Whom an envelope is for, and whose it is: bound to what is in it."""

    key_id: str
    uuid: str

    def bound(self, wrapping: Wrapping) -> bytes:
        """Return what is authenticated with the message; JSON, so that no two pairs look the same."""
        return _LABEL + json.dumps([wrapping, self.key_id, self.uuid]).encode()


def read_cloud_key(pem: str) -> CloudPublicKey:
    """Return the cloud's public key. Raises EnvelopeInvalid when it is none, or too weak."""
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        raise EnvelopeInvalid("the cloud's public key is not PEM") from exc
    if isinstance(key, x25519.X25519PublicKey):
        return key
    if isinstance(key, rsa.RSAPublicKey) and key.key_size in _RSA_BITS:
        return key
    raise EnvelopeInvalid("the cloud's public key is neither X25519 nor RSA with 2048 bits or more")


def seal(message: Mapping[str, Any], key: CloudPublicKey, addressed: Addressed) -> dict[str, str]:
    """Return the envelope of a JSON object. Raises EnvelopeInvalid for a public key that no secret comes from."""
    if isinstance(key, rsa.RSAPublicKey):
        wrapping, content_key = Wrapping.RSA_OAEP_256, secrets.token_bytes(_KEY_BYTES)
        wrapped = key.encrypt(content_key, _oaep())
    else:
        own = x25519.X25519PrivateKey.generate()
        wrapping, wrapped = Wrapping.X25519, own.public_key().public_bytes_raw()
        content_key = _derived(_exchanged(own, key), wrapped, key, addressed)
    nonce = secrets.token_bytes(_NONCE_BYTES)
    plain = json.dumps(dict(message), separators=(",", ":")).encode()
    sealed = AESGCM(content_key).encrypt(nonce, plain, addressed.bound(wrapping))
    return {
        "keyId": addressed.key_id,
        "uuid": addressed.uuid,
        "alg": wrapping.value,
        "wrapped": _encoded(wrapped),
        "iv": _encoded(nonce),
        "ciphertext": _encoded(sealed),
    }


def key_id_of(document: object) -> str:
    """Return which key an envelope is for. Raises EnvelopeInvalid."""
    fields = Fields(document)
    key_id = fields.text("keyId", most=256)
    if fields.faults:
        raise EnvelopeInvalid("; ".join(fields.faults))
    return key_id


def open_envelope(document: object, key: CloudPrivateKey) -> dict[str, Any]:
    """Return the JSON object that is in an envelope; its `uuid` is the one that it is bound to.

    Raises EnvelopeInvalid: one error for everything that is wrong inside, so that nobody learns how near he is.
    """
    fields = Fields(document)
    if isinstance(key, rsa.RSAPrivateKey) and (bare := fields.maybe("encryptedPayload", most=_LARGEST)):
        return _message(_unwrapped(key, _decoded("encryptedPayload", bare)))
    texts = {
        name: fields.text(name, most=_LARGEST)
        for name in ("keyId", "uuid", "alg", "wrapped", "iv", "ciphertext")
    }
    if fields.faults:
        raise EnvelopeInvalid("; ".join(fields.faults))
    addressed = Addressed(texts["keyId"], parse_uuid(texts["uuid"]))
    wrapping, wrapped = _wrapping(texts["alg"], key), _decoded("wrapped", texts["wrapped"])
    nonce, sealed = _decoded("iv", texts["iv"]), _decoded("ciphertext", texts["ciphertext"])
    content_key = _content_key(key, wrapped, addressed)
    try:
        if len(nonce) != _NONCE_BYTES:
            raise EnvelopeInvalid
        message = _message(AESGCM(content_key).decrypt(nonce, sealed, addressed.bound(wrapping)))
    except (InvalidTag, ValueError) as exc:
        raise EnvelopeInvalid from exc
    if message.get("uuid") != addressed.uuid:
        raise EnvelopeInvalid("the envelope names another device than what is in it")
    return message


def _wrapping(alg: str, key: CloudPrivateKey) -> Wrapping:
    wanted = Wrapping.RSA_OAEP_256 if isinstance(key, rsa.RSAPrivateKey) else Wrapping.X25519
    if alg != wanted:
        raise EnvelopeInvalid(f"alg must be {wanted} with this key")
    return wanted


def _content_key(key: CloudPrivateKey, wrapped: bytes, addressed: Addressed) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        content_key = _unwrapped(key, wrapped)
        if len(content_key) != _KEY_BYTES:
            raise EnvelopeInvalid
        return content_key
    if len(wrapped) != _X25519_BYTES:
        raise EnvelopeInvalid
    theirs = x25519.X25519PublicKey.from_public_bytes(wrapped)
    return _derived(_exchanged(key, theirs), wrapped, key.public_key(), addressed)


def _unwrapped(key: rsa.RSAPrivateKey, wrapped: bytes) -> bytes:
    try:
        return key.decrypt(wrapped, _oaep())
    except ValueError as exc:
        raise EnvelopeInvalid from exc


def _exchanged(own: x25519.X25519PrivateKey, theirs: x25519.X25519PublicKey) -> bytes:
    try:
        return own.exchange(theirs)
    except ValueError as exc:  # a point of small order: everybody would know the secret
        raise EnvelopeInvalid from exc


def _derived(secret: bytes, sent: bytes, cloud: x25519.X25519PublicKey, addressed: Addressed) -> bytes:
    info = addressed.bound(Wrapping.X25519) + sent + cloud.public_bytes_raw()
    return HKDF(hashes.SHA256(), _KEY_BYTES, salt=None, info=info).derive(secret)


def _oaep() -> padding.OAEP:
    return padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), label=None)


def _message(plain: bytes) -> dict[str, Any]:
    try:
        message: object = json.loads(plain)
    except (ValueError, RecursionError) as exc:
        raise EnvelopeInvalid("what is in the envelope is not JSON") from exc
    if not isinstance(message, dict):
        raise EnvelopeInvalid("what is in the envelope is not a JSON object")
    return {str(name): value for name, value in message.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def _encoded(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _decoded(name: str, text: str) -> bytes:
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise EnvelopeInvalid(f"{name} is not base64") from exc
    if _encoded(value) != text:
        raise EnvelopeInvalid(f"{name} is not base64 as it is usually written")
    return value
