"""Rules on what devices log, over the logs that are kept: no line slips through, however uploads race."""

import asyncio
import json
import uuid as uuids
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from iotistic.control.alerts.backtest import Backtest
from iotistic.control.alerts.conditions import RuleSpec
from iotistic.control.alerts.keeper import AlertKeeper
from iotistic.control.alerts.model import AlertState
from iotistic.control.alerts.service import RuleService
from iotistic.control.alerts.settings import AlertSettings
from iotistic.control.alerts.sources import Sources
from iotistic.control.devicelogs.arrivals import CursorInvalid, LogArrivals
from iotistic.control.devicelogs.service import DeviceLogs
from iotistic.control.devicelogs.settings import DeviceLogSettings
from iotistic.control.devices.service import utc_now
from iotistic.control.history.keeper import HistoryKeeper
from iotistic.control.history.settings import HistorySettings
from iotistic.entrypoints.control.bridges import LogLines

CLUSTER = "UPDATE device_log_numbering SET cluster = cluster + 1"


class Site:
    """Devices that log, and a keeper that judges rules; time is moved by hand."""

    def __init__(self, pool):
        self.pool, self.ahead = pool, timedelta()
        self.logs = DeviceLogs(pool, DeviceLogSettings(), HistorySettings(), clock=self.clock)
        self.arrivals = LogArrivals(pool)
        self.sources = Sources(logs=LogLines(pool))
        self.keeper = AlertKeeper(pool, AlertSettings(), self.sources, clock=self.clock)
        self.rules = RuleService(pool, clock=self.clock)

    def clock(self):
        return utc_now() + self.ahead

    async def device(self):
        uuid = str(uuids.uuid4())
        await self.pool.execute(
            "INSERT INTO fleet_devices (uuid, name, type, fleet_id) VALUES ($1::text::uuid, 'press', 'gateway', 'hall')",
            uuid,
        )
        return uuid

    async def log(self, uuid, *messages, service="web", level="info", ago_s=0.0):
        at = round((self.clock().timestamp() - ago_s) * 1000)
        said = [
            {"message": message, "timestamp": at + place, "serviceName": service, "level": level}
            for place, message in enumerate(messages)
        ]
        body = b"".join(json.dumps(one).encode() + b"\n" for one in said)

        async def stream():
            yield body

        return await self.logs.upload(uuid, stream(), "")

    async def rule(self, condition, **more):
        spec = RuleSpec.model_validate({"name": "a rule", "condition": condition, **more})
        made = await self.rules.create(spec, by="test")
        await self.look()
        return made

    async def look(self, *, seconds=5.0):
        self.ahead += timedelta(seconds=seconds)
        await self.keeper.look_at_all()

    async def fired(self):
        rows = await self.pool.fetch("SELECT device_uuid::text, state FROM alerts ORDER BY created_at")
        return [(row["device_uuid"], row["state"]) for row in rows]

    async def everything(self, cursor="0:0", limit=3):
        """Return all messages after a cursor, taken in small bites, and the cursor behind them."""
        found = []
        while True:
            lines, cursor = await self.arrivals.after(cursor, limit=limit)
            found += [line.message for line in lines]
            if len(lines) < limit:
                return found, cursor

    @asynccontextmanager
    async def slow_upload(self, uuid, message):
        """Keep a line whose transaction is open inside the block and committed at its end."""
        async with self.pool.acquire() as db:
            slow = DeviceLogs(_One(db), DeviceLogSettings(), HistorySettings(), clock=self.clock)
            transaction = db.transaction()
            await transaction.start()

            async def body():
                yield json.dumps({"message": message, "id": 1}).encode()

            await slow.upload(uuid, body(), "")
            yield
            await transaction.commit()


class _One:
    """A pool of one connection, whose transaction somebody else ends."""

    def __init__(self, db):
        self._db = db
        self.fetchval = db.fetchval

    @asynccontextmanager
    async def acquire(self):
        yield self._db


@pytest.fixture
async def site(pool):
    made = Site(pool)
    await HistoryKeeper(pool, HistorySettings()).keep()
    return made


async def test_a_pattern_fires_on_the_device_that_said_it_and_on_no_other(site):
    said, quiet = await site.device(), await site.device()
    condition = {"type": "log_pattern", "match": {"text": "out of memory"}, "quietS": 60, "level": "error"}
    await site.rule(condition)
    await site.log(said, "Out of memory", level="info")
    await site.log(quiet, "all is well", level="error")
    await site.look()
    before = await site.fired()
    await site.log(said, "kernel: Out of memory: killed", level="error")
    await site.look()
    fired = await site.fired()
    await site.look(seconds=120)

    assert (before, fired) == ([], [(said, AlertState.FIRING)])
    assert await site.fired() == [(said, AlertState.RESOLVED)]


async def test_a_count_counts_over_uploads_and_of_each_device_alone(site):
    first, second = await site.device(), await site.device()
    await site.rule({"type": "log_count", "match": {"text": "timeout"}, "count": 3, "windowS": 60})
    for uuid in (first, second, first, second):
        await site.log(uuid, "timeout of the bus")
        await site.look(seconds=2)
    before = await site.fired()
    await site.log(second, "timeout again")
    await site.look()

    assert (before, await site.fired()) == ([], [(second, AlertState.FIRING)])


