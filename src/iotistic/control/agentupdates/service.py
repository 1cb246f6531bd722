"""Order updates of agents, and hear how they go."""

from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
import structlog

from iotistic.contracts.agent_updates import read_report
from iotistic.control.access.model import Caller
from iotistic.control.agentupdates import rows
from iotistic.control.agentupdates.model import (
    AgentUpdate,
    NoUpdate,
    UpdateInvalid,
    UpdateReportInvalid,
    UpdateStatus,
    UpdateUnderWay,
    deadline,
)
from iotistic.control.agentupdates.settings import AgentUpdateSettings
from iotistic.control.audit.port import NO_TRAIL, Trail
from iotistic.control.devices.model import DeviceUnknown
from iotistic.kernel.postgres.pool import database_errors

log = structlog.get_logger()

_MOST_AHEAD = timedelta(days=90)
_LOCK = (
    "SELECT coalesce(states.fields->>'agent_version', devices.agent_version) AS agent_version "
    "FROM fleet_devices devices LEFT JOIN device_states states ON states.device_uuid = devices.uuid "
    "WHERE devices.uuid = $1 FOR NO KEY UPDATE OF devices"
)


class AgentUpdates:
    """Over one database."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        settings: AgentUpdateSettings,
        *,
        clock: Callable[[], datetime],
        trail: Trail = NO_TRAIL,
    ) -> None:
        self._pool, self._clock, self._trail = pool, clock, trail
        self._wait = timedelta(hours=settings.agent_update_wait_hours)

    async def order(
        self, device: UUID, version: str, *, not_before: datetime | None, is_forced: bool, by: Caller
    ) -> AgentUpdate:
        """Order an update; it takes the place of one that the device has not begun.

        Raises UpdateInvalid, UpdateUnderWay, DeviceUnknown.
        """
        now = self._clock()
        if not_before is not None and not_before > now + _MOST_AHEAD:
            raise UpdateInvalid("scheduled_time is more than 90 days ahead", field="scheduled_time")
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                known = await db.fetchrow(_LOCK, device)
                if known is None:
                    raise DeviceUnknown(uuid=str(device))
                update = AgentUpdate(
                    id=uuid4(),
                    device_uuid=device,
                    version=version,
                    from_version=known["agent_version"],
                    is_forced=is_forced,
                    not_before=not_before,
                    ordered_by=by.name,
                    ordered_at=now,
                    deadline_at=deadline(now, not_before, self._wait),
                )
                await rows.supersede(db, device, now)
                if not await rows.add(db, update):
                    raise UpdateUnderWay(hint="wait for its end: GET /devices/{uuid}/agent-updates")
                what = {"version": version, "not_before": not_before, "force": is_forced}
                await self._trail.record(
                    db, by, "device.agent_update_ordered", ("device", str(device)), after=what
                )
        log.info("agent_update.ordered", device_uuid=str(device), version=version, by=by.name)
        return update

    async def cancel(self, device: UUID, *, by: Caller) -> AgentUpdate:
        """Call an order back that the device has not begun. Raises NoUpdate, UpdateUnderWay."""
        now = self._clock()
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                found = await rows.opened(db, device)
                if found is None:
                    raise NoUpdate
                if found.status is UpdateStatus.IN_PROGRESS:
                    raise UpdateUnderWay
                await db.execute(
                    "UPDATE agent_updates SET status = 'canceled', ended_at = $2, tell_at = $2 WHERE id = $1",
                    found.id,
                    now,
                )
                await self._trail.record(
                    db, by, "device.agent_update_canceled", ("device", str(device)), before={"id": found.id}
                )
                return (await rows.of_device(db, device, 1))[0]

    async def history(self, device: UUID, *, limit: int) -> list[AgentUpdate]:
        """Return the orders of a device, the newest first. Raises DeviceUnknown."""
        with database_errors():
            if not await self._pool.fetchval("SELECT true FROM fleet_devices WHERE uuid = $1", device):
                raise DeviceUnknown(uuid=str(device))
            return await rows.of_device(self._pool, device, limit)

    async def waiting(self, device: UUID) -> AgentUpdate:
        """Return what a device is to do. Raises NoUpdate."""
        with database_errors():
            newest = await rows.of_device(self._pool, device, 1)
        if not newest or not newest[0].status.is_open:
            raise NoUpdate
        return newest[0]

    async def heard(self, device: UUID, message: object) -> UpdateStatus:
        """Note what a device says; return how its order stands. Raises UpdateReportInvalid, NoUpdate."""
        report, faults = read_report(message)
        if report is None:
            raise UpdateReportInvalid("; ".join(str(fault) for fault in faults))
        now = self._clock()
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                found = await rows.named(db, device, report.update_id)
                if found is None:
                    raise NoUpdate(hint="it may have been removed")
                after = found.heard(report, now)
                if after is found:
                    return found.status
                await rows.save(db, after, now)
        fields = {"device_uuid": str(device), "update_id": str(found.id), "code": after.code}
        log.info("agent_update.reported", status=after.status, **fields)
        return after.status
