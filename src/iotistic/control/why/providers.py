"""Facts of other rooms, by one indexed read each: the lease of a device's connection, its part in a rollout."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from iotistic.control.why.facts import PresenceFacts
from iotistic.control.why.port import Database

_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


class LeasePresence:
    """What presence keeps of a device."""

    async def presence(self, db: Database, uuid: str, now: datetime) -> PresenceFacts | None:
        """Return whether its lease runs; None when it never had one."""
        row = await db.fetchrow(
            "SELECT is_online, lease_until, seen_at, changed_at FROM device_presence WHERE device_uuid = $1::text::uuid",
            uuid,
        )
        if row is None or row["seen_at"] <= _NEVER:
            return None
        return PresenceFacts(
            is_online=row["is_online"] and row["lease_until"] > now,
            since=row["changed_at"] if row["changed_at"] > _NEVER else None,
            last_seen=row["seen_at"],
        )


class RolloutPart:
    """The rollout that a device takes part in at this moment; those that are over left decisions."""

    name = "rollout"

    async def facts(self, db: Database, uuid: str, now: datetime) -> Mapping[str, Any]:
        """Return its part; empty when it takes part in none."""
        del now
        row = await db.fetchrow(
            "SELECT r.id::text AS rollout, r.name, r.state AS rollout_state, p.state, p.wave + 1 AS wave, "
            "r.wave + 1 AS at_wave, r.halt_reason, r.created_by AS by, p.deadline FROM rollout_parts p "
            "JOIN rollouts r ON r.id = p.rollout_id WHERE p.device_uuid = $1::text::uuid "
            "AND p.state IN ('waiting', 'updating', 'watching', 'rolling_back')",
            uuid,
        )
        return dict(row) if row else {}
