"""Certificates of devices: CN is the uuid, which is what a broker takes as user name.

Who signs is a port: `AuthorityCertifier` signs with our own authority. The same key within an hour gets the same
certificate again, so that a device that loses answers fills no table.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from iotistic.contracts.provisioning.certificates import NextCertificate
from iotistic.contracts.provisioning.keys import PublicKey, write_public
from iotistic.control.devices.repository import Database
from iotistic.control.devices.service import utc_now
from iotistic.pki.agents import certify_agent
from iotistic.pki.ca import CertificateAuthority

_AGAIN = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Signed:
    """A certificate as it was signed."""

    serial: str
    pem: str
    not_after: datetime


class Certifier(Protocol):
    """Signs certificates for devices."""

    @property
    def ca_pem(self) -> str:
        """The authority's own certificate, which devices check brokers against."""
        ...

    async def sign(self, uuid: str, key: PublicKey, now: datetime) -> Signed:
        """Return a certificate whose CN is the uuid; the caller holds locks, so it has to be quick."""
        ...


class AuthorityCertifier:
    """Our own authority."""

    def __init__(self, authority: CertificateAuthority, *, days: int) -> None:
        self._authority, self._days = authority, days

    @property
    def ca_pem(self) -> str:
        """The authority's certificate."""
        return self._authority.pem

    async def sign(self, uuid: str, key: PublicKey, now: datetime) -> Signed:
        """Return a certificate; it may be a TLS client and nothing else. Raises AuthorityUnusable."""
        made = certify_agent(self._authority, uuid, key, days=self._days, now=now)
        return Signed(made.serial, made.pem, made.not_after)


class DeviceCertificates:
    """Signs and remembers; every method works in the caller's transaction."""

    def __init__(self, certifier: Certifier, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._certifier, self._clock = certifier, clock

    @property
    def ca_pem(self) -> str:
        """The authority's certificate."""
        return self._certifier.ca_pem

    async def certify(self, db: Database, uuid: str, key: PublicKey) -> NextCertificate:
        """Return a certificate for this key of a device."""
        now, public_key = self._clock(), write_public(key)
        pem = await db.fetchval(
            "SELECT pem FROM device_certificates WHERE device_uuid = $1::text::uuid AND public_key = $2 "
            "AND revoked_at IS NULL AND issued_at > $3 AND not_after > $4 ORDER BY issued_at DESC LIMIT 1",
            uuid,
            public_key,
            now - _AGAIN,
            now,
        )
        if pem is None:
            signed = await self._certifier.sign(uuid, key, now)
            pem = signed.pem
            await db.execute(
                "INSERT INTO device_certificates (serial, device_uuid, public_key, pem, issued_at, not_after) "
                "VALUES ($1, $2::text::uuid, $3, $4, $5, $6)",
                signed.serial,
                uuid,
                public_key,
                pem,
                now,
                signed.not_after,
            )
        return NextCertificate(pem, self._certifier.ca_pem)

    async def revoke_all(self, db: Database, uuid: str) -> None:
        """Revoke what a device had before: it is taken into the fleet anew."""
        await db.execute(
            "UPDATE device_certificates SET revoked_at = $2 WHERE device_uuid = $1::text::uuid "
            "AND revoked_at IS NULL",
            uuid,
            self._clock(),
        )
