"""The sink against a real database: whole or not at all, twice is once, and what it does when it cannot."""

import asyncio
import contextlib
import datetime as dt

import pytest
from ingest_builders import NOW, batch

from iotistic.kernel.errors import Unavailable
from iotistic.telemetry.sink.noting import LATE_AFTER_US
from iotistic.telemetry.sink.sink import Sink, SinkOptions, Written

pytestmark = pytest.mark.every_store

MINUTE_US = 60_000_000
DAY_US = 86_400_000_000
AT = dt.datetime(2026, 11, 21, 10, tzinfo=dt.UTC)


@pytest.fixture
async def sink(database):
    opened = Sink(database, application_name="sink-test")
    yield opened
    await opened.close()


async def readings(pool):
    return [
        tuple(r)
        for r in await pool.fetch(
            'SELECT device_id, datapoint_id, "timestamp", value FROM decoded_data ORDER BY 1, 2, 3'
        )
    ]


async def test_rows_are_stored_with_the_devices_time_and_the_time_of_receipt(sink, pool):
    await sink.write(batch((7, 9, 1, 21.5)))

    row = await pool.fetchrow("SELECT * FROM decoded_data")
    assert (row["device_id"], row["datapoint_id"], row["value"]) == (7, 9, 21.5)
    assert row["timestamp"] == AT + dt.timedelta(microseconds=1)
    assert row["received_at"] == AT


async def test_the_same_batch_twice_changes_nothing(sink, pool):
    one = batch((1, 1, 0, 1.0), (1, 2, 0, 2.0), events=[(1, 3, NOW, "card")])
    assert await sink.write(one) == Written(2, 1, 0)

    assert (await sink.write(one)).rows == 0

    assert len(await readings(pool)) == 2
    assert await pool.fetchval("SELECT count(*) FROM telemetry_events") == 1


async def test_a_key_twice_in_one_batch_does_not_abort_it(sink, pool):
    written = await sink.write(batch((1, 1, 0, 1.0), (1, 1, 0, 2.0), (1, 1, 1, 3.0)))

    assert written.rows == 2
    assert len(await readings(pool)) == 2


async def test_rows_far_apart_in_time_land_in_partitions_of_their_own(sink, pool):
    await sink.write(batch((1, 1, -80 * DAY_US, 1.0), (1, 1, 0, 2.0), (1, 1, DAY_US, 3.0)))

    days = await pool.fetch(
        "SELECT name FROM partitions_of('decoded_data')"
        " WHERE relation IN (SELECT tableoid FROM decoded_data) ORDER BY 1"
    )
    assert [day["name"] for day in days] == [
        "decoded_data_20260902",
        "decoded_data_20261121",
        "decoded_data_20261122",
    ]


async def test_a_partition_dropped_behind_the_sinks_back_is_made_again(sink, pool):
    await sink.write(batch((1, 1, 0, 1.0)))
    await pool.execute("SELECT drop_partition('decoded_data', 'decoded_data_20261121')")

    await sink.write(batch((1, 1, 1, 2.0)))

    assert [value for *_, value in await readings(pool)] == [2.0]


async def test_extreme_values_survive_exactly(sink, pool):
    extremes = [5e-324, -1.7976931348623157e308, 0.1, -0.0]
    await sink.write(batch(*[(1, 1, n, value) for n, value in enumerate(extremes)]))

    assert [repr(value) for *_, value in await readings(pool)] == [repr(value) for value in extremes]


async def test_fresh_minutes_are_marked_whole_and_late_ones_by_device(sink, pool):
    late = -LATE_AFTER_US - 3 * MINUTE_US

    await sink.write(
        batch((1, 1, 0, 1.0), (2, 1, 0, 1.0), (3, 1, late, 1.0), (4, 1, late, 1.0), (4, 2, late, 1.0))
    )

    marks = await pool.fetch("SELECT minute, device_id FROM rollup_pending ORDER BY 1, 2")
    old = AT + dt.timedelta(microseconds=late)
    assert [tuple(mark) for mark in marks] == [(old, 3), (old, 4), (AT, None)]


async def test_dead_letters_are_kept_byte_for_byte(sink, pool):
    await sink.write(batch(dead_letters=[(b"a/\xff", b"\0\x01", "decode.payload_invalid", "why")]))

    row = await pool.fetchrow("SELECT topic, payload, reason, detail, received_at FROM dead_letters")
    assert tuple(row) == (b"a/\xff", b"\0\x01", "decode.payload_invalid", "why", AT)


