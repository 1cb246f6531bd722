"""The signing side of the authority: pure cryptography, no files and no clock of its own.

Names are ours alone: nothing of a signing request but its public key enters a certificate. A device is
named by its MAC, in three forms: CN and DNS name as 12 hex digits (what the broker takes as user name),
and the URN of RFC 9039, where a MAC is written as an EUI-64 with `fffe` in its middle.
"""

import ipaddress
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from iotistic.contracts.mac import Mac
from iotistic.pki.model import AuthorityUnusable, Certificate

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

CLOCK_SKEW = timedelta(minutes=5)
CRL_LIFE = timedelta(days=7)

_NO_USAGE = {
    "digital_signature": False,
    "content_commitment": False,
    "key_encipherment": False,
    "data_encipherment": False,
    "key_agreement": False,
    "key_cert_sign": False,
    "crl_sign": False,
    "encipher_only": False,
    "decipher_only": False,
}


@dataclass(frozen=True)
class Profile:
    """What a certificate says about its holder."""

    common_name: str
    names: Sequence[x509.GeneralName]
    usage: x509.ObjectIdentifier


def device_profile(mac: Mac) -> Profile:
    """Return the profile of the device with `mac`: it may be a TLS client and nothing else."""
    urn = f"urn:dev:mac:{mac[:6]}fffe{mac[6:]}"
    names = [x509.DNSName(mac), x509.UniformResourceIdentifier(urn)]
    return Profile(mac, names, ExtendedKeyUsageOID.CLIENT_AUTH)


def server_profile(common_name: str, hosts: Sequence[str]) -> Profile:
    """Return the profile of a TLS server reached under `hosts` (names and addresses)."""
    return Profile(common_name, [_general_name(host) for host in hosts], ExtendedKeyUsageOID.SERVER_AUTH)


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def serial_of(certificate: x509.Certificate) -> str:
    """Return the serial number as the database and the API write it: 32 hex digits or more."""
    return f"{certificate.serial_number:032x}"


def _random_serial() -> int:
    return secrets.randbits(127) | 1 << 127


class CertificateAuthority:
    """A CA key with its certificate."""

    def __init__(self, key: PrivateKey, certificate: x509.Certificate) -> None:
        """Raise AuthorityUnusable when the two do not belong together or may not sign."""
        if _public_bytes(key.public_key()) != _public_bytes(certificate.public_key()):
            raise AuthorityUnusable("the CA certificate does not belong to the CA key")
        try:
            constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        except x509.ExtensionNotFound:
            constraints = None
        if constraints is None or not constraints.ca:
            raise AuthorityUnusable("the CA certificate is not that of a certificate authority")
        self._key = key
        self.certificate = certificate

    @classmethod
    def create(cls, key: ec.EllipticCurvePrivateKey, *, common_name: str, days: int, now: datetime) -> Self:
        """Return an authority whose certificate is signed by its own `key`."""
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        builder = (
            x509.CertificateBuilder(subject_name=subject, issuer_name=subject)
            .public_key(key.public_key())
            .serial_number(_random_serial())
            .not_valid_before(now - CLOCK_SKEW)
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(
                x509.KeyUsage(**(_NO_USAGE | {"key_cert_sign": True, "crl_sign": True})), critical=True
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        return cls(key, builder.sign(key, hashes.SHA256()))

    @property
    def pem(self) -> str:
        """The CA certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def issue(self, profile: Profile, public_key: PublicKey, *, days: int, now: datetime) -> x509.Certificate:
        """Return a certificate for `public_key`; it never outlives the authority.

        Raises AuthorityUnusable when the authority itself has expired.
        """
        not_after = min(now + timedelta(days=days), self.certificate.not_valid_after_utc)
        if not_after <= now:
            raise AuthorityUnusable(
                "the CA certificate has expired", hint="set up a new certificate authority"
            )
        usage = x509.KeyUsage(
            **(
                _NO_USAGE
                | {"digital_signature": True, "key_encipherment": isinstance(public_key, rsa.RSAPublicKey)}
            )
        )
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, profile.common_name)])
        builder = (
            x509.CertificateBuilder(subject_name=subject, issuer_name=self.certificate.subject)
            .public_key(public_key)
            .serial_number(_random_serial())
            .not_valid_before(now - CLOCK_SKEW)
            .not_valid_after(not_after)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.ExtendedKeyUsage([profile.usage]), critical=False)
            .add_extension(x509.SubjectAlternativeName(profile.names), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(self._key_identifier(), critical=False)
        )
        return builder.sign(self._key, self._hash())

    def sign_crl(self, revoked: Sequence[Certificate], *, number: int, now: datetime) -> bytes:
        """Return the revocation list (PEM) of `revoked`, good for seven days."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(now - CLOCK_SKEW)
            .next_update(now + CRL_LIFE)
            .add_extension(x509.CRLNumber(number), critical=False)
            .add_extension(self._key_identifier(), critical=False)
        )
        entries = [_crl_entry(certificate) for certificate in revoked]
        for entry in entries:
            builder = builder.add_revoked_certificate(entry)
        return builder.sign(self._key, self._hash()).public_bytes(serialization.Encoding.PEM)

    def sign(self, content: bytes) -> bytes:
        """Return a signature of what is no certificate; the first bytes are to say what it is.

        ECDSA and RSA (PKCS 1) with SHA-256, or Ed25519. A certificate's content begins with 0x30, so text
        that begins with a letter cannot be taken for one.
        """
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            return self._key.sign(content)
        if isinstance(self._key, ec.EllipticCurvePrivateKey):
            return self._key.sign(content, ec.ECDSA(hashes.SHA256()))
        return self._key.sign(content, padding.PKCS1v15(), hashes.SHA256())

    def has_signed(self, certificate: x509.Certificate) -> bool:
        """Whether `certificate` was issued by this authority."""
        try:
            certificate.verify_directly_issued_by(self.certificate)
        except (ValueError, TypeError, InvalidSignature):
            return False
        return True

    def _key_identifier(self) -> x509.AuthorityKeyIdentifier:
        try:
            own = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        except x509.ExtensionNotFound:
            return x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)

    def _hash(self) -> hashes.SHA256 | None:
        return None if isinstance(self._key, ed25519.Ed25519PrivateKey) else hashes.SHA256()


def _crl_entry(certificate: Certificate) -> x509.RevokedCertificate:
    builder = (
        x509.RevokedCertificateBuilder()
        .serial_number(int(certificate.serial, 16))
        .revocation_date(certificate.revoked_at or certificate.issued_at)
    )
    # RFC 5280, 5.3.1: an unspecified reason is said by leaving it out.
    if certificate.revoked_reason and certificate.revoked_reason.flag is not x509.ReasonFlags.unspecified:
        builder = builder.add_extension(x509.CRLReason(certificate.revoked_reason.flag), critical=False)
    return builder.build()


def _public_bytes(key: object) -> bytes:
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey):
        raise AuthorityUnusable("the CA certificate has a key of an unsupported type")
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
