"""Takes verdicts to the agents that watch, in the target of their device, and forgets what is old.

A verdict waits in its row until the target of its device carries it (one version for all that wait), and then until
the device says that it has learned it. A device that is being updated by a rollout is left alone meanwhile: a target
between its versions would look like somebody's change.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol, cast
from uuid import UUID

import asyncpg
import structlog

from iotistic.control.anomalies import repository
from iotistic.control.anomalies.model import Database
from iotistic.control.anomalies.service import utc_now
from iotistic.control.anomalies.settings import AnomalyDeskSettings
from iotistic.control.audit.port import NO_EVENTS, NO_TRAIL, Events, Trail
from iotistic.control.states import repository as targets
from iotistic.control.states.model import TargetTooLarge, make_target
from iotistic.control.states.service import Announcer
from iotistic.kernel.errors import IotisticError
from iotistic.kernel.postgres.pool import database_errors

log = structlog.get_logger()

_BY = "service:anomalies"
_LOOK_S, _FORGET_S = 5.0, 3600.0
_RETRY_MOST_S = 60.0
_DEVICES_A_LOOK = 200
_MOST_VERDICTS = 200
"""In one target; an agent reads 256."""
_WAITING = """
SELECT device_uuid FROM anomalies JOIN device_targets USING (device_uuid)
WHERE origin = 'agent' AND verdict_state = 'waiting' AND NOT device_uuid = ANY($1)
GROUP BY device_uuid ORDER BY min(judged_at) LIMIT $2
"""
_VERDICTS = """
SELECT name, verdict, verdict_state FROM anomalies
WHERE device_uuid = $1 AND origin = 'agent' AND verdict IS NOT NULL
  AND (verdict_state <> 'learned' OR name = ANY($2)) ORDER BY judged_at DESC
"""
# In the order in which reports of its device are kept: neither waits for a row that the other has passed.
_SENT = """
WITH theirs AS (
    SELECT id FROM anomalies
    WHERE device_uuid = $1 AND origin = 'agent' AND verdict_state = 'waiting' AND name = ANY($2)
    ORDER BY device_uuid, name FOR NO KEY UPDATE)
UPDATE anomalies a SET verdict_state = 'sent' FROM theirs WHERE a.id = theirs.id
"""


class Updating(Protocol):
    """Knows which devices are being updated."""

    async def updating(self) -> Collection[UUID]:
        """Return them."""
        ...


class AnomalyKeeper:
    """Teaches and forgets until it is stopped; any number of processes may."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        settings: AnomalyDeskSettings,
        *,
        updating: Updating | None = None,
        announcer: Announcer | None = None,
        trail: Trail = NO_TRAIL,
        events: Events = NO_EVENTS,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._pool, self._settings, self._updating, self._clock = pool, settings, updating, clock
        self._announcer, self._trail, self._events = announcer, trail, events
        self._stopping = asyncio.Event()
        self._forget_at: datetime | None = None

    async def run(self) -> None:
        """Run until `stop` is called; what fails is tried again."""
        pause_s, told = _LOOK_S, ""
        while not self._stopping.is_set():
            try:
                await self.teach()
                await self._forget()
                pause_s, told = _LOOK_S, ""
            except (IotisticError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as exc:
                if told != (told := type(exc).__name__):
                    log.warning("anomalies.not_kept", reason=str(exc))
                pause_s = min(pause_s * 2, _RETRY_MOST_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s * random.uniform(0.5, 1)):  # noqa: S311  jitter
                    await self._stopping.wait()

    def stop(self) -> None:
        """Take up no further work."""
        self._stopping.set()

    async def teach(self) -> int:
        """Put what waits into targets; return of how many devices."""
        with database_errors():
            busy = list(await self._updating.updating()) if self._updating else []
            rows = await self._pool.fetch(_WAITING, busy, _DEVICES_A_LOOK)
            for row in rows:
                await self._teach(row["device_uuid"])
        return len(rows)

    async def _teach(self, uuid: UUID) -> None:
        async with self._pool.acquire() as db, db.transaction():
            standing = await targets.find(db, str(uuid), for_update=True)
            if standing is None:
                return
            before = standing.target
            verdicts = await db.fetch(_VERDICTS, uuid, list(_feedback(before.content())))
            content = taught(before.content(), verdicts)
            try:
                target = make_target(content, version=before.version + 1, at=self._clock(), by=_BY)
            except TargetTooLarge:
                log.warning("anomaly.verdicts_without_room", device_uuid=str(uuid))
                target = None
            if target is not None and content != before.content():
                await targets.put_in_force(db, str(uuid), target)
                if standing.draft is not None:
                    draft = taught(standing.draft, verdicts)
                    await targets.put_draft(db, str(uuid), draft, standing.drafted_at, standing.drafted_by)
                await self._note(db, uuid, before.content(), content, target.version)
            await db.execute(_SENT, uuid, [row["name"] for row in verdicts])
        if target is not None and self._announcer is not None:
            with contextlib.suppress(IotisticError):  # it polls anyway
                await self._announcer.announce(str(uuid), target.version, target.etag)

    async def _note(
        self, db: Database, uuid: UUID, before: dict[str, Any], after: dict[str, Any], version: int
    ) -> None:
        await self._trail.record(
            db,
            _BY,
            "target.deployed",
            ("device", uuid),
            before=before,
            after=after,
            details={"from_version": version - 1, "version": version, "reason": "anomaly feedback"},
        )
        document = after | {"version": version}
        await self._events.target_changed(db, str(uuid), document, by=_BY, at=self._clock())

    async def _forget(self) -> None:
        now = self._clock()
        if self._forget_at is not None and now < self._forget_at:
            return
        before = now - timedelta(days=self._settings.anomaly_days)
        with database_errors():
            await repository.forget(self._pool, before, now, self._settings.anomaly_most_per_device)
        self._forget_at = now + timedelta(seconds=_FORGET_S)


def taught(content: Mapping[str, Any], verdicts: Sequence[Any]) -> dict[str, Any]:
    """Return a target's content with the verdicts that its device has not learned, without those that it has.

    `verdicts` (name, verdict, verdict_state) are the newest first; what people wrote there besides stays.
    """
    known = {row["name"] for row in verdicts}
    feedback = {name: said for name, said in _feedback(content).items() if name not in known}
    open_ones = [row for row in verdicts if row["verdict_state"] != "learned"]
    feedback |= {row["name"]: row["verdict"] for row in open_ones[: max(0, _MOST_VERDICTS - len(feedback))]}
    config = dict(_mapping(content.get("config")))
    detection = {**_mapping(config.get("anomalyDetection")), "feedback": feedback}
    if not feedback:
        del detection["feedback"]
    config["anomalyDetection"] = detection
    if not detection:
        del config["anomalyDetection"]
    return {**content, "config": config}


def _feedback(content: Mapping[str, Any]) -> Mapping[str, Any]:
    config = _mapping(content.get("config"))
    return _mapping(_mapping(config.get("anomalyDetection")).get("feedback"))


def _mapping(given: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", given) if isinstance(given, Mapping) else {}
