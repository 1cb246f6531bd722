"""What one room of the control plane needs of another, where neither may know the other."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from iotistic.control.alerts.log_evaluate import LogLine
from iotistic.control.alerts.model import to_us
from iotistic.control.devicelogs.arrivals import ArrivedLine, LogArrivals
from iotistic.control.presence.model import Journal, Transition
from iotistic.kernel.mqtt.client import MqttClient
from iotistic.kernel.postgres.pool import database_errors

_PUBACK_WITHIN_S = 10.0


class ServicePublisher:
    """Publishes as a service of ours, for rooms that tell devices something."""

    def __init__(self, client: MqttClient) -> None:
        self._client = client

    async def publish(self, topic: str, payload: bytes, *, expiry_s: int | None = None) -> None:
        """Return after the PUBACK. Raises PublishDenied and BrokerUnavailable."""
        await self._client.publish(topic, payload, within_s=_PUBACK_WITHIN_S, expiry_s=expiry_s)

    async def keep(self, topic: str, payload: bytes) -> None:
        """Have the broker hold this for whoever subscribes later; an empty payload takes it away. As `publish`."""
        await self._client.publish(topic, payload, retain=True, within_s=_PUBACK_WITHIN_S)


class Tagged:
    """Knows the tags of devices, for alerts and rollouts."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def tagged(self, tags: Mapping[str, str]) -> list[UUID]:
        """Return the devices that have all of these tags."""
        with database_errors():
            rows = await self._pool.fetch(
                "SELECT device_uuid FROM device_tags JOIN unnest($1::text[], $2::text[]) wanted (key, value) "
                "USING (key, value) GROUP BY device_uuid HAVING count(*) = cardinality($1::text[])",
                list(tags),
                list(tags.values()),
            )
        return [row["device_uuid"] for row in rows]


class Seen:
    """When devices gave a sign of life last, for alerts."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def seen(self) -> Mapping[UUID, datetime]:
        """Return when each device was noticed last, of those that ever were."""
        with database_errors():
            rows = await self._pool.fetch(
                "SELECT device_uuid, seen_at FROM device_presence WHERE seen_at > 'epoch'"
            )
        return {row["device_uuid"]: row["seen_at"] for row in rows}


class LogLines:
    """The logs of devices, for alerts."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._arrivals = LogArrivals(pool)

    async def end(self) -> str:
        """Return the cursor of now."""
        return await self._arrivals.end()

    async def after(self, cursor: str, *, limit: int) -> tuple[list[LogLine], str]:
        """Return lines after a cursor, and the cursor behind them."""
        lines, behind = await self._arrivals.after(cursor, limit=limit)
        return [_log_line(line) for line in lines], behind

    async def between(
        self, devices: Sequence[UUID] | None, start: datetime, end: datetime, *, limit: int
    ) -> list[LogLine]:
        """Return kept lines of [start, end) in the order of their times."""
        return [_log_line(line) for line in await self._arrivals.between(devices, start, end, limit=limit)]


def _log_line(line: ArrivedLine) -> LogLine:
    return LogLine(
        device_uuid=line.device_uuid,
        at_us=to_us(line.at),
        message=line.message,
        service=line.service,
        level=line.level,
    )


class PresenceJournal:
    """Lets several hear of comings and goings, in the transaction that makes them."""

    def __init__(self, *listeners: Journal) -> None:
        self._listeners = listeners

    async def note(self, db: Any, transitions: Sequence[Transition]) -> None:
        """Tell each; an error of one undoes the transition."""
        for listener in self._listeners:
            await listener.note(db, transitions)
