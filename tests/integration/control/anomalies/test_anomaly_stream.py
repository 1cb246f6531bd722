"""Stored readings of devices without an agent are watched; what is unusual is seen over the API, once."""

import asyncio
import contextlib
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from anomaly_site import QUICK, look, wave

SCRIPT = Path(__file__).with_name("stream_process.py")


async def test_a_spike_of_a_device_without_an_agent_is_one_anomaly(site):
    series = await site.series()
    start = site.clock() - timedelta(seconds=400)
    await site.store(series, start, wave(390, _250=22.5, _252=60.0))

    async with site.watching() as turn:
        await look(turn)
        await look(turn)

    (found,) = await site.listed()
    assert found["origin"] == "stream"
    assert (found["metric"], found["unit"], found["value"], found["count"]) == ("flow", "l/s", 60.0, 2)
    assert found["deviceName"].startswith("pump")
    assert found["firstAt"] == (start + timedelta(seconds=250)).isoformat().replace("+00:00", "Z")
    assert found["context"]["recentValues"][-1] == 60.0
    assert found["expectedRange"][0] < 20 < found["expectedRange"][1]
    assert await site.get(f"/anomalies/{found['id']}") == found


async def test_it_says_what_it_watches_and_what_not(site):
    watched, silent = await site.series(), await site.series()
    start = site.clock() - timedelta(seconds=100)
    await site.store(watched, start, wave(30))

    async with site.watching() as turn:
        await look(turn)
        learning = await site.get("/anomalies/watch")
        await site.store(watched, start + timedelta(seconds=30), wave(60, 30))
        await look(turn)
        await turn.save()

    assert silent
    assert (learning["watching"], learning["learning"], learning["unwatched"]) == (1, 1, 1)
    status = await site.get("/anomalies/watch")
    assert (status["mode"], status["learning"], status["readings"]) == ("devices-without-agent", 0, 90)
    (row,) = (await site.get("/anomalies/watch/series"))["items"]
    assert (row["metric"], row["status"], row["seen"]) == ("flow", "watching", 90)


@pytest.mark.parametrize(("mode", "expected"), [("on", 1), ("devices-without-agent", 0)])
async def test_a_device_with_an_agent_is_watched_only_if_that_is_wanted(site, mode, expected):
    agent = await site.agent()
    await site.report(agent, is_online=True)
    series = await site.series(uuid=agent[0])
    await site.store(series, site.clock() - timedelta(seconds=400), wave(390, _250=45.0))

    async with site.watching(anomaly_stream=mode) as turn:
        await look(turn)

    assert len(await site.listed(deviceUuid=agent[0])) == expected


async def test_what_a_device_sends_after_an_hour_away_is_judged_in_its_order(site):
    series = await site.series()
    start = site.clock() - timedelta(seconds=3600)
    await site.store(series, start, wave(200))
    async with site.watching() as turn:
        await look(turn)
        # A gap of most of an hour, filled afterwards by the device itself.
        await site.store(series, start + timedelta(seconds=200), wave(3000, 200, _1500=70.0))
        await look(turn)

        (found,) = await site.listed()
        # Behind what was judged: a detector cannot be set back, and nothing is told twice.
        await site.store(series, start + timedelta(seconds=0.5), [900.0] * 100)
        await look(turn)

    assert found["value"] == 70.0
    assert await site.listed() == [found]


async def test_when_there_is_no_room_those_that_speak_take_the_place_of_those_that_are_silent(site):
    old, new = await site.series(), await site.series()
    await site.store(old, site.clock() - timedelta(seconds=100), wave(90))
    async with site.watching(anomaly_stream_series=1, anomaly_stream_silent_s=600) as turn:
        await look(turn)
        await site.store(new, site.clock() - timedelta(seconds=50), wave(40))
        await turn.scan(site.clock())
        first = [one.key for one in turn.watch.series]

        site.clock.forward(1000)
        await site.store(new, site.clock() - timedelta(seconds=50), wave(40))
        await turn.scan(site.clock())
        second = [one.key for one in turn.watch.series]
        await look(turn)

    assert (first, second) == ([old], [new])
    assert (await site.get("/anomalies/watch"))["unwatched"] == 1
    rows = await site.pool.fetch(
        "SELECT seen, state IS NOT NULL AS is_kept FROM anomaly_series ORDER BY device_id"
    )
    assert [tuple(row) for row in rows] == [(90, True), (0, False)]


async def test_what_was_learned_goes_on_after_a_restart_and_nothing_is_told_twice(site):
    series = await site.series()
    start = site.clock() - timedelta(seconds=900)
    async with site.watching() as turn:
        await site.store(series, start, wave(200, _150=50.0))
        await look(turn)
        await turn.save()
        await site.store(series, start + timedelta(seconds=200), wave(100, 200, _20=80.0, _90=-40.0))
        await look(turn)
    before = await site.listed()

    async with site.watching() as again:  # the other one was killed: it saved no more
        await look(again)
        await again.save()

    assert await site.listed() == before
    assert len(before) == 2
    assert await site.pool.fetchval("SELECT seen FROM anomaly_series") == 300


