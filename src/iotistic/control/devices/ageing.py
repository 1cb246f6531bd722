"""Tells devices that their keys are old, and forgets keys that ended long ago.

No key is made here and none is sent: a device that is told asks for a new one itself (`rotate-key`), and until the
grace period ends both are good. So nobody is locked out by a message that got lost, and no key crosses the broker.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Protocol

import asyncpg

from iotistic.contracts.provisioning.fields import write_time
from iotistic.contracts.provisioning.rotation import rotation_topic
from iotistic.control.devices.service import utc_now
from iotistic.kernel.mqtt.errors import PublishDenied
from iotistic.kernel.postgres.pool import database_errors

_PAGE, _AT_ONCE = 500, 32
_BEFORE = timedelta(days=3)
"""Agents ask by themselves a week before; those that did not by now are told."""
_HISTORY = timedelta(days=365)
_EXPIRY_S = 3600


class Publisher(Protocol):
    """Publishes to the broker."""

    async def publish(self, topic: str, payload: bytes, *, expiry_s: int | None = None) -> None:
        """Return when the broker has it. Raises PublishDenied and BrokerUnavailable."""
        ...


class KeyAgeing:
    """The hourly look at the keys of devices."""

    def __init__(
        self, pool: asyncpg.Pool, publisher: Publisher, *, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._pool, self._publisher, self._clock = pool, publisher, clock

    async def look(self) -> Mapping[str, object]:
        """Tell the devices whose keys are old; return how many. Raises BrokerUnavailable, DatabaseUnavailable."""
        now, told, denied = self._clock(), 0, 0
        after: tuple[datetime, str] | None = None
        while page := await self._due(now + _BEFORE, after):
            for start in range(0, len(page), _AT_ONCE):
                taken = await asyncio.gather(
                    *(self._tell(uuid, due_at) for due_at, uuid in page[start : start + _AT_ONCE])
                )
                told, denied = told + sum(taken), denied + len(taken) - sum(taken)
            after = page[-1]
        return {"told": told, "denied": denied, **await self._figures(now)}

    async def _tell(self, uuid: str, due_at: datetime) -> bool:
        notice = json.dumps({"reason": "age", "due_at": write_time(due_at.timestamp())}).encode()
        try:
            await self._publisher.publish(rotation_topic(uuid), notice, expiry_s=_EXPIRY_S)
        except PublishDenied:
            return False
        return True

    async def _due(self, until: datetime, after: tuple[datetime, str] | None) -> list[tuple[datetime, str]]:
        with database_errors():
            rows = await self._pool.fetch(
                "SELECT k.due_at, k.device_uuid::text AS uuid FROM device_api_keys k "
                "JOIN fleet_devices d ON d.uuid = k.device_uuid WHERE k.ends_at IS NULL AND d.is_active "
                "AND k.due_at <= $1 AND ($2::timestamptz IS NULL OR (k.due_at, k.device_uuid) > ($2, $3::text::uuid)) "
                "ORDER BY k.due_at, k.device_uuid LIMIT $4",
                until,
                *(after or (None, None)),
                _PAGE,
            )
        return [(row["due_at"], row["uuid"]) for row in rows]

    async def _figures(self, now: datetime) -> Mapping[str, int]:
        with database_errors():
            # Those of a device that is changing its keys go the next time.
            gone = await self._pool.execute(
                "DELETE FROM device_api_keys WHERE (device_uuid, prefix) IN (SELECT device_uuid, prefix "
                "FROM device_api_keys WHERE ends_at < $1 FOR UPDATE SKIP LOCKED)",
                now - _HISTORY,
            )
            overdue = await self._pool.fetchval(
                "SELECT count(*) FROM device_api_keys WHERE ends_at IS NULL AND due_at < $1", now
            )
            in_grace = await self._pool.fetchval(
                "SELECT count(*) FROM device_api_keys WHERE ends_at > $1", now
            )
        return {"overdue": overdue, "in_grace": in_grace, "forgotten": int(gone.rpartition(" ")[2])}
