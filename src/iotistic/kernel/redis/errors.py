"""What goes wrong with Redis; none of it stops anybody."""

import asyncio

from redis.exceptions import AuthenticationError, RedisError

from iotistic.kernel.errors import Unavailable

FAULTS = (RedisError, OSError, TimeoutError, asyncio.IncompleteReadError)
"""Everything that the driver raises when the server is away, slow, refuses us or talks nonsense."""


class RedisAway(Unavailable):
    """Redis is not used at the moment."""

    code = "redis.unavailable"


def away(exc: BaseException) -> RedisAway:
    """Turn a driver's error into ours, with words that show no secret."""
    if isinstance(exc, AuthenticationError):
        return RedisAway(
            "Redis refuses the password", hint="check the user in REDIS_URL, and REDIS_PASSWORD_FILE"
        )
    if isinstance(exc, TimeoutError) or "imeout" in type(exc).__name__:
        return RedisAway("Redis did not answer in time")
    return RedisAway(f"Redis cannot be used: {str(exc) or type(exc).__name__}")
