"""The query API's use cases in one place, for the entrypoint to make and the routes to use."""

import asyncpg

from iotistic.telemetry.live.hub import LiveHub
from iotistic.telemetry.query.devices import DeviceQueries
from iotistic.telemetry.query.figures import current_stats
from iotistic.telemetry.query.names import LiveNames
from iotistic.telemetry.query.readings import ReadingQueries
from iotistic.telemetry.query.repository import QueryRepository
from iotistic.telemetry.query.schemas import Stats
from iotistic.telemetry.query.series import SeriesQueries


class QueryService:
    """Answers questions about devices, readings and the flow of readings."""

    def __init__(self, pool: asyncpg.Pool, hub: LiveHub) -> None:
        self._hub = hub
        self._repository = QueryRepository(pool)
        self.devices = DeviceQueries(self._repository)
        self.series = SeriesQueries(self._repository, self.devices)
        self.names = LiveNames(self._repository, self.devices)
        self.readings = ReadingQueries(self._repository, self.devices)

    async def stats(self) -> Stats:
        """Return how much there is, and how much comes in."""
        return await current_stats(self._repository, self._hub)
