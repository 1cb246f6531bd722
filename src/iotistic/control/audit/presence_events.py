"""Comings and goings of devices as events; a journal of presence (presence.model.Journal)."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from iotistic.control.audit.events import OFFLINE, ONLINE
from iotistic.control.audit.port import Database


class Transition(Protocol):
    """A coming or going."""

    @property
    def device_uuid(self) -> str:
        """Whose."""
        ...

    @property
    def is_online(self) -> bool:
        """Whether it came."""
        ...

    @property
    def at(self) -> datetime:
        """When."""
        ...

    @property
    def reason(self) -> str:
        """The sign of life, or why it is gone."""
        ...


class PresenceEvents:
    """Writes every transition as an event, thousands in one statement."""

    async def note(self, db: Database, transitions: Sequence[Transition]) -> None:
        """Note them in the transaction of `db`."""
        if not transitions:
            return
        await db.execute(
            "INSERT INTO events (at, event_type, aggregate_type, aggregate_id, device_uuid, data, actor_type, actor_id, "
            "severity, checksum) SELECT t.at, t.kind, 'device', t.device, t.device::uuid, t.data::jsonb, 'device', "
            "t.device, 'info', encode(sha256(convert_to(t.data::jsonb::text, 'UTF8')), 'hex') "
            "FROM unnest($1::timestamptz[], $2::text[], $3::text[], $4::text[]) AS t (at, kind, device, data)",
            [one.at for one in transitions],
            [ONLINE if one.is_online else OFFLINE for one in transitions],
            [str(one.device_uuid) for one in transitions],
            [
                json.dumps({"state": {"is_online": one.is_online, "reason": str(one.reason)}})
                for one in transitions
            ],
        )
