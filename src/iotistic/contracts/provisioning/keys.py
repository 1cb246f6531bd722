"""Key pairs of devices: what is accepted, signing requests, and the proof that a key is in a device's hands.

A proof is a signature of `uuid:challenge`: Ed25519, or ECDSA on P-256 with SHA-256 (DER), in base64. A
challenge is 32 random bytes, good for one use; both are in `challenges`.
"""

import base64
import binascii
import secrets

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

from iotistic.contracts.provisioning.challenges import Challenge, Proof
from iotistic.contracts.provisioning.fields import ProvisioningInvalid

CHALLENGE_LIVES_S = 300.0

PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

_LARGEST = 16 * 1024
_CHALLENGE_BYTES = 32


class KeyInvalid(ProvisioningInvalid):
    """This is no key that is accepted: Ed25519 or P-256."""

    code = "provisioning.key_invalid"


class ProofInvalid(ProvisioningInvalid):
    """The signature does not prove that the device has the key."""

    code = "provisioning.proof_invalid"


def make_key() -> str:
    """Return a new private key (P-256) as PEM, not encrypted: for the disk of the device itself."""
    return write_key(ec.generate_private_key(ec.SECP256R1()))


def write_key(key: PrivateKey) -> str:
    """Return a private key as PEM (PKCS8), not encrypted."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def read_key(pem: str) -> PrivateKey:
    """Return a private key. Raises KeyInvalid."""
    try:
        key = serialization.load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        raise KeyInvalid("this is not a private key in PEM") from exc
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise KeyInvalid


def write_public(key: PublicKey) -> str:
    """Return a public key as PEM."""
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()


def read_public(pem: str) -> PublicKey:
    """Return a public key. Raises KeyInvalid."""
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        raise KeyInvalid("this is not a public key in PEM") from exc
    return _accepted(key)


def make_csr(private_key: str, uuid: str) -> str:
    """Return a signing request (PEM) whose common name is the uuid. Raises KeyInvalid."""
    key = read_key(private_key)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, uuid)])
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    request = x509.CertificateSigningRequestBuilder(subject).sign(key, algorithm)
    return request.public_bytes(serialization.Encoding.PEM).decode()


def read_csr(pem: str) -> PublicKey:
    """Return the key that a certificate is asked for; its names are not looked at. Raises KeyInvalid."""
    if len(pem) > _LARGEST:
        raise KeyInvalid("the signing request is too large")
    try:
        request = x509.load_pem_x509_csr(pem.encode())
        is_signed, key = request.is_signature_valid, request.public_key()
    except (ValueError, TypeError, x509.InvalidVersion, UnsupportedAlgorithm, InvalidSignature) as exc:
        raise KeyInvalid("this is not a certificate signing request in PEM") from exc
    if not is_signed:
        raise KeyInvalid("the signing request is not signed by the key that it carries")
    return _accepted(key)


def is_for(certificate: str, private_key: str) -> bool:
    """Say whether a certificate (PEM, or a chain of them) is for this key. Raises KeyInvalid."""
    key = read_key(private_key).public_key()
    try:
        return x509.load_pem_x509_certificate(certificate.encode()).public_key() == key
    except (ValueError, TypeError, x509.InvalidVersion, UnsupportedAlgorithm) as exc:
        raise KeyInvalid("this is not a certificate in PEM") from exc


def make_challenge(now: float) -> Challenge:
    """Return a challenge that nobody could foresee."""
    text = base64.urlsafe_b64encode(secrets.token_bytes(_CHALLENGE_BYTES)).rstrip(b"=").decode()
    return Challenge(text, now + CHALLENGE_LIVES_S)


def prove(private_key: str, uuid: str, challenge: str) -> Proof:
    """Return a challenge with its signature. Raises KeyInvalid."""
    key, message = read_key(private_key), _message(uuid, challenge)
    if isinstance(key, ed25519.Ed25519PrivateKey):
        signature = key.sign(message)
    else:
        signature = key.sign(message, ec.ECDSA(hashes.SHA256()))
    return Proof(challenge, base64.b64encode(signature).decode())


def check_proof(key: PublicKey, uuid: str, proof: Proof) -> None:
    """Return when the proof is good; whether the challenge is live is for the caller to know. Raises ProofInvalid."""
    try:
        signature = base64.b64decode(proof.signature, validate=True)
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, _message(uuid, proof.challenge))
        else:
            key.verify(signature, _message(uuid, proof.challenge), ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, binascii.Error, ValueError) as exc:
        raise ProofInvalid from exc


def _message(uuid: str, challenge: str) -> bytes:
    return f"{uuid}:{challenge}".encode()


def _accepted(key: object) -> PublicKey:
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise KeyInvalid
