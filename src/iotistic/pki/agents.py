"""Certificates of agents: CN is the uuid, which is what a broker takes as user name.

Who may have one, and which are revoked, the control plane keeps; here a key is certified for a name, no more.
"""

from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from iotistic.kernel.errors import Invalid
from iotistic.pki.ca import CertificateAuthority, Profile, PublicKey, serial_of


class AgentKeyInvalid(Invalid):
    """This is no public key that can be certified: EC, Ed25519 or RSA, in PEM."""

    code = "pki.agent_key_invalid"


@dataclass(frozen=True, slots=True)
class AgentCertificate:
    """A certificate as it was signed."""

    serial: str
    pem: str
    not_after: datetime


def certify_agent(
    authority: CertificateAuthority, uuid: str, key: PublicKey, *, days: int, now: datetime
) -> AgentCertificate:
    """Return a certificate whose CN is the uuid; it may be a TLS client and nothing else."""
    names = [x509.DNSName(uuid), x509.UniformResourceIdentifier(f"urn:uuid:{uuid}")]
    profile = Profile(uuid, names, ExtendedKeyUsageOID.CLIENT_AUTH)
    certificate = authority.issue(profile, key, days=days, now=now)
    pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
    return AgentCertificate(serial_of(certificate), pem, certificate.not_valid_after_utc)


def read_agent_key(pem: str) -> PublicKey:
    """Return a public key in PEM. Raises AgentKeyInvalid."""
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise AgentKeyInvalid from exc
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey):
        raise AgentKeyInvalid
    return key
