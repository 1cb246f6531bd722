"""Certificates of our own servers, kept as files and renewed before they run out.

The parent process calls `ensure_broker_certificate` before it starts the broker; the pki process calls
both. Nothing here needs the database, so that the broker can start without it.
"""

import contextlib
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from iotistic.kernel.files import PRIVATE, PUBLIC, write_atomic
from iotistic.kernel.home import Home
from iotistic.pki.ca import CertificateAuthority, Profile, server_profile
from iotistic.pki.csr import key_pem, make_key
from iotistic.pki.keystore import keystore_lock, open_authority
from iotistic.pki.settings import AuthoritySettings

RENEW_BEFORE = timedelta(days=30)
_LONGEST_DNS_NAME = 253
_ANY_ADDRESS = {"0.0.0.0", "::"}
# Documentation addresses (RFC 5737, RFC 3849): looking up the way to them sends nothing.
_FAR_AWAY = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))


def crl_path(home: Home) -> Path:
    """Return the file of the revocation list (PEM); the pki process writes it before it is ready."""
    return home.pki / "crl.pem"


@dataclass(frozen=True)
class ServerIdentity:
    """Files (PEM) of a TLS server of ours; `renewed` says whether they were written just now."""

    certificate: Path
    key: Path
    ca_certificate: Path
    crl: Path
    renewed: bool


def ensure_broker_certificate(
    home: Home, settings: AuthoritySettings, *, listen_addresses: Sequence[str] = ()
) -> ServerIdentity:
    """Return the broker's certificate, issuing it when it is missing, unfit, or has under 30 days left.

    `listen_addresses` are further names or addresses that devices reach the broker under. The key file
    has mode 600 and belongs to the caller. Blocks for some milliseconds.
    """
    hosts = [settings.broker_cn, settings.mqtt_broker_host or "", *listen_addresses]
    return _ensure(home, settings, name="broker", common_name=settings.broker_cn, hosts=hosts)


def ensure_server_certificate(
    home: Home, settings: AuthoritySettings, *, listen_address: str
) -> ServerIdentity:
    """Return the certificate of the authority's own HTTPS, under the same rules as the broker's."""
    return _ensure(home, settings, name="server", common_name="iotistic-pki", hosts=[listen_address])


def _ensure(
    home: Home, settings: AuthoritySettings, *, name: str, common_name: str, hosts: Sequence[str]
) -> ServerIdentity:
    authority = open_authority(home, settings)
    certificate, key = home.pki / f"{name}.crt", home.pki / f"{name}.key"
    profile = server_profile(common_name, _reachable_hosts(hosts))
    now = datetime.now(UTC)
    with keystore_lock(home):
        renew = not _fits(certificate, key, profile, authority=authority, now=now)
        if renew:
            made = make_key()
            issued = authority.issue(profile, made.public_key(), days=settings.broker_expiry, now=now)
            # Key first: a certificate whose key is another one does not fit and is made again.
            write_atomic(key, key_pem(made), mode=PRIVATE)
            write_atomic(certificate, issued.public_bytes(serialization.Encoding.PEM), mode=PUBLIC)
    return ServerIdentity(certificate, key, home.ca_certificate, crl_path(home), renew)


def _reachable_hosts(hosts: Sequence[str]) -> list[str]:
    named = ["localhost", "127.0.0.1", "::1", socket.gethostname(), *hosts]
    if not _ANY_ADDRESS.isdisjoint(hosts):
        named += own_addresses()
    return list(dict.fromkeys(host for host in named if host not in _ANY_ADDRESS and _can_be_named(host)))


def own_addresses() -> list[str]:
    """Return the addresses that this machine would use towards the network, which devices reach it under: IPv4 first."""
    found: list[str] = []
    for family, far_away in _FAR_AWAY:
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((far_away, 9))
            found.append(str(probe.getsockname()[0]))
    return found


def _can_be_named(host: str) -> bool:
    return host.isascii() and 0 < len(host) <= _LONGEST_DNS_NAME


def _fits(
    certificate_file: Path,
    key_file: Path,
    profile: Profile,
    *,
    authority: CertificateAuthority,
    now: datetime,
) -> bool:
    """Whether the files are whole, of this authority, carry every name and last long enough."""
    try:
        certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
        key = serialization.load_pem_private_key(key_file.read_bytes(), None)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return False
    # A short-lived authority cannot give more than its own life: then the end of that is the measure.
    enough = min(now + RENEW_BEFORE, authority.certificate.not_valid_after_utc)
    return (
        key.public_key() == certificate.public_key()
        and set(profile.names) <= set(names)
        and certificate.not_valid_after_utc >= enough
        and certificate.not_valid_after_utc > now
        and authority.has_signed(certificate)
    )
