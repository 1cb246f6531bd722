"""The ledger's talk with devices and agents over a real broker: asked, told, sent receipts; and who may not."""

import asyncio
import contextlib
import json
import os
import re
import sys
import uuid

import aiomqtt
import pytest
from broker_fixtures import start_broker
from pydantic import SecretStr

from iotistic.contracts.delivery import command_topic
from iotistic.entrypoints.ledger import LedgerPart, LedgerPartSettings
from iotistic.kernel.process import pick_port
from iotistic.telemetry.ledger.receipts import read_public_key, verify

MAC, OTHER = "aabbccddee01", "aabbccddee02"
AGENT = str(uuid.UUID(int=7))
AGENT_TOPIC = f"iot/device/{AGENT}/ledger"
GONE = b'{"epoch": 7, "gone": [[5, 5]]}'
UNANSWERED = "SELECT asked > 0 AND isempty(gone) FROM ledger_gaps"
REFUSED = 135
RECEIPTS = int(os.environ.get("FAULT_RECEIPTS", "400"))


async def eventually(pool, statement, wanted, *, within_s=30.0):
    async with asyncio.timeout(within_s):
        while await pool.fetchval(statement) != wanted:  # noqa: ASYNC110 - tables set no event
            await asyncio.sleep(0.05)


async def stamp(pool, source, *, at="now()"):
    """Note messages 1 to 4 and 9 of a sender."""
    await pool.execute(
        "INSERT INTO ledger_log (received_at, source, epoch, first, last, repeated)"
        f" VALUES ({at}, ARRAY[$1, $1], '{{7,7}}', '{{1,9}}', '{{4,9}}', '{{0,0}}')",
        source,
    )


