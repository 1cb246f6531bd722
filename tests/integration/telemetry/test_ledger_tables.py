"""The ledger's tables: ranges are right whatever the order, the repetition and the number of sinks."""

import asyncio
import datetime as dt

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ingest_builders import batch

from iotistic.telemetry.model import Deliveries
from iotistic.telemetry.sink.sink import Sink

WATERMARK = dt.timedelta(0)
MOST = 1000
# The fold goes by blocks of 32 numbers: single ones and runs, within one, over its end, and at the largest.
stamps = st.tuples(
    st.sampled_from(["mac:a", "key:b"]), st.integers(1, 2), st.integers(1, 9) | st.integers(28, 36)
)
runs = st.tuples(
    st.sampled_from(["mac:a", "key:b"]),
    st.integers(1, 2),
    st.integers(20, 40) | st.just(2**53 - 70),
    st.integers(1, 69),
)


def deliveries(*delivered):
    sources, epochs, sequences = zip(*delivered, strict=True)
    return Deliveries(list(sources), np.array(epochs, np.int64), np.array(sequences, np.int64))


def stamped(*delivered, **parts):
    filled = batch(**parts)
    return type(filled)(
        filled.rows, filled.events, filled.dead_letters, filled.received_us, deliveries(*delivered)
    )


def run_of(source, epoch, first, last):
    return [(source, epoch, number) for number in range(first, last + 1)]


def numbers_of(source, epoch, first, length=1):
    return run_of(source, epoch, first, first + length - 1)


@pytest.fixture
async def sink(database):
    opened = Sink(database, application_name="ledger-test")
    yield opened
    await opened.close()


async def fold(pool):
    while await pool.fetchval("SELECT ledger_fold(3)"):
        pass


async def epochs(pool):
    rows = await pool.fetch("SELECT *, received::text AS text FROM ledger_epochs ORDER BY source, epoch")
    return {(row["source"], row["epoch"]): row for row in rows}


async def watch(pool):
    await fold(pool)
    await pool.fetch("SELECT ledger_heal(NULL)")
    await pool.fetchval("SELECT ledger_watch($1)", WATERMARK)
    await pool.fetchval("SELECT ledger_watch($1)", WATERMARK)


async def noted(pool):
    return {
        row["source"]: row["text"]
        for row in await pool.fetch("SELECT source, noted::text AS text FROM ledger_gaps")
    }


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batches=st.lists(st.lists(stamps | runs, min_size=1, max_size=12), min_size=1, max_size=5),
    folds=st.integers(1, 3),
)
def test_ranges_are_right_under_any_order_and_repetition(
    postgres_runner, postgres, template_ledger, batches, folds
):
    told = [[stamp for one in batch for stamp in numbers_of(*one)] for batch in batches]
    found = postgres_runner.run(template_ledger(told, folds))

    everything = [stamp for one in told for stamp in one]
    for key in {stamp[:2] for stamp in everything}:
        came = [number for source, epoch, number in everything if (source, epoch) == key]
        row = found.pop(key)
        assert row["numbers"] == sorted(set(came))
        assert (row["stored"], row["messages"], row["highest"]) == (len(set(came)), len(came), max(came))
    assert found == {}


@pytest.fixture
def template_ledger(postgres_runner, database):
    """Write batches, fold them in steps, and give what the ledger says; it is empty again afterwards."""
    sink = Sink(database, application_name="ledger-property")

    async def tell(batches, folds):
        for one in batches:
            await sink.write(stamped(*one))
        connection = await sink._connected()
        while await connection.fetchval("SELECT ledger_fold($1)", folds):
            pass
        rows = await connection.fetch(
            "SELECT e.*, ARRAY(SELECT generate_series(lower(r), upper(r) - 1) FROM unnest(received) r ORDER BY 1)"
            " AS numbers FROM ledger_epochs e"
        )
        await connection.execute("DELETE FROM ledger_epochs")
        return {(row["source"], row["epoch"]): row for row in rows}

    yield tell
    postgres_runner.run(sink.close())


async def test_senders_with_names_of_any_length_and_script_are_kept(sink, pool):
    names = ["mac:a", "mac:b", "key:ß-ü", "key:" + "x" * 200, "key:水位計", 'key:"{},', "key:\\"]
    await sink.write(stamped(*((name, 1, 1) for name in names)))
    await sink.write(stamped(("mac:a", 1, 2), ("mac:b", 1, 2)))
    await fold(pool)

    assert {source for source, _ in await epochs(pool)} == set(names)
    assert (await epochs(pool))["mac:b", 1]["stored"] == 2


async def test_a_batch_written_twice_changes_no_range_and_counts_as_repeated(sink, pool):
    one = stamped(*run_of("mac:a", 1, 1, 5))
    await sink.write(one)
    await fold(pool)
    await sink.write(one)
    await fold(pool)

    row = (await epochs(pool))["mac:a", 1]
    assert (row["text"], row["stored"], row["messages"]) == ("{[1,6)}", 5, 10)


