"""Everything that a device shows who it is with ends at once: API keys, certificates, the broker's password.

It is not removed: a device that still has its private key comes back by a new registration that proves it. Where
that key is what was stolen, an operator removes the device, or switches it off.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import asyncpg
import structlog

from iotistic.control.access.model import Caller
from iotistic.control.audit.port import NO_TRAIL, Severity, Trail
from iotistic.control.devices import repository as devices
from iotistic.control.devices.model import DeviceUnknown
from iotistic.control.devices.repository import Database
from iotistic.control.devices.service import utc_now
from iotistic.control.provisioning.certificates import DeviceCertificates
from iotistic.control.why.port import NO_DECISIONS, About, Decisions
from iotistic.kernel.postgres.pool import database_errors

log = structlog.get_logger()

_CODE = "device.emergency_revoked"


@dataclass(frozen=True, slots=True)
class Revoked:
    """What ended, in numbers; zeros when nothing was good any more."""

    keys: int
    certificates: int


class EmergencyRevocation:
    """The use case."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        certificates: DeviceCertificates,
        *,
        trail: Trail = NO_TRAIL,
        decisions: Decisions = NO_DECISIONS,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._pool, self._certificates, self._clock = pool, certificates, clock
        self._trail, self._decisions = trail, decisions

    async def revoke(self, uuid: str, reason: str, *, by: Caller) -> Revoked:
        """End what a device has, in one transaction. Raises DeviceUnknown."""
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                await devices.lock(db, uuid)
                if await devices.find(db, uuid) is None:
                    raise DeviceUnknown(uuid=uuid)
                revoked = await self._end(db, uuid)
                facts = {"reason": reason, "keys": revoked.keys, "certificates": revoked.certificates}
                await self._trail.record(
                    db, by, _CODE, ("device", uuid), severity=Severity.CRITICAL, details=facts
                )
                await self._decisions.decided(
                    db,
                    About.OFFLINE,
                    _CODE,
                    device=uuid,
                    facts={"by": by.name, **facts},
                    source="provisioning",
                )
        log.warning(_CODE, device_uuid=uuid, by=by.name, keys=revoked.keys)
        return revoked

    async def _end(self, db: Database, uuid: str) -> Revoked:
        now = self._clock()
        keys = await db.fetchval(
            "SELECT count(*) FROM device_api_keys WHERE device_uuid = $1::text::uuid "
            "AND (ends_at IS NULL OR ends_at > $2)",
            uuid,
            now,
        )
        certificates = await db.fetchval(
            "SELECT count(*) FROM device_certificates WHERE device_uuid = $1::text::uuid "
            "AND revoked_at IS NULL AND not_after > $2",
            uuid,
            now,
        )
        await devices.end_keys(db, uuid, now)
        await self._certificates.revoke_all(db, uuid)
        for table in ("device_mqtt_accounts", "device_challenges"):
            await db.execute(f"DELETE FROM {table} WHERE device_uuid = $1::text::uuid", uuid)  # noqa: S608  constants
        return Revoked(keys, certificates)
