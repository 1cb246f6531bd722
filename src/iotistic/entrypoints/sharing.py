"""What processes have in common through Redis, or each for itself without: look-up cache and live feed.

    async with sharing(settings, name="ingest-0") as shared:
        directory = shared.directory(PostgresDirectory(pool, policy), pool)
        feed = shared.feed(lambda: LiveFeedServer(path))

The Redis client is imported only when REDIS_URL is set.
"""

import asyncio
import contextlib
import importlib
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Protocol

import asyncpg

from iotistic.kernel.errors import Invalid
from iotistic.kernel.redis.settings import RedisSettings
from iotistic.kernel.web.health import Check
from iotistic.telemetry.live.feed import Feed
from iotistic.telemetry.live.hub import LiveHub
from iotistic.telemetry.resolve.directory import PostgresDirectory
from iotistic.telemetry.resolve.resolver import Directory

Checks = Mapping[str, Check]


class RedisMissing(Invalid):
    """REDIS_URL is set, and the Redis client is not installed."""

    code = "redis.missing"


class ForgettingDirectory(Directory, Protocol):
    """A directory that may keep what it looked up."""

    def forget(self) -> None:
        """Hear of a change of metadata; to be called before the resolver's."""
        ...


@dataclass(frozen=True)
class Shared:
    """Makes the parts of one process."""

    directory: Callable[[PostgresDirectory, asyncpg.Pool], ForgettingDirectory]
    """Puts a directory in front of the one that is given."""
    feed: Callable[[Callable[[], Feed]], Feed]
    """Makes the feed to tell of stored batches; given what to make when there is no Redis."""
    checks: Checks = field(default_factory=dict[str, Check])
    worker_prefix: str = ""
    """Put before a worker's name where workers of several machines meet."""


@contextlib.asynccontextmanager
async def sharing(settings: RedisSettings, *, name: str) -> AsyncGenerator[Shared]:
    """Give the maker of the parts, which work while the block runs. Raises RedisMissing."""
    if settings.redis_url is None:
        yield Shared(lambda behind, _pool: behind, lambda alone: alone())
        return
    async with _redis_parts().shared_parts(settings, name=name) as shared:
        yield shared


@contextlib.asynccontextmanager
async def live_hub(settings: RedisSettings, run_folder: Path) -> AsyncGenerator[tuple[LiveHub, Checks]]:
    """Give a running hub of the live feed and its health checks. Raises RedisMissing."""
    if settings.redis_url is not None:
        async with _redis_parts().listening(settings) as (hub, check):
            yield hub, {"redis": check}
        return
    hub = LiveHub(run_folder)
    running = asyncio.create_task(hub.run(), name="hub")
    try:
        yield hub, {}
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def _redis_parts() -> ModuleType:
    try:
        return importlib.import_module("iotistic.entrypoints.sharing_redis")
    except ModuleNotFoundError as exc:
        raise RedisMissing(hint="pip install 'iotistic[redis]'") from exc
