"""Running parts of the code under test, with pauses that a test can wait for."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from iotistic.kernel.redis.breaker import Breaker
from iotistic.kernel.redis.link import RedisLink
from iotistic.kernel.redis.settings import RedisSettings


def quick() -> Breaker:
    return Breaker(first_s=0.02, most_s=0.2)


async def until(condition: Callable[[], object], *, within_s: float = 10) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - other processes set no event
            await asyncio.sleep(0.005)


@asynccontextmanager
async def background(work) -> AsyncIterator[None]:
    """Run a coroutine while the block runs."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def linked(settings: RedisSettings) -> AsyncIterator[RedisLink]:
    """Return a link that Redis has answered on."""
    link = RedisLink(settings, name="test", breaker=quick(), ask_every_s=0.2)
    async with background(link.run()):
        await until(lambda: link.ready)
        yield link
