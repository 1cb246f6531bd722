"""The direct transport between a real broker and a real database: what is stored, when it is acknowledged."""

import asyncio
import contextlib
import json
import threading

import pytest
from ingest_builders import NOW
from prometheus_client import CollectorRegistry

from iotistic.kernel.mqtt.bulk import BulkSubscriber
from iotistic.kernel.mqtt.bulk_login import BulkOptions
from iotistic.kernel.postgres.pool import open_connection
from iotistic.telemetry.decode.decoder import Decoder, TimeWindow
from iotistic.telemetry.resolve.directory import PostgresDirectory
from iotistic.telemetry.resolve.model import UnknownPolicy
from iotistic.telemetry.resolve.resolver import Resolver
from iotistic.telemetry.sink.sink import Sink
from iotistic.telemetry.transports.buffer import BufferLimits
from iotistic.telemetry.transports.direct import DirectOptions, DirectTransport
from iotistic.telemetry.transports.observing import IngestMetrics

WITHIN_S = 20
SHARED = ("$share/ingest/sensor/#",)
FOR_EVER = TimeWindow(10**16, 10**16)


class Watching:
    def __init__(self):
        self.rows = 0

    def committed(self, batch):
        self.rows += len(batch.rows)


class Workers:
    """Starts workers of the direct transport in this process."""

    def __init__(self, broker, database, pool):
        self._broker, self._database, self._pool = broker, database, pool
        self._running = []

    def start(self, *, worker=0, retire=None, limits=None, keepalive_s=30):
        access = self._broker.server.access
        subscriber = BulkSubscriber(
            BulkOptions(
                host=access.host,
                port=access.port,
                username=access.username,
                password=access.password,
                client_id=f"ingest-{worker}",
                filters=SHARED if retire is None else (),
                ended_filters=() if retire is None else SHARED,
                keepalive_s=keepalive_s,
            )
        )
        transport = DirectTransport(
            subscriber,
            Decoder(FOR_EVER),
            Resolver(PostgresDirectory(self._pool, UnknownPolicy.ADOPT)),
            Sink(self._database, application_name=f"direct-{worker}"),
            IngestMetrics(CollectorRegistry()),
            Watching(),
            DirectOptions(limits or BufferLimits()),
        )
        stop = asyncio.Event()
        task = asyncio.create_task(transport.run(stop, retire=retire))
        self._running.append((stop, task))
        return transport, stop, task

    async def end(self):
        for stop, task in self._running:
            stop.set()
            await asyncio.wait_for(task, WITHIN_S)


@pytest.fixture
async def workers(own_broker, database, pool):
    running = Workers(own_broker, database, pool)
    yield running
    await running.end()


async def until(seen):
    async with asyncio.timeout(WITHIN_S):
        while not (value := await seen()):  # noqa: ASYNC110  ends at the deadline
            await asyncio.sleep(0.02)
    return value


async def connected(transport):
    async def seen():
        return transport.broker_away is None

    await until(seen)


async def stored(pool):
    return [int(r["value"]) for r in await pool.fetch("SELECT value FROM decoded_data ORDER BY value")]


async def all_stored(pool, numbers):
    async def seen():
        return set(await stored(pool)) >= set(numbers)

    await until(seen)


def publish(client, numbers, *, pad=0):
    for number in numbers:
        body = {"timestamp": NOW + number, "value": number, "pad": "x" * pad}
        assert client.publish("sensor/gw/counter", json.dumps(body).encode()) in (0, 16)


@contextlib.asynccontextmanager
async def closed_table(database, table):
    """Hold everybody off a table."""
    connection = await open_connection(database, application_name="holding")
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
    try:
        yield
    finally:
        await transaction.rollback()
        await connection.close()


async def test_what_is_published_is_stored_once_and_acknowledged(workers, own_broker, pool):
    transport, stop, task = workers.start()
    await connected(transport)
    await asyncio.to_thread(publish, own_broker.service("publisher"), range(200))
    await all_stored(pool, range(200))
    stop.set()
    await asyncio.wait_for(task, WITHIN_S)
    again = own_broker.service("ingest-0", clean_start=False, session_expiry_s=60)

    assert await stored(pool) == list(range(200))
    with pytest.raises(TimeoutError):
        await asyncio.to_thread(again.receive)


