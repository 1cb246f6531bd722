"""Where several processes count logins together; imported only where Redis is used, which is an extra."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from limits.aio.storage import RedisStorage, Storage

from iotistic.kernel.redis.link import connect
from iotistic.kernel.redis.settings import RedisSettings

_PATIENCE_S = 2.0  # a request ends by itself: nothing cancels it and waits


@asynccontextmanager
async def shared_counts(settings: RedisSettings) -> AsyncGenerator[Storage]:
    """Open the counts of `settings.redis_url`, for `Brake`. Raises RedisAway when no Redis is given."""
    client = connect(settings, name="iotistic-logins", patience_s=_PATIENCE_S)
    try:
        yield RedisStorage(
            settings.redis_url or "",
            wrap_exceptions=True,
            implementation="redispy",
            key_prefix="iotistic:1:logins",
            connection_pool=client.connection_pool,  # type: ignore[arg-type]  what redispy takes, by its docs
        )
    finally:
        await client.connection_pool.disconnect()
