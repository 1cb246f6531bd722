"""A device is announced before it comes: it has its place in the plan, and may be tagged and given a target."""

from collections.abc import Callable
from datetime import datetime
from uuid import uuid4

import asyncpg
import structlog

from iotistic.control.access.model import Caller
from iotistic.control.audit.port import NO_TRAIL, Trail
from iotistic.control.devices import repository as devices
from iotistic.control.devices.model import NewDevice
from iotistic.control.devices.service import utc_now
from iotistic.control.provisioning.registration import Plan, require_room
from iotistic.control.why.port import NO_DECISIONS, Decisions
from iotistic.kernel.errors import IotisticError
from iotistic.kernel.postgres.pool import database_errors

log = structlog.get_logger()


class Announcing:
    """The use case."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        plan: Plan,
        *,
        trail: Trail = NO_TRAIL,
        decisions: Decisions = NO_DECISIONS,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._pool, self._plan, self._trail, self._decisions, self._clock = (
            pool,
            plan,
            trail,
            decisions,
            clock,
        )

    async def announce(
        self, *, name: str, type_: str, fleet_id: str, mac_address: str, ip_address: str, by: Caller
    ) -> str:
        """Return the uuid that a device has until it comes with its own. Raises DeviceLimit, MacAwaited."""
        new = NewDevice(uuid=str(uuid4()), name=name, type=type_, fleet_id=fleet_id, mac_address=mac_address)
        try:
            await self._keep(new, ip_address, by)
        except IotisticError as exc:
            with database_errors():
                await self._decisions.refused(self._pool, exc, device=None, source="provisioning")
            raise
        log.info("device.announced", device_uuid=new.uuid, by=by.name)
        return new.uuid

    async def _keep(self, new: NewDevice, ip_address: str, by: Caller) -> None:
        with devices.awaited_once(), database_errors():
            async with self._pool.acquire() as db, db.transaction():
                await require_room(self._plan, await devices.lock_tally(db))
                await devices.announce(db, new, ip_address, self._clock())
                await self._trail.record(db, by, "device.announced", ("device", new.uuid), after=new)