async def test_what_was_not_committed_comes_again_after_the_worker_is_gone(
    workers, own_broker, database, pool
):
    transport, _, task = workers.start()
    await connected(transport)
    async with closed_table(database, "decoded_data"):
        await asyncio.to_thread(publish, own_broker.service("publisher"), range(50))
        await until(lambda: asyncio.sleep(0, not transport.idle))
        task.cancel()  # as good as a kill: nothing is drained
        await asyncio.gather(task, return_exceptions=True)
    workers._running.clear()
    workers.start()

    await all_stored(pool, range(50))
    assert await stored(pool) == list(range(50))


async def test_a_broker_that_lost_its_memory_costs_nothing_that_had_reached_the_worker(
    workers, own_broker, database, pool
):
    transport, _, _ = workers.start()
    await connected(transport)
    async with closed_table(database, "decoded_data"):
        await asyncio.to_thread(publish, own_broker.service("publisher"), range(50))
        await until(lambda: asyncio.sleep(0, not transport.idle))
        own_broker.server.process.kill()
        await own_broker.server.process.wait()
        (own_broker.server.config.files.data / "mosquitto.db").unlink(missing_ok=True)
        await own_broker.server.start()
        await connected(transport)
        await asyncio.to_thread(publish, own_broker.service("publisher"), range(50, 100))

    await all_stored(pool, range(100))
    assert await stored(pool) == list(range(100))


async def test_a_cancelled_look_up_is_tried_again_and_makes_no_dead_letters(
    workers, own_broker, database, pool
):
    transport, _, _ = workers.start()
    await connected(transport)
    async with closed_table(database, "devices"):
        await asyncio.to_thread(publish, own_broker.service("publisher"), range(20))
        await until(
            lambda: pool.fetchval(
                "SELECT bool_or(pg_cancel_backend(pid)) FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
        )
        await until(lambda: asyncio.sleep(0, transport.database_away))

    await all_stored(pool, range(20))
    assert await pool.fetchval("SELECT count(*) FROM dead_letters") == 0


async def test_a_full_buffer_neither_grows_nor_costs_the_connection(workers, own_broker, database, pool):
    transport, _, _ = workers.start(limits=BufferLimits(100_000, batch_bytes=50_000), keepalive_s=1)
    await connected(transport)
    async with closed_table(database, "decoded_data"):
        await asyncio.to_thread(publish, own_broker.service("publisher"), range(100), pad=10_000)
        connections = transport._subscriber._connection
        for _ in range(30):  # three times what the broker takes for death
            await asyncio.sleep(0.15)

    await all_stored(pool, range(100))
    assert transport._subscriber._connection == connections


async def test_retiring_ends_while_the_stream_goes_on_and_loses_nothing(workers, own_broker, pool):
    staying, _, _ = workers.start(worker=0)
    leaving, stop, task = workers.start(worker=1)
    await connected(staying)
    await connected(leaving)
    stop.set()
    await asyncio.wait_for(task, WITHIN_S)
    await asyncio.to_thread(publish, own_broker.service("publisher"), range(100))  # half waits for worker 1
    numbers, ending = [100], threading.Event()

    def go_on():
        client = own_broker.service("on-and-on")
        while not ending.is_set():
            publish(client, [numbers[0]])
            numbers[0] += 1
            ending.wait(0.002)

    publishing = threading.Thread(target=go_on)
    publishing.start()
    try:
        _, _, retiring = workers.start(worker=1, retire=0.5)
        await asyncio.wait_for(retiring, WITHIN_S)
    finally:
        ending.set()
        await asyncio.to_thread(publishing.join)

    await all_stored(pool, range(numbers[0]))
    assert await stored(pool) == list(range(numbers[0]))
    answer = own_broker.stranger().connect(
        "ingest-1",
        username=own_broker.server.access.username,
        password=own_broker.server.access.password,
        clean_start=False,
    )
    assert not answer.session_present


async def test_an_interrupted_retirement_can_be_made_again(workers, own_broker, database, pool):
    staying, _, _ = workers.start(worker=0)
    leaving, stop, task = workers.start(worker=1)
    await connected(staying)
    await connected(leaving)
    stop.set()
    await asyncio.wait_for(task, WITHIN_S)
    await asyncio.to_thread(publish, own_broker.service("publisher"), range(100))
    async with closed_table(database, "decoded_data"):
        interrupted, _, first = workers.start(worker=1, retire=0.5)
        await until(lambda: asyncio.sleep(0, not interrupted.idle))
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        workers._running.pop()
    _, _, second = workers.start(worker=1, retire=0.5)
    await asyncio.wait_for(second, WITHIN_S)

    await all_stored(pool, range(100))
    assert await stored(pool) == list(range(100))
