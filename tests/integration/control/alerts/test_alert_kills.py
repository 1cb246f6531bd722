"""kill -9 in the midst of evaluating and of delivering: no alert is lost or doubled, no message is lost."""

import asyncio
import contextlib
import json
import os
import random
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from alert_builders import SECOND, SECRET, Hall, too_hot
from receivers import HttpReceiver

from iotistic.control.alerts.backtest import Backtest
from iotistic.control.alerts.conditions import Severity
from iotistic.control.alerts.model import utc_now
from iotistic.control.alerts.settings import AlertSettings

SCRIPT = Path(__file__).with_name("alert_process.py")
QUICK = AlertSettings(alert_round_s=0.05, alert_settle_s=0.3)


@contextlib.asynccontextmanager
async def process(database, **settings):
    environment = os.environ | {
        "DATABASE_URL": database.url,
        "DATABASE_PASSWORD": database.password.get_secret_value(),
        "ALERT_SIGNING_SECRET": SECRET.get_secret_value(),
        "ALERT_WEBHOOK_NETWORKS": "127.0.0.0/8",
        "ALERT_WEBHOOK_PLAIN": "true",
        "ALERT_ROUND_S": "0.05",
        "ALERT_SETTLE_S": "0.3",
        "ALERT_RETRY_FIRST_S": "0.2",
        "LEASE_S": "1.5",
        **settings,
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


async def until(check, within_s=30):
    async with asyncio.timeout(within_s):
        while not await check():  # noqa: ASYNC110  what is waited for happens in another process
            await asyncio.sleep(0.05)


@pytest.mark.slow
async def test_killed_evaluators_lose_and_double_no_alert(pool, database):
    hall = Hall(pool, database, clock=utc_now, settings=QUICK)
    chance = random.Random(7)
    async with HttpReceiver().listening() as receiver:
        channel = {"kind": "webhook", "url": receiver.url}
        target, _ = await hall.targets.create("ops", channel, Severity.INFO, by="test")
        series = [await hall.series() for _ in range(4)]
        rule = await hall.rule(too_hot(), targets=[str(target.id)])
        start = utc_now() + timedelta(milliseconds=1)
        for _ in range(5):
            async with process(database):
                ends_at = asyncio.get_running_loop().time() + chance.uniform(0.1, 0.7)
                while asyncio.get_running_loop().time() < ends_at:
                    for one in series:
                        await hall.store(one, (utc_now(), chance.choice([20.0, 40.0])))
                    await asyncio.sleep(0.03)
        end = utc_now()
        for one in series:
            await hall.store(one, (end, 20.0))

        async def is_over():
            until_now = await pool.fetchval("SELECT min(evaluated_until) FROM alert_rule_work")
            waiting = await pool.fetchval("SELECT count(*) FROM alert_deliveries WHERE state = 'waiting'")
            return until_now > end and waiting == 0

        async with process(database):
            await until(is_over)

    outcome = await Backtest(pool, QUICK).run(rule.definition, start, end + SECOND)
    wanted = sorted((one.subject.key, one.episode.fired.at_us) for one in outcome.raised)
    found = sorted((one.subject, round(one.fired_at.timestamp() * 1e6)) for one in await hall.all_alerts())
    assert len(wanted) > 5
    assert found == wanted
    told = {
        (json.loads(body)["alert"]["id"], json.loads(body)["event"]): headers["iotistic-delivery"]
        for _, headers, body in receiver.requests
    }
    assert len(told) == 2 * len(wanted)
    await hall.sink.close()


async def test_a_message_that_was_being_sent_when_its_process_died_is_sent_again(pool, database):
    hall = Hall(pool, database, clock=utc_now, settings=QUICK)
    async with HttpReceiver(hold=asyncio.Event()).listening() as receiver:
        channel = {"kind": "webhook", "url": receiver.url}
        target, _ = await hall.targets.create("ops", channel, Severity.INFO, by="test")
        series = await hall.series()
        await hall.rule(too_hot(), targets=[str(target.id)])
        await hall.store(series, (utc_now() + timedelta(milliseconds=1), 40.0))

        async def has_begun():
            return bool(receiver.requests)

        async with process(database):
            await until(has_begun)
        receiver.hold.set()

        async def is_delivered():
            return await pool.fetchval("SELECT state FROM alert_deliveries") == "delivered"

        async with process(database):
            await until(is_delivered)

    ids = Counter(headers["iotistic-delivery"] for _, headers, _ in receiver.requests)
    # One of each life at least; a receiver that is slow to answer hears more of them, under one name.
    assert len(ids) == 1
    assert ids.total() >= 2
    await hall.sink.close()
