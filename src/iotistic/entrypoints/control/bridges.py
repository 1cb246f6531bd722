"""What one room of the control plane needs of another, where neither may know the other."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from iotistic.control.devices.repository import Database
from iotistic.control.presence import repository as presence_rows
from iotistic.control.presence.model import Transition
from iotistic.control.rollouts.signals import Decision, DecisionKind
from iotistic.control.why.facts import PresenceFacts
from iotistic.control.why.port import About, Decisions
from iotistic.kernel.mqtt.client import MqttClient
from iotistic.kernel.postgres.pool import database_errors

_PUBACK_WITHIN_S = 10.0
_ABOUT = {
    DecisionKind.ROLLED_BACK: About.ROLLED_BACK,
}


class ServicePublisher:
    """Publishes as a service of ours, for rooms that tell devices something."""

    def __init__(self, client: MqttClient) -> None:
        self._client = client

    async def publish(self, topic: str, payload: bytes, *, expiry_s: int | None = None) -> None:
        """Return after the PUBACK. Raises PublishDenied and BrokerUnavailable."""
        await self._client.publish(topic, payload, within_s=_PUBACK_WITHIN_S, expiry_s=expiry_s)


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
    """When devices gave a sign of life last, for alerts; whether they are there, for `why`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def seen(self) -> Mapping[UUID, datetime]:
        """Return when each device was noticed last, of those that ever were."""
        with database_errors():
            rows = await self._pool.fetch(
                "SELECT device_uuid, seen_at FROM device_presence WHERE seen_at > 'epoch'"
            )
        return {row["device_uuid"]: row["seen_at"] for row in rows}

    async def presence(self, db: Any, uuid: str, now: datetime) -> PresenceFacts | None:
        """Return whether a device is there; None when no lease of it was ever kept."""
        _ = now
        standing = await presence_rows.find(db, uuid)
        if standing is None:
            return None
        return PresenceFacts(
            is_online=standing.is_online, since=standing.changed_at, last_seen=standing.seen_at
        )


class PresenceJournal:
    """Writes comings and goings down as decisions, in the transaction that makes them."""

    def __init__(self, decisions: Decisions) -> None:
        self._decisions = decisions

    async def note(self, db: Any, transitions: Sequence[Transition]) -> None:
        """Note goings: why a device is offline is what people ask."""
        for one in transitions:
            if not one.is_online:
                await self._decisions.decided(
                    db,
                    About.OFFLINE,
                    f"presence.{one.reason}",
                    device=one.device_uuid,
                    facts={"epoch": one.epoch},
                    source="presence",
                )


class RolloutDecisions:
    """Writes down what rollouts decide."""

    def __init__(self, decisions: Decisions) -> None:
        self._decisions = decisions

    async def record(self, db: Database, decisions: Sequence[Decision]) -> None:
        """Write them in the transaction in which they take effect."""
        for one in decisions:
            await self._decisions.decided(
                db,
                _ABOUT.get(one.kind, About.NOT_UPDATED),
                one.code,
                device=None if one.device_uuid is None else str(one.device_uuid),
                facts={"rollout": str(one.rollout_id), "reason": one.reason, "by": one.by, **one.facts},
                source="rollouts",
            )
