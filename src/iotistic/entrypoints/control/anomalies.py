"""The room of anomalies put together: what it hears, what it tells, and what works for it."""

from uuid import UUID

import asyncpg

from iotistic.control.anomalies.stream import AnomalyStream
from iotistic.control.anomalies.teaching import AnomalyKeeper
from iotistic.control.audit.events import EventLog
from iotistic.entrypoints.control.rooms import ControlPlane
from iotistic.kernel.postgres.pool import database_errors


def anomaly_loops(control: ControlPlane) -> tuple[AnomalyStream, AnomalyKeeper]:
    """Return what the control process does for anomalies."""
    ground = control.ground
    return (
        AnomalyStream(ground.pool, ground.settings, clock=ground.clock),
        AnomalyKeeper(
            ground.pool,
            ground.settings,
            updating=RolloutParts(ground.pool),
            announcer=control.broker.announcer,
            trail=control.trail,
            events=EventLog(),
            clock=ground.clock,
        ),
    )


class RolloutParts:
    """Knows which devices a rollout is updating."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def updating(self) -> list[UUID]:
        """Return them."""
        with database_errors():
            rows = await self._pool.fetch(
                "SELECT DISTINCT device_uuid FROM rollout_parts WHERE state IN ('updating', 'watching', 'rolling_back')"
            )
        return [row["device_uuid"] for row in rows]
