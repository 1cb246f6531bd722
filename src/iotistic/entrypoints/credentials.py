"""A device's credentials in a folder: `client.key`, `client.crt`, `ca.crt`, all mode 600.

The key is on disk before a certificate is asked for, and asking again with the same key gives the same
certificate: so a command that was cut off is simply run again.
"""

from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from iotistic.contracts.mac import Mac, parse_mac
from iotistic.kernel.errors import Invalid
from iotistic.kernel.files import write_atomic
from iotistic.pki.csr import key_pem, make_csr, make_key


class CredentialsUnusable(Invalid):
    """The folder's key or certificate cannot be used."""

    code = "cert.credentials_unusable"


@dataclass(frozen=True)
class DeviceFolder:
    """The folder of one device."""

    path: Path

    @property
    def key(self) -> Path:
        """The private key in use."""
        return self.path / "client.key"

    @property
    def certificate(self) -> Path:
        """The certificate in use."""
        return self.path / "client.crt"

    @property
    def ca(self) -> Path:
        """The authority's certificate."""
        return self.path / "ca.crt"

    @property
    def _next_key(self) -> Path:
        return self.path / "client.key.next"

    def prepare(self, mac: Mac) -> str:
        """Return a signing request for a key of this folder, which is made when there is none waiting.

        A key that has a certificate already is left alone until the new certificate is there.
        """
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self._next_key.exists():
            write_atomic(self._next_key, key_pem(make_key()))
        return make_csr(self._read_key(self._next_key), mac)

    def prepare_renewal(self) -> str:
        """Return a signing request for the next key of the device that the certificate names."""
        self._finish()
        names = self._read_certificate().subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        return self.prepare(parse_mac(str(names[0].value) if names else ""))

    def accept(self, certificate: str, ca: str) -> None:
        """Put a new certificate and its key in use."""
        write_atomic(self.ca, ca)
        write_atomic(self.certificate, certificate)
        self._finish()

    def _finish(self) -> None:
        """Bring the next key into use when the certificate is for it: the step that a crash may leave out."""
        if not (self._next_key.exists() and self.certificate.exists()):
            return
        if self._read_certificate().public_key() == self._read_key(self._next_key).public_key():
            self._next_key.replace(self.key)

    def _read_certificate(self) -> x509.Certificate:
        try:
            return x509.load_pem_x509_certificate(self.certificate.read_bytes())
        except (OSError, ValueError) as exc:
            raise CredentialsUnusable(f"{self.certificate} holds no certificate") from exc

    def _read_key(self, path: Path) -> ec.EllipticCurvePrivateKey:
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), None)
        except (OSError, ValueError, TypeError) as exc:
            raise CredentialsUnusable(f"{path} holds no key that can be read", hint="remove it") from exc
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise CredentialsUnusable(f"{path} holds no EC key", hint="remove it")
        return key
