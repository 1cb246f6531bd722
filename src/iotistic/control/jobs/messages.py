"""Jobs over MQTT.

iot/device/{uuid}/jobs/notify-next              a job waits, or was cancelled       to the device
iot/device/{uuid}/jobs/{job}/update             how it stands                       from the device
iot/device/{uuid}/jobs/{job}/update/accepted    it is stored, and how it stands     to the device
iot/device/{uuid}/jobs/start-next               what is next? (/accepted)           from the device

What devices write, they may also write below agent/{uuid}/ instead of iot/device/{uuid}/; answers go where they
asked. That a device writes on its own topics only is what the broker's access rules see to. Nothing hangs on a message:
what is lost is asked for by the next poll, told again over HTTP, or announced again (due_parts.told, reminding.py).
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

import asyncpg
import structlog

from iotistic.contracts.job_messages import notify_topic
from iotistic.contracts.provisioning.fields import write_time
from iotistic.control.jobs import due_parts, metrics
from iotistic.control.jobs.delivery import DeviceJobs, Told, announced
from iotistic.control.jobs.part_rows import PartRow
from iotistic.kernel.errors import IotisticError, Unavailable
from iotistic.kernel.postgres.pool import database_errors

log = structlog.get_logger()

FILTERS = (
    "iot/device/+/jobs/+/update",
    "iot/device/+/jobs/start-next",
    "agent/+/jobs/+/update",
    "agent/+/jobs/start-next",
)
"""What devices write; `$share/<group>/` before them when several processes listen."""
_UUID = r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
_UPDATE = re.compile(rf"(?:iot/device|agent)/{_UUID}/jobs/{_UUID}/update")
_START = re.compile(rf"(?:iot/device|agent)/{_UUID}/jobs/start-next")
_MOST_BYTES = 1024 * 1024
_AT_ONCE = 100
_LEASE = timedelta(seconds=60)
_EXPIRY_S = 600


class Publisher(Protocol):
    """Sends a message to a broker."""

    async def publish(self, topic: str, payload: bytes, *, expiry_s: int | None = None) -> None:
        """Return once the broker has it; it need not keep it longer than `expiry_s`. Raises IotisticError."""
        ...


class Incoming(Protocol):
    """A message as it came."""

    @property
    def topic(self) -> object:
        """Its topic; `str` gives the text."""
        ...

    @property
    def payload(self) -> object:
        """Bytes, where it has any."""
        ...


class Listening(Protocol):
    """A connection to a broker that stays."""

    async def subscribe(self, topic_filter: str, *, qos: int = 1) -> None:
        """Subscribe now and after each reconnect."""
        ...

    def messages(self) -> AsyncIterator[Incoming]:
        """Yield messages as they come."""
        ...


class Announcer:
    """Tells devices of their jobs, and of those that were cancelled; several processes may."""

    def __init__(self, pool: asyncpg.Pool, publisher: Publisher, *, clock: Callable[[], datetime]) -> None:
        self._pool, self._publisher, self._clock = pool, publisher, clock

    async def announce(self) -> int:
        """Tell some of what is to be told; return how many. What the broker does not take is told a minute later."""
        now = self._clock()
        with database_errors():
            claimed = await due_parts.claim_untold(self._pool, now, now + _LEASE, _AT_ONCE)
        taken = await asyncio.gather(*(self._tell(row, now) for row in claimed))
        told = [row for row, is_taken in zip(claimed, taken, strict=True) if is_taken]
        metrics.DELIVERED.labels("announced").inc(len(told))
        metrics.DELIVERED.labels("unsent").inc(len(claimed) - len(told))
        if told:
            with database_errors():
                await due_parts.told(self._pool, told, now)
        return len(told)

    async def _tell(self, row: PartRow, now: datetime) -> bool:
        topic = notify_topic(str(row.device_uuid))
        try:
            await self._publisher.publish(topic, _json(announced(row, now)), expiry_s=_EXPIRY_S)
        except IotisticError as exc:
            log.warning(
                "job.not_announced", job_id=str(row.job_id), device_uuid=str(row.device_uuid), code=exc.code
            )
            return False
        return True


class JobUpdates:
    """Hears what devices say of their jobs, and answers once it is stored."""

    def __init__(self, jobs: DeviceJobs, publisher: Publisher, *, clock: Callable[[], datetime]) -> None:
        self._jobs, self._publisher, self._clock = jobs, publisher, clock

    async def run(self, link: Listening, *, shared_as: str = "jobs") -> None:
        """Listen until cancelled."""
        for topic_filter in FILTERS:
            await link.subscribe(f"$share/{shared_as}/{topic_filter}")
        async for message in link.messages():
            payload = message.payload
            await self.hear(str(message.topic), payload if isinstance(payload, bytes) else b"")

    async def hear(self, topic: str, payload: bytes) -> None:
        """Take one message; what is no report is logged and dropped, and never ends the listening."""
        try:
            if found := _UPDATE.fullmatch(topic):
                await self._update(topic, UUID(found[1]), UUID(found[2]), _read(payload))
            elif found := _START.fullmatch(topic):
                await self._start_next(topic, UUID(found[1]), _read(payload))
        except Unavailable as exc:
            log.warning("job.report_lost", topic=topic, code=exc.code, reason=exc.message)
        except IotisticError as exc:
            log.info("job.report_refused", topic=topic, code=exc.code, reason=exc.message)
        except (asyncpg.PostgresError, TimeoutError) as exc:
            log.warning("job.report_lost", topic=topic, code=type(exc).__name__, reason=str(exc))

    async def _update(self, topic: str, device: UUID, job_id: UUID, message: object) -> None:
        told: Told = await self._jobs.report(device, job_id, message)
        state = {"status": told.status.value, "versionNumber": told.version}
        await self._answer(topic, {"executionState": state})

    async def _start_next(self, topic: str, device: UUID, message: object) -> None:
        found = await self._jobs.next(device)
        asked: dict[str, Any] = message if isinstance(message, dict) else {}  # pyright: ignore[reportUnknownVariableType]
        token = {"clientToken": asked["clientToken"]} if isinstance(asked.get("clientToken"), str) else {}
        nothing: dict[str, Any] = {"execution": {}}
        answer = nothing if found is None else announced(found, self._clock())
        await self._answer(topic, answer | token)

    async def _answer(self, topic: str, answer: dict[str, Any]) -> None:
        stamped = answer | {"timestamp": write_time(self._clock().timestamp())}
        await self._publisher.publish(f"{topic}/accepted", _json(stamped), expiry_s=_EXPIRY_S)


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _read(payload: bytes) -> object:
    """Return a message, None for what is none: whoever reads it refuses that."""
    if len(payload) > _MOST_BYTES:
        return None
    try:
        return json.loads(payload) if payload else {}
    except (ValueError, RecursionError):
        return None
