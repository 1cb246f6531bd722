"""Issue, renew and revoke certificates of devices.

Safe and usable, where the two pull apart:
- A private key made here is answered once and never kept, so it cannot be handed out again.
- A MAC with a valid certificate is taken. Replacing it revokes the old one and is the operator's right;
  an enrolment token may replace what it issued itself within 15 minutes, for a device whose answer got
  lost. Otherwise a leaked token could take the place of every device.
- Asking again with the same key (CSR) gives the same certificate again: nothing secret is in it.
- A renewal leaves the certificate that asked for it valid, because the answer may be lost; older ones of
  the device are revoked. So at most two are valid.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import asyncpg
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from iotistic.contracts.mac import Mac, format_mac
from iotistic.kernel.postgres.pool import database_errors
from iotistic.kernel.web.auth import Principal
from iotistic.pki import repository, tokens
from iotistic.pki.agents import AgentCertificate, certify_agent
from iotistic.pki.ca import CertificateAuthority, PublicKey, device_profile, serial_of
from iotistic.pki.csr import KeyType, check_csr, key_pem, make_key, same_key
from iotistic.pki.identities import ensure_broker_certificate, ensure_server_certificate
from iotistic.pki.model import (
    Certificate,
    CertificateKind,
    CertificateRefused,
    CertificateUnknown,
    IssuedKey,
    Reason,
)
from iotistic.pki.policy import renewal_of, require_interval, require_replacement
from iotistic.pki.repository import CertificateFilter, Database
from iotistic.pki.revocation import RevocationList

__all__ = ["CertificateService", "Revoked", "ensure_broker_certificate", "ensure_server_certificate"]

log = structlog.get_logger()

_KEYS_AT_ONCE = 2


@dataclass(frozen=True)
class Revoked:
    """What a revocation did; `broker_enforced` is False while the broker has not answered yet."""

    certificates: list[Certificate]
    broker_enforced: bool


def utc_now() -> datetime:
    """Return the present time."""
    return datetime.now(UTC)


class CertificateService:
    """The use cases around device certificates."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        authority: CertificateAuthority,
        revocations: RevocationList,
        *,
        device_days: int,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """`device_days` is the life of a device's certificate."""
        self._pool = pool
        self._authority = authority
        self._revocations = revocations
        self._device_days = device_days
        self._clock = clock
        self._key_making = asyncio.Semaphore(_KEYS_AT_ONCE)

    @property
    def ca_pem(self) -> str:
        """The authority's certificate."""
        return self._authority.pem

    async def issue(self, mac: Mac, *, caller: Principal, replace: bool, key_type: KeyType) -> IssuedKey:
        """Make a key and its certificate for the device; the key is in the answer and nowhere else.

        Raises CertificateExists, ReplacementDenied, TokenUsedUp.
        """
        async with self._key_making:
            key = await asyncio.to_thread(make_key, key_type)
        certificate = await self._enrol(mac, key.public_key(), caller=caller, replace=replace)
        return IssuedKey(certificate=certificate, private_key=key_pem(key))

    async def certify(self, mac: Mac, csr: str, *, caller: Principal, replace: bool) -> Certificate:
        """Certify the key of a signing request for the device; the same key gets the same certificate.

        Raises CsrInvalid, KeyTooWeak, CertificateExists, ReplacementDenied, TokenUsedUp.
        """
        return await self._enrol(mac, check_csr(csr), caller=caller, replace=replace)

    async def _enrol(self, mac: Mac, key: PublicKey, *, caller: Principal, replace: bool) -> Certificate:
        now = self._clock()
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                await repository.lock_mac(db, mac)
                standing = await repository.valid_of(db, mac, now)
                if same := next((one for one in standing if same_key(one.pem, key)), None):
                    return same
                if standing:
                    require_replacement(standing, caller, replace=replace, now=now)
                await tokens.take_use(db, caller.name)
                await repository.revoke(
                    db, [one.serial for one in standing], reason=Reason.SUPERSEDED, now=now
                )
                certificate = await self._sign(db, mac, key, issued_by=caller.name, now=now)
        log.info("certificate.issued", serial=certificate.serial, mac=mac, issued_by=caller.name)
        if standing:
            await self._revocations.publish([mac])
        return certificate

    def certify_agent(self, uuid: str, key: PublicKey) -> AgentCertificate:
        """Certify an agent's key for its uuid; the control plane has judged who asks, and keeps the record."""
        made = certify_agent(self._authority, uuid, key, days=self._device_days, now=self._clock())
        log.info("certificate.issued_to_agent", serial=made.serial, device_uuid=uuid)
        return made

    async def renew(self, presented: Certificate, csr: str) -> Certificate:
        """Certify a new key for the device that showed its valid certificate.

        Raises CsrInvalid, KeyTooWeak, CertificateRefused, RenewedTooSoon.
        """
        key, now = check_csr(csr), self._clock()
        if presented.mac is None:
            raise CertificateRefused("this is not the certificate of a device")
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                await repository.lock_mac(db, presented.mac)
                standing = await repository.valid_of(db, presented.mac, now)
                # Looked up again under the lock: it may have been revoked since the request came in.
                if presented.serial not in {one.serial for one in standing}:
                    raise CertificateRefused("this certificate was revoked or has expired")
                if same := next((one for one in standing if same_key(one.pem, key)), None):
                    return same
                require_interval(standing, now)
                older = [one.serial for one in standing if one.serial != presented.serial]
                await repository.revoke(db, older, reason=Reason.SUPERSEDED, now=now)
                issued_by = renewal_of(presented.serial)
                certificate = await self._sign(db, presented.mac, key, issued_by=issued_by, now=now)
        log.info("certificate.renewed", serial=certificate.serial, mac=presented.mac, of=presented.serial)
        if older:
            await self._revocations.publish()
        return certificate

    async def _sign(
        self, db: Database, mac: Mac, key: PublicKey, *, issued_by: str, now: datetime
    ) -> Certificate:
        signed = self._authority.issue(device_profile(mac), key, days=self._device_days, now=now)
        certificate = record_of(signed, CertificateKind.DEVICE, mac=mac, issued_by=issued_by, now=now)
        await repository.add(db, certificate)
        return certificate

    async def presented(self, der: bytes | None) -> Certificate:
        """Return the device certificate of a TLS client. Raises CertificateRefused."""
        if der is None:
            raise CertificateRefused(
                "a client certificate is needed", hint="connect with the old certificate"
            )
        serial = serial_of(x509.load_der_x509_certificate(der))
        with database_errors():
            certificate = await repository.find(self._pool, serial)
        if certificate is None or certificate.kind is not CertificateKind.DEVICE:
            raise CertificateRefused("this certificate was not issued to a device by this authority")
        if not certificate.is_valid(self._clock()):
            raise CertificateRefused("this certificate was revoked or has expired", serial=serial)
        return certificate

    async def revoke(self, *, mac: Mac | None, serial: str | None, reason: Reason) -> Revoked:
        """Revoke one certificate, or all valid ones of a device, and put the device off.

        Asking again for what is revoked already publishes again. Raises CertificateUnknown.
        """
        now = self._clock()
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                chosen = await self._chosen(db, mac, serial, now)
                serials = [one.serial for one in chosen]
                await repository.revoke(db, serials, reason=reason, now=now)
                found = [await repository.find(db, one) for one in serials]
        certificates = [one for one in found if one is not None]
        for one in certificates:
            log.info("certificate.revoked", serial=one.serial, mac=one.mac, reason=one.revoked_reason)
        return Revoked(certificates, await self._revocations.publish(_macs(certificates)))

    async def _chosen(
        self, db: Database, mac: Mac | None, serial: str | None, now: datetime
    ) -> list[Certificate]:
        if serial is not None:
            found = await repository.find(db, serial)
            # The authority itself and our servers are replaced by other means than this.
            if found is None or found.kind is not CertificateKind.DEVICE or mac not in {None, found.mac}:
                raise CertificateUnknown(serial=serial)
            return [found]
        if mac is None:
            raise CertificateUnknown
        await repository.lock_mac(db, mac)
        if not (valid := await repository.valid_of(db, mac, now)):
            raise CertificateUnknown(mac=format_mac(mac), hint="see the list of certificates")
        return valid

    async def page(
        self, chosen: CertificateFilter, *, after: tuple[datetime, str] | None, limit: int
    ) -> list[Certificate]:
        """Return certificates in the order of their expiry."""
        with database_errors():
            return await repository.page(self._pool, chosen, after=after, limit=limit)

    async def locked_out(self) -> list[str]:
        """Return the devices of which every unexpired certificate is revoked: none may be connected."""
        with database_errors():
            return await repository.without_valid_certificate(self._pool, self._clock())

    async def record(self, pem: bytes, kind: CertificateKind) -> None:
        """List a certificate that was issued outside the database: the authority's and our servers'."""
        certificate = x509.load_pem_x509_certificate(pem)
        row = record_of(certificate, kind, mac=None, issued_by="service", now=self._clock())
        with database_errors():
            await repository.add(self._pool, row)


def record_of(
    certificate: x509.Certificate, kind: CertificateKind, *, mac: Mac | None, issued_by: str, now: datetime
) -> Certificate:
    """Return what is kept of a certificate."""
    return Certificate(
        serial=serial_of(certificate),
        kind=kind,
        mac=mac,
        pem=certificate.public_bytes(serialization.Encoding.PEM).decode(),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        issued_at=now,
        issued_by=issued_by,
    )


def _macs(certificates: Iterable[Certificate]) -> list[str]:
    return sorted({one.mac for one in certificates if one.mac})
