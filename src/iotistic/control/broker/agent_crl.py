"""Certificates of agents that brokers may not accept, for the authority's revocation list.

Brokers heed one list of an authority, the newest; so agents and F2 devices stand in the same one, and the
process that makes it asks here (`pki.elsewhere.RevokedElsewhere`). A device that is switched off stands in it too,
and is out of it when it is switched on again.
"""

from datetime import datetime

import asyncpg

from iotistic.kernel.postgres.pool import database_errors
from iotistic.pki.elsewhere import Refused
from iotistic.pki.model import Certificate, CertificateKind, Reason


class AgentCertificates:
    """Reads them from the database."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def serials(self, now: datetime) -> frozenset[str]:
        """Return the serial numbers of the same, which costs less."""
        with database_errors():
            rows = await self._pool.fetch(
                "SELECT serial FROM refused_device_certificates WHERE not_after > $1", now
            )
        return frozenset(row["serial"] for row in rows)

    async def refused(self, now: datetime) -> list[Refused]:
        """Return every certificate that is not over and may not be accepted."""
        with database_errors():
            rows = await self._pool.fetch(
                "SELECT serial, device_uuid::text, issued_at, not_after, revoked_at, is_replaced "
                "FROM refused_device_certificates WHERE not_after > $1 ORDER BY serial",
                now,
            )
        return [
            Refused(
                client=row["device_uuid"],
                is_replaced=row["is_replaced"],
                certificate=Certificate(
                    serial=row["serial"],
                    kind=CertificateKind.DEVICE,
                    mac=None,
                    pem="",
                    not_before=row["issued_at"],
                    not_after=row["not_after"],
                    issued_at=row["issued_at"],
                    issued_by="provisioning",
                    revoked_at=row["revoked_at"],
                    revoked_reason=Reason.UNSPECIFIED,
                ),
            )
            for row in rows
        ]
