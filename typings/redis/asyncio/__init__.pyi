# The part of redis-py that this project uses; the driver leaves keyword arguments untyped.

from redis.asyncio.client import Pipeline, PubSub, Redis
from redis.asyncio.connection import ConnectionPool

__all__ = ["ConnectionPool", "Pipeline", "PubSub", "Redis"]