async def test_stamps_are_stored_with_their_batch_or_not_at_all(sink, pool):
    await sink.write(stamped(("mac:a", 1, 1), dead_letters=[(b"t", b"x", "decode.payload_invalid", "")]))
    refused = stamped(("mac:a", 1, 2), events=[(1, 1, 0, "x" * 2000)])
    await sink.write(refused)  # the event becomes a dead letter
    await fold(pool)

    assert (await epochs(pool))["mac:a", 1]["text"] == "{[1,3)}"
    assert await pool.fetchval("SELECT count(*) FROM dead_letters") == 2


async def test_sinks_that_write_the_same_senders_never_wait_for_one_another(database, pool):
    sinks = [Sink(database, application_name=f"ledger-{n}") for n in range(3)]
    senders = [f"mac:{n:012x}" for n in range(50)]

    async def write(number, sink):
        for turn in range(10):
            mixed = senders[number:] + senders[:number]
            await sink.write(stamped(*((one, 1, 1 + turn * 3 + number) for one in mixed)))

    async with asyncio.timeout(30):
        await asyncio.gather(
            *(write(number, sink) for number, sink in enumerate(sinks)), fold(pool), fold(pool)
        )
    await fold(pool)
    await asyncio.gather(*(sink.close() for sink in sinks))

    assert {row["text"] for row in (await epochs(pool)).values()} == {"{[1,31)}"}
    assert len(await epochs(pool)) == len(senders)


async def test_a_gap_is_noted_after_the_watermark_and_healed_when_it_is_filled(sink, pool):
    await sink.write(stamped(("mac:a", 1, 1), ("mac:a", 1, 5)))
    await fold(pool)
    await pool.fetchval("SELECT ledger_watch($1)", dt.timedelta(hours=1))
    young = await noted(pool)
    await watch(pool)
    old = await noted(pool)
    await sink.write(stamped(("mac:a", 1, 3), ("mac:a", 1, 3)))
    await watch(pool)
    part = await noted(pool)
    await sink.write(stamped(("mac:a", 1, 2), ("mac:a", 1, 4)))
    await watch(pool)

    assert (young, old, part) == ({"mac:a": "{}"}, {"mac:a": "{[2,5)}"}, {"mac:a": "{[2,3),[4,5)}"})
    assert await noted(pool) == {}
    row = (await epochs(pool))["mac:a", 1]
    assert (row["healed"], row["messages"] - row["stored"]) == (3, 1)


async def test_messages_that_only_overtook_one_another_are_no_gap_and_heal_nothing(sink, pool):
    await sink.write(stamped(("mac:a", 1, 2)))
    await fold(pool)
    await pool.fetchval("SELECT ledger_watch($1)", dt.timedelta(hours=1))
    await sink.write(stamped(("mac:a", 1, 1)))
    await watch(pool)

    assert await noted(pool) == {}
    assert (await epochs(pool))["mac:a", 1]["healed"] == 0


async def test_a_sender_with_a_hundred_thousand_gaps_is_bounded_and_the_sums_stay_right(sink, pool):
    for start in range(0, 60_000, 20_000):
        await sink.write(stamped(*(("mac:a", 1, 2 * n) for n in range(start + 1, start + 20_001))))
        await sink.write(stamped(*run_of("mac:b", 1, start + 1, start + 20_000)))
    await sink.write(stamped(("mac:a", 1, 4), ("mac:a", 1, 5)))
    await fold(pool)

    told = await epochs(pool)
    hostile = told["mac:a", 1]
    assert hostile["ranges"] <= 10_000
    assert (hostile["stored"], hostile["highest"]) == (60_000, 120_000)
    assert hostile["untold"] == 2
    assert hostile["floor"] > 100_000
    assert told["mac:b", 1]["text"] == "{[1,60001)}"


async def test_a_sender_with_thousands_of_epochs_keeps_its_newest(sink, pool):
    await sink.write(stamped(*(("mac:a", epoch, 1) for epoch in range(5000)), ("mac:b", 1, 1)))
    await fold(pool)
    await sink.write(stamped(*(("mac:a", epoch, 2) for epoch in range(9000, 9010))))
    await fold(pool)

    told = await epochs(pool)
    dropped = await pool.fetchrow("SELECT * FROM ledger_dropped")
    assert len(told) == 33
    assert ("mac:b", 1) in told
    assert ("mac:a", 9009) in told
    assert (dropped["reason"], dropped["epochs"]) == ("too_many_epochs", 5000 - 32 + 10)


async def test_the_largest_stamp_there_is_does_no_harm(sink, pool):
    await sink.write(stamped(("mac:a", 2**53 - 1, 2**53 - 1), ("mac:a", 2**53 - 1, 1)))
    await watch(pool)

    assert (await epochs(pool))["mac:a", 2**53 - 1]["stored"] == 2
    assert await noted(pool) == {"mac:a": f"{{[2,{2**53 - 1})}}"}
