"""Devices that have not taken their new target, to be told of it again.

A look tells devices after its commit: what waits in a process that is killed then is lost, and a device that is told
of news asks by itself twice an hour only. So whoever carries rollouts on tells those again that should have begun and
do not say so. One that has the target already does nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from iotistic.control.devices.repository import Database
from iotistic.control.states.repository import REPORTED_VERSION

# The newest first: who has been told for hours is not there.
_UNTAKEN = (
    "SELECT p.device_uuid, t.version, t.etag FROM rollout_parts p "  # noqa: S608  constant
    "JOIN device_targets t ON t.device_uuid = p.device_uuid AND t.version = coalesce(p.back_version, p.to_version) "
    "LEFT JOIN device_states s ON s.device_uuid = p.device_uuid "
    "WHERE p.state IN ('updating', 'rolling_back') AND p.started_at < $1 "
    f"AND ({REPORTED_VERSION}) IS DISTINCT FROM t.version ORDER BY p.started_at DESC, p.device_uuid LIMIT $2"
)
_MOST = 20_000


@dataclass(frozen=True, slots=True)
class Untaken:
    """A target that its device does not report."""

    device: UUID
    version: int
    etag: str


async def untaken(db: Database, begun_before: datetime) -> Sequence[Untaken]:
    """Return the targets of parts that began before a moment, and whose devices report another version."""
    rows = await db.fetch(_UNTAKEN, begun_before, _MOST)
    return [Untaken(row["device_uuid"], row["version"], row["etag"]) for row in rows]
