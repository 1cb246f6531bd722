"""What polls and reports tell of a device beside the state itself: that it is here, what it is, how it does."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

import asyncpg

from iotistic.kernel.postgres.pool import database_errors

_MOST = 255
# The columns of a device, by the fields of a report that change them.
_DESCRIBING = {"os_version": "os_version", "agent_version": "agent_version", "local_ip": "ip_address"}


class Attendance(Protocol):
    """Notices signs of life (Presence, behind small functions of whoever puts it together)."""

    def polled(self, uuid: str) -> None:
        """A device asked for its target."""
        ...

    def reported(self, uuid: str) -> None:
        """A device told of itself."""
        ...

    async def left(self, uuid: str) -> None:
        """A device said that it is going."""
        ...


class Recording(Protocol):
    """Keeps figures (MetricsRecorder)."""

    async def record(self, uuid: str, fields: Mapping[str, Any], at: datetime) -> None:
        """Return once they are stored."""
        ...


class DeviceWitness:
    """Hears what devices say; for StateService."""

    def __init__(self, pool: asyncpg.Pool, attendance: Attendance, recording: Recording) -> None:
        self._pool, self._attendance, self._recording = pool, attendance, recording

    def polled(self, uuid: str) -> None:
        """A device, which proved who it is, asked for its target."""
        self._attendance.polled(uuid)

    async def reported(self, uuid: str, fields: Mapping[str, Any], at: datetime) -> None:
        """Return once everything that a report says beside the state is kept."""
        if fields.get("is_online") is False:
            await self._attendance.left(uuid)
        else:
            self._attendance.reported(uuid)
        await self._describe(uuid, fields)
        await self._recording.record(uuid, fields, at)

    async def _describe(self, uuid: str, fields: Mapping[str, Any]) -> None:
        told = {
            column: _storable(fields[name])
            for name, column in _DESCRIBING.items()
            if isinstance(fields.get(name), str)
        }
        if not told:
            return
        sets = ", ".join(f"{column} = ${number}" for number, column in enumerate(told, start=2))
        differs = " OR ".join(f"{column} <> ${number}" for number, column in enumerate(told, start=2))
        with database_errors():
            await self._pool.execute(
                f"UPDATE fleet_devices SET {sets} WHERE uuid = $1::text::uuid AND ({differs})",  # noqa: S608  constants
                uuid,
                *told.values(),
            )


def _storable(text: str) -> str:
    return text.replace("\0", "").encode("utf-8", "replace").decode()[:_MOST]
