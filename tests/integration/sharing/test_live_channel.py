"""The live feed over a real Redis: everybody sees the same, nobody waits, gaps are told."""

import asyncio
import time
from contextlib import asynccontextmanager

import numpy as np
import pytest
from sharing_builders import background, linked, quick, until

from iotistic.kernel.redis.channel import RedisChannel, RedisListener
from iotistic.kernel.redis.metrics import READY
from iotistic.telemetry.live.fanout import CHANNEL, ChannelFeed, ChannelReceiver
from iotistic.telemetry.live.frames import EventsFrame, LiveEvent, encode_events, encode_readings
from iotistic.telemetry.live.hub import LiveHub
from iotistic.telemetry.live.subscription import LiveFilter

EVERYTHING = LiveFilter()


def frame(rows: int, *, first: int = 0) -> bytes:
    numbers = np.arange(first, first + rows)
    return encode_readings(0, numbers.astype("i8"), numbers.astype("i4"), numbers.astype("i4"), numbers * 1.0)


@asynccontextmanager
async def feeding(redis, *, buffer_bytes: int = 1_000_000):
    """Return a storing process's feed over a link of its own, and that link."""
    async with linked(redis.settings()) as link:
        feed = ChannelFeed(RedisChannel(link, CHANNEL), buffer_bytes=buffer_bytes)
        await feed.start()
        yield feed, link
        await feed.close()


@asynccontextmanager
async def hearing(redis):
    """Return an API process's hub, listening."""
    hub = LiveHub(None)
    listener = RedisListener(redis.settings(), CHANNEL, breaker=quick(), quiet_s=0.3)
    async with background(listener.run(ChannelReceiver(hub).receive)):
        await until(lambda: listener.away is None)
        yield hub, listener


async def taken(subscription, *, rows: int):
    """Take until that many rows came or were told as lost; return the values and the number lost."""
    values, lost = [], 0
    while len(values) + lost < rows:
        delivery = await subscription.take(within_s=10)
        assert delivery is not None, "nothing came"
        values += [value for batch in delivery.readings for value in batch.values.tolist()]
        lost += delivery.dropped
    return values, lost


async def test_two_listeners_get_the_same_of_two_senders(redis):
    async with (
        hearing(redis) as (one, _),
        hearing(redis) as (two, _),
        feeding(redis) as (first, _),
        feeding(redis) as (second, _),
    ):
        with one.subscribe(EVERYTHING) as at_one, two.subscribe(EVERYTHING) as at_two:
            first.publish(frame(3))
            second.publish(frame(3, first=10))

            assert {len(set((await taken(at, rows=6))[0])) for at in (at_one, at_two)} == {6}


async def test_rows_stored_while_nobody_listened_are_told_to_who_comes_back(redis):
    async with hearing(redis) as (hub, listener), feeding(redis) as (feed, link):
        with hub.subscribe(EVERYTHING) as subscription:
            feed.publish(frame(2))
            assert await taken(subscription, rows=2) == ([0.0, 1.0], 0)

            redis.kill()
            await until(lambda: listener.away and not link.ready)
            feed.unheard(40)
            redis.start()
            await until(lambda: listener.away is None and link.ready)
            feed.publish(frame(1))

            assert await taken(subscription, rows=41) == ([0.0], 40)


async def test_a_frozen_redis_holds_no_sender_up_and_takes_bounded_memory(redis):
    async with hearing(redis) as (hub, _), feeding(redis, buffer_bytes=100_000) as (feed, _):
        with hub.subscribe(EVERYTHING) as subscription:
            feed.publish(frame(1))
            await taken(subscription, rows=1)
            redis.freeze()
            started = time.monotonic()
            for _ in range(500):
                feed.publish(frame(100))
                await asyncio.sleep(0)
            spent_s = time.monotonic() - started
            redis.thaw()
            await until(lambda: feed.consumers)
            feed.publish(frame(1))
            values, lost = await taken(subscription, rows=50_001)

    assert spent_s < 1
    assert feed._waiting_bytes <= 100_000
    assert lost == feed.dropped_rows > 40_000
    assert values[-1] == 0.0


async def test_text_readings_that_were_dropped_are_counted_too(redis):
    texts = encode_events(EventsFrame(0, [LiveEvent(0, 1, 1, "0451")] * 3))
    async with hearing(redis) as (hub, _), feeding(redis) as (feed, _):
        with hub.subscribe(EVERYTHING) as subscription:
            feed.publish(frame(1))
            await taken(subscription, rows=1)
            feed._buffer_bytes = 0
            feed.publish(texts)
            feed._buffer_bytes = 1_000_000
            feed.publish(frame(1))

            assert await taken(subscription, rows=4) == ([0.0], 3)


@pytest.mark.parametrize("garbage", ["", "x", "short of a header", "y" * 24, "z" * 200])
async def test_garbage_on_the_channel_is_skipped(redis, garbage):
    async with hearing(redis) as (hub, _), feeding(redis) as (feed, _):
        with hub.subscribe(EVERYTHING) as subscription:
            redis.command("PUBLISH", CHANNEL, garbage)
            feed.publish(frame(2))

            assert await taken(subscription, rows=2) == ([0.0, 1.0], 0)


async def test_a_process_that_only_listens_shows_whether_redis_answers(redis):
    async with hearing(redis) as (_, listener):
        heard = READY.collect()[0].samples[0].value
        redis.kill()
        await until(lambda: listener.away)

        assert (heard, READY.collect()[0].samples[0].value) == (1, 0)
        redis.start()


async def test_a_listener_with_a_wrong_password_says_so_and_goes_on_trying(redis):
    listener = RedisListener(redis.settings(password="wrong"), CHANNEL, breaker=quick())
    async with background(listener.run(lambda _message: None)):
        await until(lambda: "password" in listener.away.message)
