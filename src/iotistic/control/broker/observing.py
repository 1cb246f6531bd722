"""Looks at the broker's traffic for a second of every half minute.

    lock -> connect -> subscribe (QoS 0) -> count -> leave -> keep

Subscribed all the time, this would be one more reader of every message, which is what a broker's work is. A sample
ends early when it has seen enough, so that even a flood costs a few thousand messages. Readings are not touched:
their sessions and ours have nothing in common. One process samples at a time; a sample that is cut off is lost.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from datetime import datetime
from socket import gethostname

import asyncpg
import structlog

from iotistic.control.broker.sampling import Sample
from iotistic.control.broker.service import utc_now
from iotistic.control.broker.settings import BrokerSampleSettings
from iotistic.control.broker.traffic import TrafficStore, too_old
from iotistic.kernel.errors import IotisticError
from iotistic.kernel.mqtt.client import connect
from iotistic.kernel.mqtt.settings import MqttSettings
from iotistic.kernel.postgres.pool import database_errors

log = structlog.get_logger()

_LOCK = 0x6D71_7473
_FILTERS = ("$SYS/broker/#", "#")
_CONNECT_WITHIN_S = 5.0
_FORGET_EVERY = 120

# InterfaceError: what a pool says of a connection that it lost while somebody held it.
_TROUBLE = (IotisticError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)


class BrokerObserver:
    """The background part."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        store: TrafficStore,
        mqtt: MqttSettings,
        settings: BrokerSampleSettings,
        *,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._pool, self._store, self._mqtt, self._settings, self._clock = pool, store, mqtt, settings, clock
        self._client_id = f"iotistic-observer-{gethostname()}-{os.getpid()}"
        self._stopping = asyncio.Event()
        self._rounds = 0
        self._failing = False

    async def run(self) -> None:
        """Sample until `stop` is called."""
        while not self._stopping.is_set():
            try:
                await self.look()
                self._failing = False
            except _TROUBLE as exc:
                if not self._failing:
                    log.warning("broker_sample.failed", error=str(exc))
                self._failing = True
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.broker_sample_every_s):
                    await self._stopping.wait()

    def stop(self) -> None:
        """Take no further sample."""
        self._stopping.set()

    async def look(self) -> bool:
        """Take one sample and keep it; return False when another process does."""
        with database_errors():
            async with self._pool.acquire() as holder:
                if not await holder.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
                    return False
                try:
                    await self._sample()
                finally:
                    with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                        await holder.execute("SELECT pg_advisory_unlock($1)", _LOCK)
        return True

    async def _sample(self) -> None:
        sample, lasted_s = await self._listen()
        scale = max(1.0, self._settings.broker_sample_every_s / max(lasted_s, 0.001))
        now = self._clock()
        await self._store.add(sample, scale=scale, now=now)
        if self._rounds % _FORGET_EVERY == 0:
            settings = self._settings
            await self._store.forget(
                topics_before=too_old(now, settings.broker_topic_days),
                stats_before=too_old(now, settings.broker_stats_days),
            )
        self._rounds += 1

    async def _listen(self) -> tuple[Sample, float]:
        """Return what was seen, and in how many seconds."""
        sample, settings = Sample(), self._settings
        async with connect(self._mqtt, client_id=self._client_id, within_s=_CONNECT_WITHIN_S) as client:
            for topic_filter in _FILTERS:
                await client.subscribe(topic_filter, qos=0)
            began = time.monotonic()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(settings.broker_sample_s):
                    async for message in client.messages():
                        sample.add(str(message.topic), message.payload, retained=bool(message.retain))
                        if sample.messages >= settings.broker_sample_messages:
                            break
            return sample, time.monotonic() - began
