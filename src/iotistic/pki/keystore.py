"""The authority on disk: made once, its key encrypted under a passphrase that is kept apart.

`home.pki` holds `ca.key` (PKCS8, encrypted) and `ca.crt`; `home.secrets` holds `ca-passphrase`. With
CA_KEY and CA_CERT an existing authority is used instead, and only its certificate is copied.
"""

import contextlib
import fcntl
import os
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from iotistic.kernel.files import PRIVATE, PUBLIC, secret_file, write_atomic
from iotistic.kernel.home import Home
from iotistic.pki.ca import CertificateAuthority, PrivateKey
from iotistic.pki.model import AuthorityUnusable
from iotistic.pki.settings import AuthoritySettings


@contextlib.contextmanager
def keystore_lock(home: Home) -> Generator[None]:
    """Hold the folder, so that two processes that start at once make one authority."""
    descriptor = os.open(home.pki / ".lock", os.O_CREAT | os.O_RDWR, PRIVATE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def open_authority(home: Home, settings: AuthoritySettings) -> CertificateAuthority:
    """Return the authority of this installation, making it on the first run.

    Raises AuthorityUnusable, naming the file, when a key cannot be read, decrypted or used.
    """
    if settings.ca_key or settings.ca_cert:
        return _imported(home, settings)
    with keystore_lock(home):
        key_file = home.pki / "ca.key"
        if not key_file.exists() or not home.ca_certificate.exists():
            _make(home, settings, key_file)
        passphrase = _read(home.secrets / "ca-passphrase").strip()
        return _load(key_file, home.ca_certificate, passphrase)


def _make(home: Home, settings: AuthoritySettings, key_file: Path) -> None:
    """Make what is missing. A key without certificate is a first run that was cut short, and is kept."""
    if home.ca_certificate.exists():
        raise AuthorityUnusable(
            f"{home.ca_certificate} stands without {key_file.name}",
            hint="bring the key back; a new authority would lock every device out",
        )
    passphrase = secret_file(home.secrets / "ca-passphrase").encode()
    if not key_file.exists():
        fresh = ec.generate_private_key(ec.SECP256R1())
        write_atomic(key_file, _encrypted(fresh, passphrase), mode=PRIVATE)
    key = _load_key(key_file, passphrase)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise AuthorityUnusable(f"the CA key in {key_file} is not an EC key")
    authority = CertificateAuthority.create(
        key, common_name=settings.ca_cn, days=settings.ca_expiry, now=datetime.now(UTC)
    )
    write_atomic(home.ca_certificate, authority.pem, mode=PUBLIC)


def _encrypted(key: PrivateKey, passphrase: bytes) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(passphrase),
    )


def _imported(home: Home, settings: AuthoritySettings) -> CertificateAuthority:
    if not (settings.ca_key and settings.ca_cert):
        raise AuthorityUnusable("CA_KEY and CA_CERT belong together", hint="set both, or neither")
    passphrase = settings.ca_passphrase.get_secret_value().encode() if settings.ca_passphrase else None
    authority = _load(settings.ca_key, settings.ca_cert, passphrase)
    write_atomic(home.ca_certificate, authority.pem, mode=PUBLIC)
    return authority


def _load(key_file: Path, certificate_file: Path, passphrase: bytes | None) -> CertificateAuthority:
    key = _load_key(key_file, passphrase)
    try:
        certificate = x509.load_pem_x509_certificate(_read(certificate_file))
    except ValueError as exc:
        raise AuthorityUnusable(f"{certificate_file} holds no PEM certificate") from exc
    return CertificateAuthority(key, certificate)


def _load_key(key_file: Path, passphrase: bytes | None) -> PrivateKey:
    try:
        key = serialization.load_pem_private_key(_read(key_file), passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        raise AuthorityUnusable(
            f"the CA key in {key_file} cannot be read: wrong passphrase, or not a PEM key",
            hint="check the passphrase file (secrets/ca-passphrase, or CA_PASSPHRASE_FILE)",
        ) from exc
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey):
        raise AuthorityUnusable(f"the CA key in {key_file} is of an unsupported type")
    return key


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise AuthorityUnusable(f"{path} cannot be read: {exc.strerror}") from exc
