"""Several rooms that keep parts of what devices report."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from iotistic.control.devices.witness import Recording


class Recordings:
    """Lets each keep its part of a report; it is acknowledged once all have."""

    def __init__(self, *parts: Recording) -> None:
        self._parts = parts

    async def record(self, uuid: str, fields: Mapping[str, Any], at: datetime) -> None:
        """Return once every part is stored; what one raises is raised."""
        for part in self._parts:
            await part.record(uuid, fields, at)
