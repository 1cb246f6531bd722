"""A certificate authority that lives as long as one benchmark."""

import datetime as dt
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

_LASTS = dt.timedelta(days=2)


class BenchAuthority:
    """EC P-256 throughout, as the product's own authority."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("Benchmark CA")
        self.certificate = folder / "ca.crt"
        self.crl = folder / "revoked.crl"
        own = self._sign("Benchmark CA", self._key.public_key(), is_authority=True)
        self.certificate.write_bytes(own.public_bytes(Encoding.PEM))
        now = dt.datetime.now(dt.UTC)
        empty = x509.CertificateRevocationListBuilder(self._name, now - _LASTS, now + _LASTS)
        self.crl.write_bytes(empty.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))

    def issue(self, common_name: str) -> Path:
        """Return a PEM file with the certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(common_name, key.public_key(), is_authority=False)
        path = self._folder / f"{common_name}.pem"
        path.write_bytes(
            certificate.public_bytes(Encoding.PEM)
            + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        return path

    def _sign(
        self, common_name: str, key: ec.EllipticCurvePublicKey, *, is_authority: bool
    ) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        builder = x509.CertificateBuilder(
            subject_name=_name(common_name),
            issuer_name=self._name,
            public_key=key,
            serial_number=x509.random_serial_number(),
            not_valid_before=now - _LASTS,
            not_valid_after=now + _LASTS,
        )
        constraints = x509.BasicConstraints(ca=is_authority, path_length=None)
        return builder.add_extension(constraints, critical=True).sign(self._key, hashes.SHA256())


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
