"""Rules on the state of devices and on their logs."""

import json
from datetime import timedelta
from uuid import uuid4

import pytest
from alert_builders import Hall

from iotistic.control.alerts.log_evaluate import LogLine
from iotistic.control.alerts.model import AlertState, to_us
from iotistic.control.alerts.sources import Sources

FIRING, RESOLVED = AlertState.FIRING, AlertState.RESOLVED


async def device(hall, fleet="hall-1"):
    uuid = uuid4()
    await hall.pool.execute(
        "INSERT INTO fleet_devices (uuid, name, type, fleet_id, created_at) VALUES ($1, 'press', 'gateway', $2, $3)",
        uuid,
        fleet,
        hall.clock(),
    )
    return uuid


async def report(hall, uuid, **fields):
    await hall.pool.execute(
        "INSERT INTO device_states (device_uuid, fields, reported_at) VALUES ($1, $2::text::jsonb, $3) "
        "ON CONFLICT (device_uuid) DO UPDATE SET fields = EXCLUDED.fields, reported_at = EXCLUDED.reported_at",
        uuid,
        json.dumps(fields),
        hall.clock(),
    )


def services(**states):
    told = [{"serviceName": name, "status": state} for name, state in states.items()]
    return {"1": {"appId": 1, "services": told}}


async def test_a_device_that_is_not_heard_of_is_offline_until_it_is(hall):
    here, elsewhere = await device(hall), await device(hall, "hall-2")
    await hall.rule({"type": "device_offline", "afterS": 60}, selection={"fleet": "hall-1"})
    start = hall.clock()
    await report(hall, here)
    await hall.look(seconds=50)
    early = await hall.all_alerts()
    await hall.look(seconds=20)
    offline = await hall.all_alerts()
    await report(hall, here)
    await hall.look(seconds=5)

    assert early == []
    assert [(one.device_uuid, one.fired_at) for one in offline] == [(here, start + timedelta(seconds=60))]
    assert [one.state for one in await hall.all_alerts()] == [RESOLVED]
    assert elsewhere not in [one.device_uuid for one in offline]


class Noticed:
    """Stands for the domain that notices devices."""

    def __init__(self):
        self.at = {}

    async def seen(self):
        return self.at


async def test_a_device_that_is_noticed_is_not_offline_though_it_reports_nothing(pool, database):
    noticed = Noticed()
    hall = Hall(pool, database, sources=Sources(presence=noticed))
    uuid = await device(hall)
    await hall.rule({"type": "device_offline", "afterS": 60})
    noticed.at[uuid] = hall.clock() + timedelta(seconds=100)
    await hall.look(seconds=150)
    noticed_lately = await hall.all_alerts()
    await hall.look(seconds=20)

    assert noticed_lately == []
    assert [one.state for one in await hall.all_alerts()] == [FIRING]


async def test_a_service_that_does_not_run_fires_after_its_time(hall):
    uuid = await device(hall)
    await hall.rule({"type": "service_not_running", "service": "web"}, forS=30)
    await report(hall, uuid, apps=services(web="running", db="exited"))
    await hall.look(seconds=5)
    fine = await hall.all_alerts()
    await report(hall, uuid, apps=services(web="exited"))
    await hall.look(seconds=5)
    pending = [one.state for one in await hall.all_alerts()]
    await hall.look(seconds=31)
    fired = [one.state for one in await hall.all_alerts()]
    await report(hall, uuid, apps=services(web="Running"))
    await hall.look(seconds=5)

    assert (fine, pending, fired) == ([], [AlertState.PENDING], [FIRING])
    assert [one.state for one in await hall.all_alerts()] == [RESOLVED]


async def test_a_reported_number_is_compared(hall):
    uuid = await device(hall)
    await hall.rule({"type": "reported_value", "field": "cpu_usage", "above": 90})
    for value in (50, "a lot", None, True, 95.5):
        await report(hall, uuid, cpu_usage=value)
        await hall.look(seconds=5)

    assert [(one.state, one.value, one.metric) for one in await hall.all_alerts()] == [
        (FIRING, 95.5, "cpu_usage")
    ]


@pytest.mark.parametrize(
    "apps", ["text", [1], {"1": "x"}, {"1": {"services": "x"}}, {"1": {"services": [1]}}, {}]
)
async def test_reports_of_another_shape_raise_nothing(hall, apps):
    await report(hall, await device(hall), apps=apps)
    await hall.rule({"type": "service_not_running"})
    await hall.look(seconds=5)

    assert await hall.all_alerts() == []
    assert await hall.faults() == [""]


async def test_the_alert_of_a_device_that_left_ends(hall):
    uuid = await device(hall)
    await hall.rule({"type": "device_offline", "afterS": 10})
    await hall.look(seconds=60)
    await hall.pool.execute("DELETE FROM fleet_devices WHERE uuid = $1", uuid)
    await hall.look(seconds=5)

    assert [(one.state, one.resolved_reason) for one in await hall.all_alerts()] == [
        (RESOLVED, "device left")
    ]


class Lines:
    """Stands for the domain that keeps logs: a list, its length as the cursor."""

    def __init__(self):
        self.kept = []

    async def end(self):
        return str(len(self.kept))

    async def after(self, cursor, *, limit):
        lines = self.kept[int(cursor) : int(cursor) + limit]
        return lines, str(int(cursor) + len(lines))

    async def between(self, devices, start, end, *, limit):
        wanted = [one for one in self.kept if to_us(start) <= one.at_us < to_us(end)]
        return [one for one in wanted if devices is None or one.device_uuid in map(str, devices)][:limit]


async def test_log_lines_are_judged_once_by_a_cursor(pool, database):
    lines = Lines()
    hall = Hall(pool, database, sources=Sources(logs=lines))
    uuid, stranger = await device(hall), await device(hall, "hall-2")
    condition = {"type": "log_count", "match": {"text": "error"}, "count": 2, "windowS": 60}
    await hall.rule(condition, selection={"fleet": "hall-1"})
    lines.kept.append(LogLine(str(uuid), to_us(hall.clock()), "error before the rule looked"))
    await hall.look(seconds=5)
    for one in (uuid, stranger, uuid, stranger):
        lines.kept.append(LogLine(str(one), to_us(hall.clock()), "Error!"))
        await hall.look(seconds=5)
    fired = await hall.all_alerts()
    await hall.look(seconds=120)

    assert [(one.device_uuid, one.state) for one in fired] == [(uuid, FIRING)]
    assert [one.state for one in await hall.all_alerts()] == [RESOLVED]


async def test_without_logs_a_rule_on_them_says_so(hall):
    await hall.rule({"type": "log_pattern", "match": {"text": "x"}})
    await hall.look(seconds=5)

    assert await hall.faults() == ["No logs of devices are kept here."]
