"""Whose signature a device believes on a forecaster: that of the CA that it trusts anyway.

Apart from the wish itself, because loading X.509 takes memory that a device without forecasts is spared.
"""

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from iotistic.kernel.errors import Invalid

VerifyKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey


class TrustInvalid(Invalid):
    """The certificate of the installation's CA cannot be used to check a signature."""

    code = "forecast.trust_invalid"


def verify_key(ca_pem: str) -> VerifyKey:
    """Return the key of the (first) CA certificate that a device trusts. Raises TrustInvalid."""
    try:
        key = x509.load_pem_x509_certificate(ca_pem.encode()).public_key()
    except ValueError as exc:
        raise TrustInvalid("this is no certificate (PEM)") from exc
    if not isinstance(key, VerifyKey):
        raise TrustInvalid("the CA's key is of a type that is not supported")
    return key
