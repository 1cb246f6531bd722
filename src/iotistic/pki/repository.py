"""Rows of certificates. Every method takes the connection, so that the service decides on transactions."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from iotistic.contracts.mac import Mac
from iotistic.pki.model import Certificate, CertificateKind, Reason

_COLUMNS = (
    """serial, kind, mac, pem, not_before, not_after, issued_at, issued_by, revoked_at, revoked_reason"""
)


class Database(Protocol):
    """A connection or a pool."""

    async def fetch(self, query: str, *args: object) -> list[Any]:
        """Return all rows."""
        ...

    async def fetchrow(self, query: str, *args: object) -> Any:
        """Return the first row or None."""
        ...

    async def fetchval(self, query: str, *args: object) -> Any:
        """Return the first column of the first row."""
        ...

    async def execute(self, query: str, *args: object) -> str:
        """Run a statement."""
        ...


@dataclass(frozen=True, kw_only=True)
class CertificateFilter:
    """Which certificates to list; None means any."""

    mac: Mac | None = None
    kind: CertificateKind | None = None
    revoked: bool | None = None
    expires_after: datetime | None = None
    expires_before: datetime | None = None


async def lock_mac(db: Database, mac: Mac) -> None:
    """Make other transactions about this MAC wait until ours ends."""
    await db.execute("SELECT pg_advisory_xact_lock(hashtextextended('certificate:' || $1, 0))", mac)


async def add(db: Database, certificate: Certificate) -> None:
    """Keep a certificate; one that is kept already stays as it is."""
    await db.execute(
        "INSERT INTO certificates (serial, kind, mac, pem, not_before, not_after, issued_at, issued_by) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (serial) DO NOTHING",
        certificate.serial,
        certificate.kind,
        certificate.mac,
        certificate.pem,
        certificate.not_before,
        certificate.not_after,
        certificate.issued_at,
        certificate.issued_by,
    )


async def find(db: Database, serial: str) -> Certificate | None:
    """Return the certificate with this serial."""
    row = await db.fetchrow(f"SELECT {_COLUMNS} FROM certificates WHERE serial = $1", serial)  # noqa: S608  constant
    return _certificate(row) if row else None


async def valid_of(db: Database, mac: Mac, now: datetime) -> list[Certificate]:
    """Return the certificates of a device that are neither revoked nor expired, newest first."""
    rows = await db.fetch(
        f"SELECT {_COLUMNS} FROM certificates "  # noqa: S608  constant
        "WHERE mac = $1 AND revoked_at IS NULL AND not_after > $2 ORDER BY issued_at DESC, serial",
        mac,
        now,
    )
    return [_certificate(row) for row in rows]


async def revoke(db: Database, serials: Sequence[str], *, reason: Reason, now: datetime) -> None:
    """Mark certificates as revoked; those that are already keep their time and reason."""
    await db.execute(
        "UPDATE certificates SET revoked_at = $2, revoked_reason = $3 "
        "WHERE serial = ANY($1) AND revoked_at IS NULL",
        list(serials),
        now,
        reason,
    )


async def revoked_and_unexpired(db: Database, now: datetime) -> list[Certificate]:
    """Return what a revocation list names: an expired certificate needs no naming."""
    rows = await db.fetch(
        f"SELECT {_COLUMNS} FROM certificates WHERE revoked_at IS NOT NULL AND not_after > $1 ORDER BY serial",  # noqa: S608  constant
        now,
    )
    return [_certificate(row) for row in rows]


async def without_valid_certificate(db: Database, now: datetime) -> list[str]:
    """Return the MACs whose unexpired certificates are all revoked."""
    rows = await db.fetch(
        "SELECT mac FROM certificates WHERE mac IS NOT NULL AND not_after > $1 "
        "GROUP BY mac HAVING bool_and(revoked_at IS NOT NULL) ORDER BY mac",
        now,
    )
    return [row["mac"] for row in rows]


async def next_crl_number(db: Database) -> int:
    """Return a number higher than that of any list before."""
    return int(await db.fetchval("SELECT nextval('certificate_crl_number')"))


async def page(
    db: Database, chosen: CertificateFilter, *, after: tuple[datetime, str] | None, limit: int
) -> list[Certificate]:
    """Return up to `limit` certificates in the order of their expiry, following the key `after`."""
    after_time, after_serial = after or (None, None)
    rows = await db.fetch(
        f"SELECT {_COLUMNS} FROM certificates "  # noqa: S608  constant
        "WHERE ($1::text IS NULL OR mac = $1) AND ($2::text IS NULL OR kind = $2) "
        "AND ($3::boolean IS NULL OR (revoked_at IS NOT NULL) = $3) "
        "AND ($4::timestamptz IS NULL OR not_after > $4) AND ($5::timestamptz IS NULL OR not_after <= $5) "
        "AND ($6::timestamptz IS NULL OR (not_after, serial) > ($6, $7::text)) "
        "ORDER BY not_after, serial LIMIT $8",
        chosen.mac,
        chosen.kind,
        chosen.revoked,
        chosen.expires_after,
        chosen.expires_before,
        after_time,
        after_serial,
        limit,
    )
    return [_certificate(row) for row in rows]


def _certificate(row: Any) -> Certificate:
    values = dict(row)
    reason = values.pop("revoked_reason")
    kind = CertificateKind(values.pop("kind"))
    return Certificate(**values, kind=kind, revoked_reason=Reason(reason) if reason else None)
