"""What a signing request must be; and keys made here, for devices that cannot make their own."""

from enum import StrEnum

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

from iotistic.contracts.mac import Mac
from iotistic.pki.ca import PrivateKey, PublicKey
from iotistic.pki.model import CsrInvalid, KeyTooWeak

LARGEST_CSR = 16 * 1024
"""Characters; the largest RSA request is under 3 KiB."""

_RSA_BITS = range(2048, 4097)
_CURVES = (ec.SECP256R1, ec.SECP384R1)


class KeyType(StrEnum):
    """Keys that are made for a device on request."""

    RSA_2048 = "rsa-2048"
    EC_P256 = "ec-p256"


def check_csr(pem: str) -> PublicKey:
    """Return the public key that the request asks a certificate for; its names are not looked at.

    Raises CsrInvalid for what is not a request signed by its own key, KeyTooWeak for a key that is not
    accepted.
    """
    try:
        request = x509.load_pem_x509_csr(pem.encode())
        signed = request.is_signature_valid
        key = request.public_key()
    except (ValueError, TypeError, x509.InvalidVersion, UnsupportedAlgorithm, InvalidSignature) as exc:
        raise CsrInvalid(
            "this is not a PEM certificate signing request", hint="openssl req -new makes one"
        ) from exc
    if not signed:
        raise CsrInvalid("the request is not signed by the key that it carries")
    return _accepted(key)


def _accepted(key: object) -> PublicKey:
    if isinstance(key, rsa.RSAPublicKey) and key.key_size in _RSA_BITS and key.public_numbers().e >= 65537:  # noqa: PLR2004  the usual exponent
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _CURVES):
        return key
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    raise KeyTooWeak


def make_key(key_type: KeyType = KeyType.EC_P256) -> PrivateKey:
    """Return a new private key. RSA takes about 0.1 s of CPU: call it in a thread."""
    if key_type is KeyType.RSA_2048:
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: PrivateKey) -> str:
    """Return the private key as PKCS8 without encryption, for its owner's eyes only."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def make_csr(key: PrivateKey, mac: Mac) -> str:
    """Return a signing request (PEM) for the device with `mac`."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, mac)])
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    request = x509.CertificateSigningRequestBuilder(subject).sign(key, algorithm)
    return request.public_bytes(serialization.Encoding.PEM).decode()


def same_key(certificate_pem: str, key: PublicKey) -> bool:
    """Whether the certificate is for `key`."""
    return x509.load_pem_x509_certificate(certificate_pem.encode()).public_key() == key
