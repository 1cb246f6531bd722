"""The parts that processes share through Redis; imported only when REDIS_URL is set."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator

import asyncpg

from iotistic.entrypoints.sharing import Shared
from iotistic.kernel.redis.cache import RedisCache
from iotistic.kernel.redis.channel import RedisChannel, RedisListener
from iotistic.kernel.redis.errors import RedisAway
from iotistic.kernel.redis.link import RedisLink
from iotistic.kernel.redis.settings import RedisSettings
from iotistic.kernel.web.health import Check, Degraded
from iotistic.telemetry.live.fanout import CHANNEL, ChannelFeed, ChannelReceiver
from iotistic.telemetry.live.hub import LiveHub
from iotistic.telemetry.resolve.directory import PostgresDirectory
from iotistic.telemetry.resolve.generation import Generation
from iotistic.telemetry.resolve.shared import SharedDirectory


@contextlib.asynccontextmanager
async def shared_parts(settings: RedisSettings, *, name: str) -> AsyncGenerator[Shared]:
    """Give the maker of one process's parts, with the link that they use running."""
    link = RedisLink(settings, name=f"iotistic-{name}")
    directories: list[SharedDirectory] = []

    def directory(behind: PostgresDirectory, pool: asyncpg.Pool) -> SharedDirectory:
        directories.append(SharedDirectory(behind, RedisCache(link), Generation(pool)))
        return directories[-1]

    running = asyncio.create_task(link.run(), name="redis link")
    try:
        yield Shared(
            directory=directory,
            feed=lambda _alone: ChannelFeed(RedisChannel(link, CHANNEL)),
            checks={"redis": lambda: _tell(link)},
            worker_prefix=f"{socket.gethostname()}/",
        )
    finally:
        for made in directories:
            await made.close()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@contextlib.asynccontextmanager
async def listening(settings: RedisSettings) -> AsyncGenerator[tuple[LiveHub, Check]]:
    """Give a hub that hears every storing process that publishes to this Redis, and its health check."""
    hub = LiveHub(None)
    listener = RedisListener(settings, CHANNEL)
    work = [
        asyncio.create_task(hub.run(), name="hub"),
        asyncio.create_task(listener.run(ChannelReceiver(hub).receive), name="live channel"),
    ]
    try:
        yield hub, lambda: _tell(listener)
    finally:
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)


async def _tell(used: RedisLink | RedisListener) -> None:
    reason: RedisAway | None = used.away
    if reason is not None:
        raise Degraded(reason.message)