async def test_state_that_cannot_be_read_begins_anew(site):
    series = await site.series()
    await site.store(series, site.clock() - timedelta(seconds=400), wave(390, _250=45.0))
    async with site.watching() as turn:
        await look(turn)
        await turn.save()
    await site.pool.execute("UPDATE anomaly_series SET state = '\\x00ff', incidents = '\\xc1'")

    async with site.watching() as again:
        await look(again)

        assert len(again.watch) == 1
    assert len(await site.listed()) == 1


async def test_what_somebody_calls_expected_is_told_no_more(site):
    series = await site.series()
    start = site.clock() - timedelta(seconds=3000)
    async with site.watching() as turn:
        after = await site.store(series, start, wave(300, _250=45.0))
        await look(turn)
        (found,) = await site.listed()
        judged = await site.judge(found, "expected")
        await look(turn)
        await site.store(series, after, wave(2000, 300, _1500=44.0))
        await look(turn)
        kept = await site.listed()

    async with site.watching() as again:  # the lesson outlives the process
        await site.store(series, after + timedelta(seconds=2000), wave(600, 2300, _300=44.0, _500=400.0))
        await look(again)

    assert judged["feedback"]["state"] == "waiting"
    assert [(one["id"], one["feedback"]["state"]) for one in kept] == [(found["id"], "learned")]
    assert [one["value"] for one in await site.listed(verdict="none")] == [400.0]
    counts = await site.get("/anomalies/counts")
    assert {(one["metric"], one["verdict"], one["anomalies"]) for one in counts} == {
        ("flow", "expected", 1),
        ("flow", "none", 1),
    }


@contextlib.asynccontextmanager
async def process(database):
    environment = os.environ | {
        "DATABASE_URL": database.url,
        "DATABASE_PASSWORD": database.password.get_secret_value(),
        "ANOMALY_STREAM_ROUND_S": "0.05",
        "ANOMALY_STREAM_SAVE_S": "1",
        "ANOMALY_STREAM_SCAN_S": "0.2",
        **{name.upper(): str(value) for name, value in QUICK.items()},
    }
    child = await asyncio.create_subprocess_exec(
        sys.executable, str(SCRIPT), env=environment, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert (await child.stdout.readline()) == b"ready\n"
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()


async def until(check, within_s=60):
    async with asyncio.timeout(within_s):
        while not await check():  # noqa: ASYNC110  what is waited for happens in another process
            await asyncio.sleep(0.05)


@pytest.mark.slow
async def test_killed_watchers_lose_and_double_nothing(site, database):
    series = [await site.series() for _ in range(3)]
    # Through the middle of learning, the first save, and anomalies that go on.
    spikes = {"_700": 22.5, "_701": 60.0, "_1300": 70.0, "_1900": -20.0, "_2500": 80.0}
    start, values = datetime.now(UTC) - timedelta(seconds=3100), wave(3000, **spikes)
    for number in range(6):
        async with process(database) as child:
            for one in series:
                part = slice(500 * number, 500 * (number + 1))
                await site.store(one, start + timedelta(seconds=500 * number), values[part])

            async def has_read(least=500 * number + 250):
                return (await site.pool.fetchval("SELECT readings FROM anomaly_stream")) >= least

            await until(has_read)
            await asyncio.sleep(0.02 * number)  # killed anywhere, also while it saves
            child.kill()

    async def is_done():
        seen = await site.pool.fetch("SELECT seen FROM anomaly_series")
        return [row["seen"] for row in seen] == [3000] * 3

    async with process(database):
        await until(is_done)

    found = await site.listed()
    assert len(found) == 3 * 4
    per_series = {
        one: sorted((row["firstAt"], row["value"], row["count"]) for row in found if row["deviceUuid"] == one)
        for one in {row["deviceUuid"] for row in found}
    }
    assert [[(value, count) for _, value, count in rows] for rows in per_series.values()] == [
        [(60.0, 2), (70.0, 1), (-20.0, 1), (80.0, 1)]
    ] * 3


@pytest.mark.slow
async def test_of_two_watchers_one_watches_and_the_other_goes_on_when_it_dies(site, database):
    series = await site.series()
    start = datetime.now(UTC) - timedelta(seconds=1000)
    async with process(database) as first, process(database):
        await site.store(series, start, wave(300))

        async def is_read(count=300):
            return (await site.pool.fetchval("SELECT coalesce(max(seen), 0) FROM anomaly_series")) == count

        await until(is_read)
        locks = await site.pool.fetchval(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"
        )
        first.kill()
        await first.wait()
        await site.store(series, start + timedelta(seconds=300), wave(300, 300, _200=60.0))
        await until(lambda: is_read(600))

    assert locks == 1
    assert [one["value"] for one in await site.listed()] == [60.0]
