"""From a lost message to a healed gap: device, broker, ingest, ledger, request, answer, and back."""

import asyncio
import contextlib
import json
from itertools import pairwise

import aiomqtt
from fleet_site import MACS, at_work, until
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from iotistic.entrypoints.ledger import LedgerPart, LedgerPartSettings
from iotistic.kernel.mqtt.bulk import BulkSubscriber
from iotistic.kernel.mqtt.bulk_login import BulkOptions
from iotistic.telemetry.decode.decoder import Decoder
from iotistic.telemetry.ledger.receipts import read_public_key, verify
from iotistic.telemetry.resolve.directory import PostgresDirectory
from iotistic.telemetry.resolve.model import UnknownPolicy
from iotistic.telemetry.resolve.resolver import Resolver
from iotistic.telemetry.sink.sink import Sink
from iotistic.telemetry.transports.direct import DirectTransport
from iotistic.telemetry.transports.observing import IngestMetrics

MAC = MACS[0]
SOURCE = f"mac:{MAC}"


class Unwatched:
    def committed(self, batch):
        """Nobody watches."""


@contextlib.asynccontextmanager
async def ingesting(site, database, pool):
    access = site.broker.access
    subscriber = BulkSubscriber(
        BulkOptions(
            host=access.host,
            port=access.port,
            username=access.username,
            password=access.password,
            client_id="ingest-0",
            filters=("stat/#", "tele/#"),
        )
    )
    transport = DirectTransport(
        subscriber,
        Decoder(),
        Resolver(PostgresDirectory(pool, UnknownPolicy.ADOPT)),
        Sink(database, application_name="ledger-healing"),
        IngestMetrics(CollectorRegistry()),
        Unwatched(),
    )
    stop = asyncio.Event()
    task = asyncio.create_task(transport.run(stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, 20)


@contextlib.asynccontextmanager
async def ledger(site, pool, **settings):
    access = site.broker.access
    quick = {"ledger_watermark_s": 0.3, "ledger_fold_s": 0.1, "ledger_confirm_s": 0.2} | settings
    part = LedgerPart(
        pool,
        LedgerPartSettings(
            iotistic_home=site.home.path,
            mqtt_service_port=access.port,
            mqtt_service_password=SecretStr(access.password),
            **quick,
        ),
    )
    task = asyncio.create_task(part.run())
    try:
        yield
    finally:
        part.stop()
        await asyncio.wait_for(task, 20)


async def eventually(pool, statement, wanted, *, within_s=20.0):
    async with asyncio.timeout(within_s):
        while await pool.fetchval(statement) != wanted:  # noqa: ASYNC110 - processes and tables set no event
            await asyncio.sleep(0.05)


def lose(fleet, count):
    """Let the controller number messages that never leave it, as when a broker forgets what it acknowledged."""
    member = fleet._members[MAC]
    for message in member.controller.round(1_795_255_200_000_000)[:count]:
        member.kept.settled(member.kept.add(*message))
    return member.kept


HEALED = "SELECT coalesce(sum(healed), 0)::int FROM ledger_epochs"
STANDING = "SELECT coalesce(sum(highest - stored), 0)::int FROM ledger_epochs"


async def test_lost_messages_are_noted_asked_for_sent_again_and_healed(site, database, pool):
    enrolment = await site.enrol(MACS[:1])
    fleet = site.fleet(enrolment.identities)
    async with ingesting(site, database, pool), ledger(site, pool), at_work(fleet) as tally:
        await until(lambda: tally.acknowledged > 20)
        kept = lose(fleet, 5)
        await eventually(pool, HEALED, 5)
        await until(lambda: tally.confirmed > 20)

    assert tally.resend_requests >= 1
    assert tally.resent == 5
    assert len(kept) < tally.published


async def test_messages_that_a_device_has_no_more_stand_at_the_device_and_are_not_asked_for_again(
    site, database, pool
):
    enrolment = await site.enrol(MACS[:1])
    fleet = site.fleet(enrolment.identities)
    async with ingesting(site, database, pool), ledger(site, pool), at_work(fleet) as tally:
        await until(lambda: tally.acknowledged > 20)
        lose(fleet, 3)._settled.clear()
        await eventually(pool, "SELECT ledger_count(gone)::int FROM ledger_gaps", 3)
        asked = tally.resend_requests
        await eventually(pool, "SELECT ask_at IS NULL FROM ledger_gaps", wanted=True)
        await until(lambda: tally.acknowledged > 60)

    assert tally.resend_requests == asked
    assert await pool.fetchval(STANDING) == 3


async def test_a_device_is_asked_less_and_less_often_when_it_does_not_answer(site, database, pool):
    """Nobody is connected: the requests are heard, and nothing is answered."""
    access = site.broker.access
    await pool.execute(
        "INSERT INTO ledger_log (received_at, source, epoch, first, last, repeated)"
        " VALUES (now(), ARRAY[$1, $1], '{7,7}', '{1,9}', '{4,9}', '{0,0}')",
        SOURCE,
    )
    asked = []
    async with (
        aiomqtt.Client(
            access.host, access.port, username=access.username, password=access.password,
            protocol=aiomqtt.ProtocolVersion.V5,
        ) as listener,
        ledger(site, pool, ledger_watermark_s=0.2),
    ):  # fmt: skip
        await listener.subscribe("cmnd/#")
        async with asyncio.timeout(20):
            async for message in listener.messages:
                if message.topic.value.endswith("/resend"):
                    asked.append((asyncio.get_running_loop().time(), json.loads(message.payload)))
                if len(asked) == 4:
                    break

    pauses = [later - earlier for (earlier, _), (later, _) in pairwise(asked)]
    assert asked[0][1] == {"epoch": 7, "ranges": [[5, 8]]}
    assert pauses[2] > pauses[0]


RUBBISH = [
    b"",
    b"not json",
    b'{"epoch": -1}',
    b'{"epoch": 7, "gone": [[9, 1]]}',
    b'{"epoch": 7, "gone": [[1, 9007199254740993]]}',
    b'{"epoch": 7, "gone": ' + b"[[1, 1]," * 2000 + b"[1, 1]]}",
    b'{"epoch": 8, "gone": [[1, 9]]}',
    b"{" * 20_000,
]


async def test_answers_that_are_rubbish_or_nobody_asked_for_change_nothing(site, pool):
    access = site.broker.access
    await pool.execute(
        "INSERT INTO ledger_log (received_at, source, epoch, first, last, repeated)"
        " VALUES (now(), ARRAY[$1, $1], '{7,7}', '{1,9}', '{4,9}', '{0,0}')",
        SOURCE,
    )
    async with (
        ledger(site, pool, ledger_watermark_s=0.1),
        aiomqtt.Client(
            access.host, access.port, username=access.username, password=access.password,
            protocol=aiomqtt.ProtocolVersion.V5,
        ) as device,
    ):  # fmt: skip
        await eventually(pool, "SELECT asked > 0 FROM ledger_gaps", wanted=True)
        for answer in RUBBISH:
            await device.publish(f"stat/f2-{MAC}/resend", answer, qos=1)
        await device.publish(f"stat/f2-{MAC}/resend", b'{"epoch": 7, "gone": [[5, 5]]}', qos=1)
        await eventually(pool, "SELECT gone::text FROM ledger_gaps", "{[5,6)}")


async def test_receipts_of_a_working_installation_can_be_verified(site, pool):
    await pool.execute(
        "INSERT INTO ledger_log (received_at, source, epoch, first, last, repeated)"
        " VALUES (date_trunc('hour', now()) - interval '1 minute', ARRAY[$1], '{7}', '{1}', '{9}', '{0}')",
        SOURCE,
    )
    async with ledger(site, pool):
        await eventually(pool, "SELECT count(*)::int FROM ledger_receipts", 1)

    body = await pool.fetchval("SELECT body FROM ledger_receipts")
    verify(json.loads(body), read_public_key(site.home.ledger_key.with_suffix(".pub")))
    assert site.home.ledger_key.stat().st_mode & 0o777 == 0o600
