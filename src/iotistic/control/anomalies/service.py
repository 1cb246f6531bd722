"""What people ask of anomalies, and what they say of them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import structlog
from prometheus_client import Counter

from iotistic.control.access.model import Scope
from iotistic.control.anomalies import repository, series_rows
from iotistic.control.anomalies.model import Anomaly, AnomalyUnknown
from iotistic.control.anomalies.repository import Wanted
from iotistic.control.anomalies.series_rows import StreamStanding
from iotistic.control.audit.port import NO_TRAIL, Trail
from iotistic.detection.feedback import Verdict
from iotistic.kernel.postgres.pool import database_errors

log = structlog.get_logger()

JUDGED = Counter("iotistic_anomalies_judged_total", "What people said of anomalies", ["verdict"])


def utc_now() -> datetime:
    """Return the present, aware."""
    return datetime.now(UTC)


class AnomalyService:
    """Over one database; nobody is asked but it."""

    def __init__(
        self, pool: asyncpg.Pool, *, trail: Trail = NO_TRAIL, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._pool, self._trail, self._clock = pool, trail, clock

    async def list_newest(
        self,
        scope: Scope,
        wanted: Wanted,
        *,
        before: tuple[datetime, UUID] | None = None,
        limit: int = 100,
    ) -> list[Anomaly]:
        """Return anomalies, those that began last first, before (first_at, id)."""
        with database_errors():
            return await repository.list_page(
                self._pool, scope.parameter(), wanted, before=before, limit=limit
            )

    async def find(self, scope: Scope, anomaly_id: UUID) -> Anomaly:
        """Return one. Raises AnomalyUnknown."""
        with database_errors():
            found = await repository.find(self._pool, scope.parameter(), anomaly_id)
        if found is None:
            raise AnomalyUnknown
        return found

    async def feedback(self, scope: Scope, anomaly_id: UUID, verdict: Verdict, *, by: str) -> Anomaly:
        """Keep a verdict, which is taken to whoever watches; said again it changes nothing. Raises AnomalyUnknown."""
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                before = await repository.find(db, scope.parameter(), anomaly_id)
                if before is None:
                    raise AnomalyUnknown
                is_news = await repository.judge(
                    db, scope.parameter(), anomaly_id, verdict, self._clock(), by
                )
                if is_news:
                    await self._trail.record(
                        db,
                        by,
                        "anomaly.judged",
                        ("anomaly", anomaly_id),
                        before={"verdict": before.verdict},
                        after={"verdict": verdict.value},
                        details={"device": str(before.device_uuid), "metric": before.metric},
                    )
                found = await repository.find(db, scope.parameter(), anomaly_id)
        if found is None:
            raise AnomalyUnknown
        if is_news:
            JUDGED.labels(verdict.value).inc()
            log.info("anomaly.judged", anomaly_id=str(anomaly_id), metric=found.metric, verdict=verdict.value)
        return found

    async def counts(self, scope: Scope, device_uuid: UUID | None, days: int) -> list[Any]:
        """Return counts by metric, severity, origin and verdict of those that began in the last days."""
        since = self._clock() - timedelta(days=days)
        with database_errors():
            return await repository.counts(self._pool, scope.parameter(), device_uuid, since)

    async def stream(self) -> StreamStanding:
        """Return how the watch over stored readings stands."""
        with database_errors():
            return await series_rows.standing(self._pool)

    async def series(
        self, scope: Scope, device_uuid: UUID | None, *, after: tuple[int, int] | None, limit: int
    ) -> list[Any]:
        """Return watched series as they were saved last, by their ids."""
        with database_errors():
            return await series_rows.list_series(
                self._pool, scope.parameter(), device_uuid, after=after, limit=limit
            )
