"""A connection to Redis that is used only while it is known to answer.

    left alone --a PING is answered--> ready --a command fails or takes too long--> left alone

Only the probe in `run` waits for a Redis that is away: commands are refused at once until it has an answer.
So whoever could work faster with Redis loses one short wait when it goes away, and nothing while it is.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from iotistic.kernel.redis.breaker import Breaker
from iotistic.kernel.redis.errors import FAULTS, RedisAway, away
from iotistic.kernel.redis.metrics import FAILURES, READY
from iotistic.kernel.redis.settings import RedisSettings

log = structlog.get_logger()

T = TypeVar("T")

_PROBE_WITHIN_S = 2.0
_ASK_EVERY_S = 5.0


def connect(settings: RedisSettings, *, name: str, patience_s: float | None = None) -> Redis:
    """Return a client that connects when first used and never tries anything twice by itself.

    `patience_s` is how long the driver waits for an answer; None leaves that to the caller, as whoever is cancelled
    must: the driver waits by asyncio.wait_for, which in Python 3.11 now and then takes a cancellation for an answer.
    """
    if settings.redis_url is None:
        raise RedisAway("no Redis is given", hint="set REDIS_URL")
    password = settings.redis_password
    pool = ConnectionPool.from_url(
        settings.redis_url,
        password=password.get_secret_value() if password else None,
        socket_timeout=patience_s,
        socket_connect_timeout=_PROBE_WITHIN_S,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        client_name=name,
        driver_info=None,
    )
    return Redis.from_pool(pool)


class RedisLink:
    """Commands to one Redis; `run` it as a task for the life of the process."""

    def __init__(
        self,
        settings: RedisSettings,
        *,
        name: str,
        breaker: Breaker | None = None,
        ask_every_s: float = _ASK_EVERY_S,
    ) -> None:
        self._ask_every_s = ask_every_s
        self._redis = connect(settings, name=name)
        self._timeout_s = settings.redis_timeout_ms / 1000
        self._breaker = breaker or Breaker()
        self._answers = asyncio.Event()
        self._failed = asyncio.Event()
        self.away: RedisAway | None = RedisAway("Redis has not answered yet")
        """Why Redis is not used now, None while it is."""

    @property
    def ready(self) -> bool:
        """Whether Redis is used now."""
        return self.away is None

    async def until_ready(self) -> None:
        """Wait for as long as Redis is left alone."""
        await self._answers.wait()

    async def ask(
        self, command: Callable[[Redis], Awaitable[T]], *, what: str, within_s: float | None = None
    ) -> T:
        """Return what `command` returns. Raises RedisAway, at once while Redis is left alone.

        `within_s` takes the place of the setting's time-out.
        """
        if self.away is not None:
            raise self.away
        try:
            async with asyncio.timeout(within_s or self._timeout_s):
                return await command(self._redis)
        except FAULTS as exc:
            raise self._lose(exc, what) from exc

    async def run(self) -> None:
        """Probe until cancelled: after a failure at growing intervals, otherwise every few seconds."""
        try:
            while True:
                self._failed.clear()
                try:
                    async with asyncio.timeout(_PROBE_WITHIN_S):
                        await self._redis.ping()
                except FAULTS as exc:
                    self._lose(exc, "probe")
                else:
                    self._use()
                    await self._until_failure(self._ask_every_s)
                if self.away is not None:
                    await self._redis.connection_pool.disconnect(inuse_connections=False)
                    await asyncio.sleep(self._breaker.failed())
        finally:
            await self.close()

    async def close(self) -> None:
        """Close the connections."""
        READY.set(0)
        with contextlib.suppress(*FAULTS):
            await self._redis.connection_pool.disconnect()

    async def _until_failure(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._failed.wait()

    def _use(self) -> None:
        self._breaker.succeeded()
        READY.set(1)
        if self.away is not None:
            self.away = None
            self._answers.set()
            log.info("redis.used")

    def _lose(self, exc: BaseException, what: str) -> RedisAway:
        reason = away(exc)
        FAILURES.labels(what).inc()
        if self.away is None or self.away.message != reason.message:
            log.warning("redis.left_alone", during=what, reason=reason.message)
        self.away = reason
        self._answers.clear()
        self._failed.set()
        READY.set(0)
        return reason
