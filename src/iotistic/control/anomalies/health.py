"""What rollouts hear of anomalies: which of their devices became unusual since they were updated."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

import asyncpg

from iotistic.control.anomalies import repository
from iotistic.detection.events import Severity
from iotistic.kernel.postgres.pool import database_errors


class AnomalyHealth:
    """A source of health; nothing that somebody judged, or made up, counts."""

    name = "anomalies"

    def __init__(self, pool: asyncpg.Pool, least: Severity = Severity.CRITICAL) -> None:
        order = list(Severity)
        self._pool, self._severities = pool, [one.value for one in order[order.index(least) :]]

    async def unwell(self, devices: Sequence[UUID], since: datetime) -> Mapping[UUID, str]:
        """Return what is wrong with those of these devices that became unwell since then, in words."""
        with database_errors():
            rows = await repository.unwell(self._pool, devices, self._severities, since)
        return {
            row["device_uuid"]: f"{row['severity']} anomaly of {row['metric']}: {row['value']:g}"
            for row in rows
        }