@contextlib.asynccontextmanager
async def ledger(broker, pool, **settings):
    """Run the ledger's part of maintenance, in a hurry."""
    access = broker.server.access
    quick = {"ledger_watermark_s": 0.3, "ledger_fold_s": 0.1, "ledger_confirm_s": 0.2} | settings
    part = LedgerPart(
        pool,
        LedgerPartSettings(
            iotistic_home=broker.home.path,
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


def service(broker, **options):
    access = broker.server.access
    return aiomqtt.Client(
        access.host, access.port, username=access.username, password=access.password, **options
    )


@contextlib.asynccontextmanager
async def listening(broker, topic_filter):
    async with service(broker) as client:
        await client.subscribe(topic_filter, qos=1)
        yield client


async def heard(client, ending, count=1):
    """Return the first messages on topics that end so."""
    found = []
    async with asyncio.timeout(30):
        while len(found) < count:
            message = await anext(client.messages)
            if message.topic.value.endswith(ending):
                found.append((message.topic.value, json.loads(message.payload)))
    return found


async def test_an_agent_is_asked_answers_and_is_told_what_is_stored(broker, pool):
    await stamp(pool, f"uuid:{AGENT}")
    async with listening(broker, f"{AGENT_TOPIC}/#") as agent, ledger(broker, pool):
        [asked] = await heard(agent, "/resend")
        await agent.publish(f"{AGENT_TOPIC}/resend/accepted", b'{"epoch": 7, "waiting": [[5, 8]]}', qos=1)
        await eventually(pool, "SELECT waiting::text FROM ledger_gaps", "{[5,9)}")
    await pool.execute("UPDATE ledger_epochs SET confirmed_at = NULL")
    async with listening(broker, f"{AGENT_TOPIC}/#") as agent, ledger(broker, pool):
        [told] = await heard(agent, "/receipt")

    assert asked == (f"{AGENT_TOPIC}/resend", {"epoch": 7, "ranges": [[5, 8]]})
    assert told == (f"{AGENT_TOPIC}/receipt", {"epoch": 7, "sent": 9, "missing": [[5, 8]]})


async def test_a_device_that_answers_for_another_is_refused_and_changes_nothing(broker, pool):
    await stamp(pool, f"mac:{MAC}")
    device = await asyncio.to_thread(broker.connected_device, OTHER)
    async with ledger(broker, pool, ledger_watermark_s=0.1):
        await eventually(pool, UNANSWERED, wanted=True)
        foreign = (f"stat/f2-{MAC}/resend", f"{AGENT_TOPIC}/resend/accepted", f"stat/f2-{MAC}/backlog")
        refused = [await asyncio.to_thread(device.publish, topic, GONE) for topic in foreign]
        # In its own name it speaks of a gap that it was not asked about, and keeps back what nobody can count.
        own = ((f"stat/f2-{OTHER}/resend", GONE), (f"stat/f2-{OTHER}/backlog", b'{"waiting": 1e99}'))
        accepted = [await asyncio.to_thread(device.publish, *one) for one in own]
        await eventually(pool, "SELECT max(asked) > 2 FROM ledger_gaps", wanted=True)

    assert refused == [REFUSED] * 3
    assert REFUSED not in accepted
    assert await pool.fetchval(UNANSWERED)
    assert await pool.fetchval("SELECT count(*) FROM ledger_backlogs") == 0


async def test_what_a_device_keeps_back_is_noted_however_often_it_says_so(broker, pool):
    await stamp(pool, f"mac:{MAC}")
    topic = f"stat/f2-{MAC}/backlog"
    async with service(broker) as device, ledger(broker, pool):
        await eventually(pool, "SELECT count(*)::int FROM ledger_epochs", 1)
        for waiting in (b"x", b'{"waiting": -1}', b'{"waiting": 9007199254740993}', b"{" * 2000):
            await device.publish(topic, waiting, qos=1)
        for waiting in range(200):
            await device.publish(topic, b'{"waiting": %d}' % (waiting + 1), qos=1)
        await eventually(pool, "SELECT waiting::int FROM ledger_backlogs", 200)
        await device.publish(topic, b'{"waiting": 0}', qos=1)
        await eventually(pool, "SELECT waiting::int FROM ledger_backlogs", 0)


async def test_signed_receipts_go_to_devices_and_agents_and_can_be_verified(broker, pool):
    sources = [f"mac:{MAC}", f"uuid:{AGENT}", "key:pump", "mac:#"]
    for source in sources:
        await stamp(pool, source, at="date_trunc('hour', now()) - interval '1 minute'")
    async with listening(broker, "#") as listener, ledger(broker, pool):
        sent = await heard(listener, "/signed-receipt", 2)
        await eventually(pool, "SELECT count(*)::int FROM ledger_receipts WHERE sent_at IS NOT NULL", 2)
        await eventually(pool, "SELECT count(*)::int FROM ledger_receipts WHERE send_at = 'infinity'", 2)

    public = read_public_key(broker.home.ledger_key.with_suffix(".pub"))
    for topic, receipt in sent:
        verify(receipt, public)
        assert topic == command_topic(receipt["source"], "signed-receipt")
    assert {receipt["source"] for _, receipt in sent} == set(sources[:2])


async def test_the_broker_tells_what_waits_in_it_and_when_it_is_clear(tmp_path, pool):
    broker = await start_broker(tmp_path, sys_interval_s=1)
    waiting = "SELECT waiting::int FROM ledger_stages WHERE stage = 'broker'"
    try:
        async with service(broker, identifier="worker-0", clean_session=False) as worker:
            await worker.subscribe("tele/#", qos=1)
        async with service(broker) as device, ledger(broker, pool):
            for _ in range(7):
                await device.publish(f"tele/f2-{MAC}/x", b"1", qos=1)
            await eventually(pool, waiting, 7)
            async with service(broker, identifier="worker-0", clean_session=False) as worker:
                for _ in range(7):
                    await anext(worker.messages)
                await eventually(pool, waiting, 0)
            assert await pool.fetchval(
                "SELECT max(c) > now() - interval '10 s' FROM ledger_stages, unnest(clear_until) c"
            )
    finally:
        await broker.server.stop()


@pytest.fixture
def start_maintenance(own_broker, database, tmp_path):
    access = own_broker.server.access
    environment = (
        os.environ
        | database.environment()
        | {
            "IOTISTIC_HOME": str(tmp_path),
            "MQTT_SERVICE_HOST": access.host,
            "MQTT_SERVICE_PORT": str(access.port),
            "MQTT_SERVICE_USERNAME": access.username,
            "MQTT_SERVICE_PASSWORD": access.password,
            "METRICS_PORT": str(pick_port(0)),
        }
    )

    async def start():
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "iotistic", "maintenance"),
            env=environment, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip

    return start


async def test_whenever_maintenance_is_killed_every_receipt_is_sent_at_least_once(
    own_broker, pool, start_maintenance
):
    await pool.execute(
        "INSERT INTO ledger_receipts (source, until, issued_at, body, send_at)"
        " SELECT 'mac:' || lpad(to_hex(n), 12, '0'), date_trunc('hour', now()), now(),"
        "        format('{\"number\": %s}', n), now() FROM generate_series(1, $1) n",
        RECEIPTS,
    )
    numbers, killed = [], 0
    async with listening(own_broker, "cmnd/+/signed-receipt") as listener:
        child = await start_maintenance()
        async with asyncio.timeout(60):
            while len(set(numbers)) < RECEIPTS:
                message = await anext(listener.messages)
                assert re.fullmatch(r"cmnd/f2-[0-9a-f]{12}/signed-receipt", message.topic.value)
                numbers.append(json.loads(message.payload)["number"])
                if len(numbers) in (1, RECEIPTS // 2):
                    child.kill()
                    await child.wait()
                    child = await start_maintenance()
                    killed += 1
        await eventually(pool, "SELECT count(*)::int FROM ledger_receipts WHERE sent_at IS NULL", 0)
        child.terminate()
        await asyncio.wait_for(child.wait(), 20)

    assert killed == 2
    assert sorted(set(numbers)) == list(range(1, RECEIPTS + 1))
    assert len(numbers) <= RECEIPTS + 2 * 100  # what was under way when it was killed, and no more