async def test_a_row_the_database_refuses_is_set_apart_from_its_batch(sink, pool):
    await pool.execute("ALTER TABLE decoded_data ADD CHECK (value <> 666)")

    written = await sink.write(batch(*[(1, 1, n, 666.0 if n == 37 else n) for n in range(100)]))

    assert written == Written(99, 0, 1)
    assert await pool.fetchval("SELECT reason FROM dead_letters") == "sink.row_refused"


async def test_a_lost_connection_costs_at_most_one_attempt(sink, pool):
    await sink.write(batch((1, 1, 0, 1.0)))
    await pool.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'sink-test'"
        " AND datname = current_database()"
    )

    with contextlib.suppress(Unavailable):  # whether the loss is seen before or during the write is chance
        await sink.write(batch((1, 1, 1, 1.0)))
    await sink.write(batch((1, 1, 1, 1.0)))

    assert len(await readings(pool)) == 2


async def test_a_batch_that_repeats_a_row_keeps_its_other_rows_and_so_do_the_next(sink, pool):
    await sink.write(batch((1, 1, 0, 1.0)))

    assert (await sink.write(batch((1, 1, 0, 9.0), (1, 1, 1, 2.0)))).rows == 1
    for n in range(40):
        assert (await sink.write(batch((1, 1, 2 + n, 3.0)))).rows == 1
    assert (await sink.write(batch((1, 1, 5, 9.0), (2, 1, 5, 4.0)))).rows == 1

    values = [value for *_, value in await readings(pool)]
    assert values == [1.0, 2.0] + [3.0] * 40 + [4.0]


async def test_of_two_readings_with_one_key_the_first_to_arrive_is_kept(sink, pool):
    await sink.write(batch((1, 1, 0, 1.0), (1, 1, -5, 0.0), (1, 1, 0, 2.0)))

    assert [value for *_, value in await readings(pool)] == [0.0, 1.0]


async def test_nothing_of_a_batch_is_stored_when_its_last_part_fails(sink, pool):
    await pool.execute("ALTER TABLE dead_letters RENAME TO away")

    with pytest.raises(Exception, match="dead_letters"):
        await sink.write(batch((1, 1, 0, 1.0), dead_letters=[(b"t", b"p", "r", "d")]))

    assert await readings(pool) == []


async def test_a_refused_event_beside_one_row_is_set_apart_alone(sink, pool):
    written = await sink.write(batch((1, 1, 0, 1.0), events=[(1, 2, NOW, "x" * 1024)]))

    assert written == Written(1, 0, 1)
    assert await pool.fetchval("SELECT reason FROM dead_letters") == "sink.row_refused"


async def test_details_that_the_database_would_refuse_are_kept_in_another_spelling(sink, pool):
    await sink.write(batch(dead_letters=[(b"t", b"p", "reason", "nul \0, half \ud800")]))

    assert await pool.fetchval("SELECT detail FROM dead_letters") == "nul \\0, half \\ud800"


async def test_a_schema_that_is_not_there_yet_is_waited_for(sink, pool):
    await pool.execute("ALTER TABLE decoded_data RENAME TO elsewhere")
    with pytest.raises(Unavailable):
        await sink.write(batch((1, 1, 0, 1.0)))
    await pool.execute("ALTER TABLE elsewhere RENAME TO decoded_data")

    assert await sink.write(batch((1, 1, 0, 1.0))) == Written(1, 0, 0)


async def test_a_sink_that_stood_still_within_a_transaction_holds_others_up_for_a_while_only(database, pool):
    stopped = Sink(database, application_name="stopped", options=SinkOptions(stands_still_s=0.5))
    other = Sink(database, application_name="other")
    await stopped.write(batch((1, 1, 0, 1.0)))
    # As a process leaves it that is stopped, or cut off, before its commit.
    await stopped._connection.execute(
        "BEGIN; INSERT INTO decoded_data SELECT timestamp + interval '1 microsecond', 1, 1, 9, now() FROM decoded_data"
    )

    written = await asyncio.wait_for(other.write(batch((1, 1, 1, 2.0))), 10)

    assert written.rows == 1
    async with asyncio.timeout(10):  # the server has ended it; its word of that may come a moment later
        while not stopped._connection.is_closed():  # noqa: ASYNC110 - the driver sets no event
            await asyncio.sleep(0.01)
    assert (await stopped.write(batch((1, 1, 1, 9.0), (1, 1, 2, 3.0)))).rows == 1
    assert [value for *_, value in await readings(pool)] == [1.0, 2.0, 3.0]
    await stopped.close()
    await other.close()
