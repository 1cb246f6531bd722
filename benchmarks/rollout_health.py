"""Health figures for the rollout benchmark: a release that settles, fails no step, and does the devices no good.

What anomalies are in an installation is here a share of devices by their ids: the same at each look, and for the
updated and the waiting alike, as a source of health has to be. The file says which image is meant; no file, no harm.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from uuid import UUID

import asyncpg

FIGURES = "figures"
HARMED_PERCENT, ANYWAY_PERCENT = 40, 2
_QUERY = (
    "SELECT device_uuid FROM device_states WHERE device_uuid = ANY($1::uuid[]) "
    "AND abs(hashtext(device_uuid::text)::bigint) % 100 "
    "< CASE WHEN fields->'apps' @? $2::text::jsonpath THEN $3::int ELSE $4::int END"
)


class Figures:
    """Knows whose figures are bad."""

    name = "figures"

    def __init__(self, pool: asyncpg.Pool, path: Path) -> None:
        self._pool, self._path = pool, path

    async def unwell(self, devices: Sequence[UUID], since: datetime) -> Mapping[UUID, str]:  # noqa: ARG002  the port
        """Return devices whose figures are bad."""
        image = self._path.read_text() if self._path.exists() else ""
        if not image:
            return {}
        runs = f'$.*.services[*] ? (@.imageName == "{image}")'
        rows = await self._pool.fetch(_QUERY, list(devices), runs, HARMED_PERCENT, ANYWAY_PERCENT)
        return {row["device_uuid"]: "answers take three times as long" for row in rows}
