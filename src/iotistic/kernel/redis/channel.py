"""Messages to everybody who listens on a channel now. Redis keeps none: who is away misses them."""

import asyncio
from collections.abc import Callable
from typing import Any

import structlog
from redis.asyncio.client import PubSub

from iotistic.kernel.redis.breaker import Breaker
from iotistic.kernel.redis.errors import FAULTS, RedisAway, away
from iotistic.kernel.redis.link import RedisLink, connect
from iotistic.kernel.redis.metrics import FAILURES, READY
from iotistic.kernel.redis.settings import RedisSettings

log = structlog.get_logger()

_PUBLISH_WITHIN_S = 2.0  # a large message over a slow network; nobody's work waits for it
_ANSWER_WITHIN_S = 2.0
_QUIET_S = 3.0
_MOST_PAUSE_S = 5.0


class RedisChannel:
    """The sending side of a channel."""

    def __init__(self, link: RedisLink, name: str) -> None:
        self._link = link
        self._name = name

    async def publish(self, message: bytes) -> int:
        """Return how many listeners got `message`. Raises RedisAway."""
        return await self._link.ask(
            lambda redis: redis.publish(self._name, message), what="publish", within_s=_PUBLISH_WITHIN_S
        )

    async def until_ready(self) -> None:
        """Wait for as long as Redis is left alone."""
        await self._link.until_ready()


class RedisListener:
    """The receiving side of a channel, on a connection of its own; connects again by itself."""

    def __init__(
        self,
        settings: RedisSettings,
        name: str,
        *,
        breaker: Breaker | None = None,
        quiet_s: float = _QUIET_S,
    ) -> None:
        self._quiet_s = quiet_s
        self._settings = settings
        self._name = name
        self._breaker = breaker or Breaker(most_s=_MOST_PAUSE_S)
        self.away: RedisAway | None = RedisAway("Redis has not answered yet")
        """Why nothing is heard now, None while it is listened."""

    async def run(self, receive: Callable[[bytes], None]) -> None:
        """Call `receive` with every message until cancelled; it must return at once."""
        while True:
            redis = connect(self._settings, name="iotistic-listener")
            try:
                async with redis.pubsub() as pubsub:
                    await self._listen(pubsub, receive)
            except FAULTS as exc:
                self._lose(exc)
            finally:
                await redis.connection_pool.disconnect()
            await asyncio.sleep(self._breaker.failed())

    async def _listen(self, pubsub: PubSub, receive: Callable[[bytes], None]) -> None:
        """Receive until the connection fails, or is silent although it was asked to speak."""
        async with asyncio.timeout(_ANSWER_WITHIN_S):
            await pubsub.subscribe(self._name)
        asked = True
        while True:
            message: dict[str, Any] | None = await pubsub.get_message(timeout=self._quiet_s)
            if message is not None:
                asked = False
                if message["type"] == "message":
                    receive(message["data"])
                elif message["type"] == "subscribe":
                    self._hear()
            elif asked:
                raise TimeoutError
            else:
                async with asyncio.timeout(_ANSWER_WITHIN_S):
                    await pubsub.ping()
                asked = True

    def _hear(self) -> None:
        self._breaker.succeeded()
        self.away = None
        READY.set(1)
        log.info("redis.listening", channel=self._name)

    def _lose(self, exc: BaseException) -> None:
        reason = away(exc)
        FAILURES.labels("listen").inc()
        if self.away is None or self.away.message != reason.message:
            log.warning("redis.listening_lost", channel=self._name, reason=reason.message)
        self.away = reason
        READY.set(0)