async def test_a_sequence_fires_in_its_order_only(site):
    right, wrong = await site.device(), await site.device()
    await site.rule(
        {"type": "log_sequence", "steps": [{"text": "stopping"}, {"text": "panic"}], "withinS": 60}
    )
    await site.log(wrong, "panic", "stopping")
    await site.log(right, "stopping")
    await site.look()
    await site.log(right, "panic")
    await site.look()

    assert await site.fired() == [(right, AlertState.FIRING)]


async def test_what_was_said_before_the_rule_is_not_judged_and_a_repeated_upload_counts_once(site):
    uuid = await site.device()
    await site.log(uuid, "error one", "error two")
    await site.rule({"type": "log_count", "match": {"text": "error"}, "count": 2, "windowS": 600})
    at = site.ahead
    first = await site.log(uuid, "error three", ago_s=2)
    site.ahead = at
    await site.look()

    assert (first.stored, await site.fired()) == (1, [])


@pytest.mark.parametrize(
    ("condition", "seconds"),
    [
        ({"type": "log_pattern", "match": {"text": "error"}, "quietS": 60}, [61]),
        ({"type": "log_count", "match": {"text": "error"}, "count": 2, "windowS": 60}, [59]),
        ({"type": "log_sequence", "steps": [{"text": "error"}, {"text": "error"}], "withinS": 60}, [60]),
    ],
)
async def test_rules_are_tried_on_the_logs_that_are_kept(site, condition, seconds):
    uuid = await site.device()
    for ago_s in (3000, 2999, 2000):
        await site.log(uuid, "error", ago_s=ago_s)
    spec = RuleSpec.model_validate({"name": "a rule", "condition": condition})
    now = site.clock()
    outcome = await Backtest(site.pool, AlertSettings(), site.sources).run(
        spec.definition, now - timedelta(hours=1), now
    )

    lasted = [round(one.duration_s(outcome.until)) for one in outcome.raised]
    assert lasted[: len(seconds)] == seconds
    assert (outcome.readings, outcome.is_complete) == (3, True)


async def test_a_slower_upload_is_not_passed_by_a_faster_one(site):
    slow, fast = await site.device(), await site.device()
    cursor = await site.arrivals.end()
    async with site.slow_upload(slow, "slow"):
        await site.log(fast, "fast")
        while_open, cursor = await site.everything(cursor)
        in_between = await site.arrivals.end()
    after, cursor = await site.everything(cursor)

    assert (while_open, sorted(after)) == ([], ["fast", "slow"])
    assert "slow" in (await site.everything(in_between))[0]
    assert (await site.everything(cursor))[0] == []


async def test_racing_uploads_are_each_read_once_in_the_order_of_their_device(site):
    devices = [await site.device() for _ in range(6)]
    cursor, found, done = await site.arrivals.end(), [], asyncio.Event()

    async def uploads(uuid):
        for number in range(15):
            await site.log(uuid, *(f"{uuid} {number * 3 + part}" for part in range(3)))

    async def reads():
        nonlocal cursor
        while not done.is_set():
            some, cursor = await site.everything(cursor, limit=7)
            found.extend(some)

    reading = asyncio.create_task(reads())
    await asyncio.gather(*map(uploads, devices))
    done.set()
    await reading
    found += (await site.everything(cursor))[0]

    assert len(found) == len(set(found)) == 6 * 45
    for uuid in devices:
        assert [line for line in found if line.startswith(uuid)] == [f"{uuid} {n}" for n in range(45)]


async def test_a_backup_that_is_restored_elsewhere_goes_on_behind_every_cursor(site):
    uuid = await site.device()
    await site.log(uuid, "before")
    cursor = await site.arrivals.end()
    await site.pool.execute(CLUSTER)
    await site.pool.execute("UPDATE device_log_arrivals SET place = place + 1000000")
    await site.log(uuid, "after")

    assert (await site.everything(cursor.replace(":", "0000:")))[0] == ["after"]
    assert await site.pool.fetchval("SELECT ahead FROM device_log_numbering") == 1 << 48


async def test_lines_of_a_device_that_is_gone_are_passed_over(site):
    gone, here = await site.device(), await site.device()
    cursor = await site.arrivals.end()
    for number in range(5):
        await site.log(gone, f"gone {number}")
    await site.log(here, "here")
    await site.pool.execute("DELETE FROM fleet_devices WHERE uuid = $1::text::uuid", gone)

    assert (await site.arrivals.after(cursor, limit=2))[0][0].message == "here"


async def test_arrivals_are_dropped_with_their_lines(site):
    uuid = await site.device()
    await site.log(uuid, "old")
    keeper = HistoryKeeper(site.pool, HistorySettings(), clock=lambda: utc_now() + timedelta(days=20))
    kept = await keeper.keep()

    assert any(name.startswith("device_log_arrivals") for name in kept.dropped)
    assert (await site.everything())[0] == []


@pytest.mark.parametrize("cursor", ["", "x", "1", "1:", ":1", "-1:2", "1:²", "1:2:3"])
async def test_a_cursor_that_is_none_is_refused(site, cursor):
    with pytest.raises(CursorInvalid):
        await site.arrivals.after(cursor, limit=1)
