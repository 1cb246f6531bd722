"""Takes in what agents report of anomalies, when a report is stored.

An agent tells an anomaly again when it became worse, was judged, or is over, and after an acknowledgement that got
lost: it is known by the id that the device gave it. What cannot be understood is counted, and the rest is kept.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast
from uuid import UUID

import asyncpg
import structlog
from prometheus_client import Counter

from iotistic.control.anomalies import repository
from iotistic.control.anomalies.model import MOST_IN_A_REPORT, Origin, Told, read_told
from iotistic.kernel.postgres.pool import database_errors

log = structlog.get_logger()

REPORTED = Counter("iotistic_anomalies_reported_total", "Anomalies in reports of agents", ["outcome"])


class AnomalyIntake:
    """Over one database."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def record(self, uuid: str, fields: Mapping[str, Any], at: datetime) -> None:
        """Return once the anomalies of a report are stored; at once when it has none. Raises DatabaseUnavailable."""
        if "anomalies" not in fields:
            return
        told = self._read(uuid, fields["anomalies"], at)
        if not told:
            return
        with database_errors():
            new, more = await repository.put(
                self._pool, Origin.AGENT, [(UUID(uuid), one) for one in told], at
            )
        REPORTED.labels("new").inc(new)
        REPORTED.labels("changed").inc(more)
        REPORTED.labels("known").inc(max(0, len(told) - new - more))

    @staticmethod
    def _read(uuid: str, listed: object, at: datetime) -> list[Told]:
        documents = cast("list[object]", listed) if isinstance(listed, list) else [listed]
        found: list[Told] = []
        reason = ""
        for document in documents[:MOST_IN_A_REPORT]:
            try:
                found.append(read_told(document, at))
            except ValueError as exc:
                reason = reason or str(exc)
        if refused := len(documents) - len(found):
            REPORTED.labels("refused").inc(refused)
            log.info(
                "anomaly.refused", device_uuid=uuid, count=refused, reason=reason or "too many in one report"
            )
        return found
