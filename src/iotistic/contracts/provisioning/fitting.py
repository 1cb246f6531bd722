"""Looks into certificates: until when they are good, and whether one fits a device."""

from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID, NameOID

from iotistic.contracts.provisioning.certificates import CertificateUnfit, Term
from iotistic.contracts.provisioning.keys import is_for

_UNREADABLE = (ValueError, TypeError, x509.InvalidVersion, UnsupportedAlgorithm)


def read_term(certificate: str) -> Term:
    """Return the life of a certificate (PEM, or a chain of them). Raises CertificateUnfit."""
    found = _read(certificate)
    return Term(found.not_valid_before_utc.timestamp(), found.not_valid_after_utc.timestamp())


def check_fits(certificate: str, private_key: str, uuid: str, now: float) -> Term:
    """Return the life of a certificate that is for this key and device, and not over. Raises ProvisioningInvalid."""
    if not is_for(certificate, private_key):
        raise CertificateUnfit("the certificate is for another key than the device's")
    if not _names(_read(certificate)) & {uuid, f"device_{uuid}"}:
        raise CertificateUnfit("the certificate is for another device")
    term = read_term(certificate)
    if term.ends_at <= now:
        raise CertificateUnfit("the certificate has ended already, or the device's clock is ahead")
    return term


def join_authorities(new: str, known: str, now: float) -> str:
    """Return the certificates (PEM) that are believed from now on; of those before, none that has ended.

    Raises CertificateUnfit when the new ones cannot be read.
    """
    try:
        joined = x509.load_pem_x509_certificates(new.encode())
    except _UNREADABLE as exc:
        raise CertificateUnfit("caCert holds no certificates in PEM") from exc
    try:
        before = x509.load_pem_x509_certificates(known.encode())
    except _UNREADABLE:
        before = []
    joined += [one for one in before if one not in joined and one.not_valid_after_utc.timestamp() > now]
    return "".join(one.public_bytes(Encoding.PEM).decode() for one in joined)


def _read(certificate: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(certificate.encode())
    except _UNREADABLE as exc:
        raise CertificateUnfit("this is not a certificate in PEM") from exc


def _names(certificate: x509.Certificate) -> set[str]:
    """Return whom it is for, in small letters."""
    names: set[Any] = {one.value for one in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)}
    try:
        other = certificate.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
    except (x509.ExtensionNotFound, ValueError):
        other = None
    if isinstance(other, x509.SubjectAlternativeName):
        names.update(other.get_values_for_type(x509.DNSName))
    return {str(name).lower() for name in names}
