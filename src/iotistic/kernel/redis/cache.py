"""Values under keys with an age limit, many at a time."""

from collections.abc import Mapping, Sequence

from redis.asyncio import Redis

from iotistic.kernel.redis.link import RedisLink

_ASK_KEYS = 500
"""Keys asked for at once: an answer stays far below the time-out of a look-up."""
_STORE_KEYS = 200
"""Keys stored at once: a slice of work after which others have their turn."""
_STORE_WITHIN_S = 1.0  # nobody waits for it


class RedisCache:
    """A cache whose every failure means that the value is not there."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link

    @property
    def ready(self) -> bool:
        """Whether asking makes sense now."""
        return self._link.ready

    async def recall(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Return what is stored under `keys`. Raises RedisAway."""
        found: dict[str, bytes] = {}
        for start in range(0, len(keys), _ASK_KEYS):
            some = keys[start : start + _ASK_KEYS]
            values = await self._link.ask(lambda redis: redis.mget(some), what="recall")  # noqa: B023  awaited at once
            found |= {key: value for key, value in zip(some, values, strict=True) if value is not None}
        return found

    async def remember(self, values: Mapping[str, bytes], *, kept_s: int) -> None:
        """Store `values` for `kept_s` seconds, over whatever is there. Raises RedisAway."""
        pairs = list(values.items())
        for start in range(0, len(pairs), _STORE_KEYS):
            some = dict(pairs[start : start + _STORE_KEYS])
            await self._link.ask(
                lambda redis: _store(redis, some, kept_s),  # noqa: B023  awaited at once
                what="remember",
                within_s=_STORE_WITHIN_S,
            )


async def _store(redis: Redis, values: Mapping[str, bytes], kept_s: int) -> None:
    async with redis.pipeline(transaction=False) as pipeline:
        for key, value in values.items():
            pipeline.set(key, value, ex=kept_s)
        await pipeline.execute()
