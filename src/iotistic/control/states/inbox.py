"""What devices say of themselves over MQTT: `iot/device/{uuid}/state` or `state/{uuid}`, QoS 1.

    broker --> receive --> [reports of one read, each device's in order] --> store --> acknowledge

A device whose publish was acknowledged tells a thing once, unless its broker ends soon after. So the broker keeps
reports for us while we are away (a session that stays), and hears that we have them only once they are stored; after
`kill -9` they come again, and storing a report twice changes nothing. That a device writes on its own topic only is
what the broker sees to.

One process of an installation reads: the session has one name. The others wait for a lock in the database.
"""

import asyncio
import contextlib
import json
import random
import re
from collections.abc import Sequence
from typing import Any, Protocol

import asyncpg
import structlog
from prometheus_client import Counter

from iotistic.control.states.model import ReportInvalid, reported_fields
from iotistic.kernel.errors import IotisticError, Unavailable
from iotistic.kernel.mqtt.bulk import BulkSubscriber
from iotistic.kernel.postgres.pool import database_errors

log = structlog.get_logger()

FILTERS = ("iot/device/+/state", "state/+")
_UUID = rb"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
_TOPIC = re.compile(rb"(?:iot/device/" + _UUID + rb"/state|state/" + _UUID + rb")")
_MOST_BYTES = 2 * 1024 * 1024
_AT_ONCE = 8
_LOCK = 0x7374_6174  # "stat"
_LOOK_S = 5.0
_RETRY_FIRST_S, _RETRY_MOST_S = 0.2, 10.0

REPORTS = Counter("iotistic_state_reports_by_mqtt", "Reports that devices published", ["outcome"])


class Reports(Protocol):
    """Where reports go."""

    async def report(self, uuid: str, fields: dict[str, Any]) -> None:
        """Store what a device says; what cannot be understood raises IotisticError."""
        ...


class StateInbox:
    """Reads until `stop` is called."""

    def __init__(self, pool: asyncpg.Pool, subscriber: BulkSubscriber, reports: Reports) -> None:
        self._pool, self._subscriber, self._reports = pool, subscriber, reports
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Wait for the turn, then read; whatever fails is tried again."""
        working = asyncio.create_task(self._work())
        stopped = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait((working, stopped), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            working.cancel()
            await asyncio.gather(working, stopped, return_exceptions=True)
            await self._subscriber.close()

    def stop(self) -> None:
        """Read nothing more; what was not acknowledged comes again."""
        self._stopping.set()

    async def _work(self) -> None:
        pause_s, told = _RETRY_FIRST_S, ""
        while True:
            try:
                async with self._turn() as is_ours:
                    if is_ours:
                        await self._read()
                pause_s, told = _LOOK_S, ""
            except (IotisticError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as exc:
                self._subscriber.abandon()
                if told != (told := type(exc).__name__):
                    log.warning("reports.not_read", reason=str(exc))
                pause_s = min(max(pause_s, _RETRY_FIRST_S) * 2, _RETRY_MOST_S)
            await asyncio.sleep(pause_s * random.uniform(0.5, 1))  # noqa: S311  jitter

    @contextlib.asynccontextmanager
    async def _turn(self):  # noqa: ANN202  a context manager of bool
        """Hold the lock that lets one process read; it goes with the connection."""
        with database_errors():
            connection = await self._pool.acquire()
        try:
            with database_errors():
                is_ours = await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK)
            yield bool(is_ours)
        finally:
            with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                await connection.fetchval("SELECT pg_advisory_unlock_all()")
            await self._pool.release(connection)

    async def _read(self) -> None:
        resumed = await self._subscriber.connect()
        log.info("reports.reading", session_resumed=resumed)
        while True:
            delivery = await self._subscriber.receive()
            for part in delivery.parts:
                await self._store(part.topics(), part.payloads())
            self._subscriber.acknowledge(delivery.receipt)

    async def _store(self, topics: Sequence[bytes], payloads: Sequence[bytes]) -> None:
        """Store what one read held: of each device in order, devices beside each other."""
        by_device: dict[str, list[bytes]] = {}
        for topic, payload in zip(topics, payloads, strict=True):
            if found := _TOPIC.fullmatch(topic):
                by_device.setdefault((found[1] or found[2]).decode(), []).append(payload)
            else:
                REPORTS.labels("not_a_device").inc()
        free = asyncio.Semaphore(_AT_ONCE)
        storing = (self._store_of(uuid, said, free) for uuid, said in by_device.items())
        failures = [one for one in await asyncio.gather(*storing, return_exceptions=True) if one]
        for failure in failures:
            raise failure  # one is as good as many: nothing of this read is acknowledged

    async def _store_of(self, uuid: str, said: Sequence[bytes], free: asyncio.Semaphore) -> None:
        async with free:
            for payload in said:
                try:
                    await self._reports.report(uuid, _read_report(uuid, payload))
                except Unavailable:
                    raise
                except IotisticError as exc:
                    REPORTS.labels("refused").inc()
                    log.info("report.refused", device_uuid=uuid, code=exc.code, reason=exc.message)
                else:
                    REPORTS.labels("stored").inc()


def _read_report(uuid: str, payload: bytes) -> dict[str, Any]:
    """Return what a message says of the device that its topic names. Raises ReportInvalid."""
    if len(payload) > _MOST_BYTES:
        raise ReportInvalid(f"the report has {len(payload)} bytes")
    try:
        document = json.loads(payload)
    except (ValueError, RecursionError) as exc:
        raise ReportInvalid("the report is not JSON") from exc
    return reported_fields(document, uuid)
