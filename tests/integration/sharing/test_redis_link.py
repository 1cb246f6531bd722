"""The link to Redis: used while it answers, left alone while it does not."""

import time

import pytest
from sharing_builders import background, linked, quick, until

from iotistic.kernel.redis.cache import RedisCache
from iotistic.kernel.redis.errors import RedisAway
from iotistic.kernel.redis.link import RedisLink


async def test_values_come_back_by_key(redis):
    async with linked(redis.settings()) as link:
        cache = RedisCache(link)
        await cache.remember({f"key-{n}": b"value %d" % n for n in range(1200)}, kept_s=60)

        found = await cache.recall([f"key-{n}" for n in range(1300)])

    assert found == {f"key-{n}": b"value %d" % n for n in range(1200)}
    assert 0 < int(redis.command("TTL", "key-7")) <= 60


async def test_a_key_of_another_kind_counts_as_missing_and_is_overwritten(redis):
    redis.command("RPUSH", "key", "a", "list")
    async with linked(redis.settings()) as link:
        cache = RedisCache(link)
        before = await cache.recall(["key"])
        await cache.remember({"key": b"v"}, kept_s=60)
        after = await cache.recall(["key"])

    assert (before, after) == ({}, {"key": b"v"})


async def test_a_frozen_redis_costs_one_time_out_and_then_nothing(redis):
    async with linked(redis.settings(timeout_ms=100)) as link:
        cache = RedisCache(link)
        redis.freeze()
        started = time.monotonic()
        with pytest.raises(RedisAway, match="did not answer in time"):
            await cache.recall(["key"])
        first_s = time.monotonic() - started
        for _ in range(1000):
            with pytest.raises(RedisAway):
                await cache.recall(["key"])
        all_s = time.monotonic() - started

        assert first_s < 1
        assert all_s - first_s < 1
        redis.thaw()
        await until(lambda: link.ready)
        assert await cache.recall(["key"]) == {}


async def test_a_killed_redis_is_used_again_when_it_is_back(redis):
    async with linked(redis.settings()) as link:
        redis.kill()
        await until(lambda: not link.ready)  # found by the probe, without anybody asking for anything
        redis.start()
        await until(lambda: link.ready)

        assert await RedisCache(link).recall(["key"]) == {}


async def test_a_wrong_password_is_told_without_showing_it(redis):
    link = RedisLink(redis.settings(password="wrong-password"), name="test", breaker=quick())
    async with background(link.run()):
        await until(lambda: "password" in link.away.message)

    assert "wrong-password" not in link.away.message
    assert "REDIS_PASSWORD_FILE" in link.away.hint
    with pytest.raises(RedisAway):
        await RedisCache(link).recall(["key"])
