"""An agent's message from its disk to the database and back: sent, lost, asked for, sent again, confirmed, forgotten."""

import asyncio
import contextlib
import json
import time

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from tests.integration.agent.agent_broker import TOPIC, UUID, agent_place, until

from iotistic.agent.link.dispatch import Dispatcher
from iotistic.agent.store.outbox_rows import Letter
from iotistic.agent.store.store import Store
from iotistic.entrypoints.ledger import LedgerPart, LedgerPartSettings
from iotistic.kernel.mqtt.bulk import BulkSubscriber
from iotistic.kernel.mqtt.bulk_login import BulkOptions
from iotistic.telemetry.decode.decoder import Decoder
from iotistic.telemetry.resolve.directory import PostgresDirectory
from iotistic.telemetry.resolve.model import UnknownPolicy
from iotistic.telemetry.resolve.resolver import Resolver
from iotistic.telemetry.sink.sink import Sink
from iotistic.telemetry.transports.direct import DirectTransport
from iotistic.telemetry.transports.lanes import LIVE_FILTERS
from iotistic.telemetry.transports.observing import IngestMetrics

SOURCE = f"uuid:{UUID}"
QUICK = {"ledger_watermark_s": 0.3, "ledger_fold_s": 0.1, "ledger_confirm_s": 0.2}
STORED = "SELECT count(*)::int FROM decoded_data"
HEALED = "SELECT coalesce(sum(healed), 0)::int FROM ledger_epochs"
MISSING = "SELECT coalesce(sum(highest - stored), 0)::int FROM ledger_epochs"
GONE = "SELECT coalesce(sum(ledger_count(gone)), 0)::int FROM ledger_gaps"


class Unwatched:
    def committed(self, batch):
        """Nobody watches."""


@contextlib.asynccontextmanager
async def cloud(place, database, pool):
    """Run ingest and the ledger's part of maintenance."""
    access, stop = place.broker.server.access, asyncio.Event()
    login = BulkOptions(
        host=access.host,
        port=access.port,
        username=access.username,
        password=access.password,
        client_id="ingest-0",
        filters=LIVE_FILTERS,
    )
    transport = DirectTransport(
        BulkSubscriber(login),
        Decoder(),
        Resolver(PostgresDirectory(pool, UnknownPolicy.ADOPT)),
        Sink(database, application_name="agent-ledger"),
        IngestMetrics(CollectorRegistry()),
        Unwatched(),
    )
    settings = LedgerPartSettings(
        iotistic_home=place.broker.home.path,
        mqtt_service_port=access.port,
        mqtt_service_password=SecretStr(access.password),
        **QUICK,
    )
    part = LedgerPart(pool, settings)
    tasks = [asyncio.create_task(transport.run(stop)), asyncio.create_task(part.run())]
    await until(lambda: transport.broker_away is None)
    try:
        yield
    finally:
        part.stop()
        stop.set()
        await asyncio.wait_for(asyncio.gather(*tasks), 20)


class Agent:
    def __init__(self, store, dispatcher):
        self.store, self.dispatcher, self._last = store, dispatcher, 0

    def letters(self, count):
        now_ms = int(time.time() * 1000)
        made = range(self._last + 1, self._last + count + 1)
        self._last += count
        for number in made:
            reading = {"registerName": "t", "value": number, "timestamp": now_ms + number}
            body = {"sensor": "plc", "timestamp": now_ms, "messages": [json.dumps(reading)]}
            yield Letter(TOPIC, json.dumps(body).encode())

    async def say(self, count):
        return await self.dispatcher.append(self.letters(count))

    async def lose(self, count, *, wholly=False):
        """Keep messages that count as sent and never left, as when a broker forgets what it acknowledged."""
        stamps = await self.store.outbox.append(self.letters(count))
        await self.store.outbox.sent(stamps)
        if wholly:
            await self.store.outbox.confirm(stamps[0].epoch, [(stamps[0].sequence, stamps[-1].sequence)])

    async def held(self):
        return (await self.store.outbox.standing()).messages


@contextlib.asynccontextmanager
async def agent(place, folder):
    store = await Store.open(folder / "agent.sqlite")
    async with place.link() as link:
        made = Agent(store, Dispatcher(store.outbox, link, UUID))
        task = asyncio.create_task(made.dispatcher.run())
        try:
            yield made
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await store.close()


async def eventually(asked, wanted, *, within_s=30.0):
    async with asyncio.timeout(within_s):
        while await asked() != wanted:  # noqa: ASYNC110  tables set no event
            await asyncio.sleep(0.05)


@pytest.fixture
async def place(tmp_path):
    (tmp_path / "agent").mkdir()
    async with agent_place(tmp_path) as found:
        yield found


async def test_what_was_lost_is_asked_for_sent_again_and_what_is_stored_is_forgotten(
    place, tmp_path, database, pool
):
    async with cloud(place, database, pool), agent(place, tmp_path / "agent") as one:
        await one.say(5)
        await eventually(lambda: pool.fetchval(STORED), 5)
        await one.lose(3)
        await one.say(5)
        await eventually(lambda: pool.fetchval(HEALED), 3)
        await eventually(lambda: pool.fetchval(STORED), 13)
        await eventually(one.held, 0)

    row = await pool.fetchrow("SELECT source, highest, stored FROM ledger_epochs")
    assert tuple(row) == (SOURCE, 13, 13)


async def test_what_the_agent_has_no_more_is_told_and_not_asked_for_again(place, tmp_path, database, pool):
    async with cloud(place, database, pool), agent(place, tmp_path / "agent") as one:
        await one.say(1)
        await eventually(lambda: pool.fetchval(STORED), 1)
        await one.lose(2, wholly=True)
        await one.say(1)
        await eventually(lambda: pool.fetchval(GONE), 2)

    assert await pool.fetchval(MISSING) == 2


async def test_a_disk_that_was_set_back_goes_on_in_an_epoch_of_its_own(place, tmp_path, database, pool):
    folder = tmp_path / "agent"
    async with cloud(place, database, pool):
        async with agent(place, folder) as one:
            await one.say(2)
            await eventually(lambda: pool.fetchval(STORED), 2)
            await eventually(one.held, 0)
        image = (folder / "agent.sqlite").read_bytes()
        async with agent(place, folder) as one:
            await one.say(10)
            await eventually(one.held, 0)
        (folder / "agent.sqlite").write_bytes(image)
        async with agent(place, folder) as one:
            one._last = 12
            await one.say(3)  # under numbers that the ledger knows already
            await eventually(lambda: pool.fetchval(STORED), 15)
            await pool.execute("UPDATE ledger_epochs SET confirmed_at = NULL")
            await eventually(lambda: told_apart(one), wanted=True)
            await eventually(lambda: pool.fetchval("SELECT count(*)::int FROM ledger_epochs"), 2)

    assert await pool.fetchval(STORED) > 15
    assert await pool.fetchval(MISSING) == 0


async def told_apart(one):
    """Say something more; tell whether it was the first of a new epoch."""
    (stamp,) = await one.say(1)
    await asyncio.sleep(0.2)
    return stamp.sequence == 1
