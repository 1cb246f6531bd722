"""Rules on telemetry against a real database, stored by the product's own sink."""

import asyncio
from datetime import timedelta

import pytest
from alert_builders import SECOND, Hall, too_hot

from iotistic.control.alerts.conditions import RuleSpec
from iotistic.control.alerts.model import AlertState


@pytest.mark.every_store
async def test_an_alert_fires_and_resolves_at_the_times_of_the_data(hall):
    series = await hall.series()
    await hall.rule(too_hot())
    start = hall.clock()
    await hall.store(series, (start + SECOND, 20.0), (start + 2 * SECOND, 31.0), (start + 3 * SECOND, 32.0))
    await hall.look()
    fired = await hall.all_alerts()
    await hall.store(series, (start + 12 * SECOND, 29.0))
    await hall.look()
    resolved = await hall.all_alerts()

    assert [(one.state, one.fired_at, one.value) for one in fired] == [
        (AlertState.FIRING, start + 2 * SECOND, 31.0)
    ]
    assert [(one.state, one.resolved_at) for one in resolved] == [(AlertState.RESOLVED, start + 12 * SECOND)]


async def test_what_has_not_lasted_is_pending_and_forgotten_when_it_ends(hall):
    series = await hall.series()
    await hall.rule(too_hot(), forS=60)
    start = hall.clock()
    await hall.store(series, (start + SECOND, 31.0))
    await hall.look()
    pending = await hall.all_alerts()
    await hall.store(series, (start + 11 * SECOND, 20.0))
    await hall.look()

    assert [one.state for one in pending] == [AlertState.PENDING]
    assert await hall.all_alerts() == []


async def test_what_lasts_across_many_looks_fires_once(hall):
    series = await hall.series()
    await hall.rule(too_hot(), forS=30)
    start = hall.clock()
    for second in range(0, 100, 5):
        await hall.store(series, (start + (second + 1) * SECOND, 31.0))
        await hall.look(seconds=5)

    assert [(one.state, one.since, one.fired_at) for one in await hall.all_alerts()] == [
        (AlertState.FIRING, start + SECOND, start + 31 * SECOND)
    ]


async def test_only_selected_devices_are_judged(hall):
    here = await hall.series(mac="aabbccddee01")
    elsewhere = await hall.series(mac="aabbccddee02")
    await hall.rule(too_hot(), selection={"devices": ["AA:BB:CC:DD:EE:01"]})
    at = hall.clock() + SECOND
    await hall.store(here, (at, 40.0))
    await hall.store(elsewhere, (at, 40.0))
    await hall.look()

    assert [one.subject for one in await hall.all_alerts()] == [f"{here[0]}/{here[1]}"]


async def test_a_fleet_selects_its_controllers_and_the_sensors_on_their_pins(hall):
    controller, sensor = await hall.series(mac="aabbccddee03"), await hall.series()
    stranger = await hall.series()
    await hall.pool.execute(
        "INSERT INTO fleet_devices (uuid, name, type, fleet_id, mac_address) "
        "VALUES (gen_random_uuid(), 'press', 'gateway', 'hall-1', 'AA-BB-CC-DD-EE-03')"
    )
    connector = await hall.pool.fetchval(
        "INSERT INTO connectors (controllerid, connectornumber) VALUES ($1, 1) RETURNING id", controller[0]
    )
    await hall.pool.execute(
        "INSERT INTO pins (connectorid, position, deviceid) VALUES ($1, 1, $2)", connector, sensor[0]
    )
    await hall.rule(too_hot(), selection={"fleet": "hall-1"})
    at = hall.clock() + SECOND
    for series in (controller, sensor, stranger):
        await hall.store(series, (at, 40.0))
    await hall.look()

    assert {one.subject for one in await hall.all_alerts()} == {
        f"{controller[0]}/{controller[1]}",
        f"{sensor[0]}/{sensor[1]}",
    }


async def test_readings_out_of_order_within_the_time_to_settle_are_judged_in_order(hall):
    series = await hall.series()
    await hall.rule(too_hot(), forS=4)
    start = hall.clock()
    await hall.store(series, (start + 5 * SECOND, 31.0), (start + SECOND, 31.0))
    await hall.store(series, (start + 3 * SECOND, 20.0))
    await hall.look(seconds=15)

    assert [one.state for one in await hall.all_alerts()] == [AlertState.PENDING]


async def test_a_reading_that_came_after_its_minute_was_judged_still_raises_its_alert(hall):
    series = await hall.series()
    await hall.rule(too_hot())
    start = hall.clock()
    await hall.store(series, (start + SECOND, 20.0), (start + 30 * SECOND, 20.0))
    await hall.look(seconds=40)
    await hall.store(series, (start + 10 * SECOND, 35.0))
    await hall.look(seconds=10)
    before = await hall.all_alerts()
    await hall.look(seconds=120)
    await hall.look(seconds=120)

    found = await hall.all_alerts()
    assert before == []
    assert [(one.state, one.is_late, one.fired_at, one.resolved_at) for one in found] == [
        (AlertState.RESOLVED, True, start + 10 * SECOND, start + 30 * SECOND)
    ]


async def test_a_backlog_of_hours_is_judged_and_its_alert_goes_on(hall):
    series = await hall.series()
    await hall.rule(too_hot(), forS=600)
    start = hall.clock()
    await hall.store(series, (start + SECOND, 20.0))
    await hall.look(seconds=3600)
    backlog = [(start + timedelta(minutes=minute), 33.0) for minute in range(20, 59)]
    await hall.store(series, *backlog)
    await hall.look(seconds=10)
    await hall.look(seconds=10)
    found = await hall.all_alerts()
    await hall.store(series, (hall.clock() - 4 * SECOND, 20.0))
    await hall.look(seconds=10)

    assert [(one.state, one.is_late, one.since) for one in found] == [
        (AlertState.FIRING, True, start + timedelta(minutes=20))
    ]
    assert [one.state for one in await hall.all_alerts()] == [AlertState.RESOLVED]


async def test_a_late_reading_takes_no_alert_back_and_raises_none_twice(hall):
    series = await hall.series()
    await hall.rule(too_hot(), forS=20)
    start = hall.clock()
    await hall.store(series, (start + SECOND, 31.0), (start + 31 * SECOND, 31.0))
    await hall.look(seconds=45)
    await hall.store(series, (start + 15 * SECOND, 20.0))
    for _ in range(3):
        await hall.look(seconds=60)
    await hall.store(series, (start + 16 * SECOND, 33.0), received=hall.clock())
    for _ in range(3):
        await hall.look(seconds=60)

    assert [one.fired_at for one in await hall.all_alerts()] == [start + 31 * SECOND]


async def test_a_reading_that_was_merged_into_a_closed_day_is_judged(hall):
    series = await hall.series()
    await hall.rule(too_hot())
    start = hall.clock()
    await hall.store(series, (start + SECOND, 20.0), (start + 50 * SECOND, 20.0))
    await hall.look(seconds=600)
    late = start + 20 * SECOND
    await hall.pool.execute(
        'INSERT INTO late_readings ("timestamp", device_id, datapoint_id, value) VALUES ($1, $2, $3, 50)',
        late,
        *series,
    )
    await hall.pool.execute("SELECT merge_late_readings(($1::timestamptz AT TIME ZONE 'UTC')::date)", late)
    await hall.look(seconds=10)

    assert [(one.fired_at, one.is_late) for one in await hall.all_alerts()] == [(late, True)]


@pytest.mark.every_store
async def test_silence_fires_and_a_reading_ends_it(hall):
    series = await hall.series()
    never = await hall.series()
    await hall.rule({"type": "no_data", "metric": "temperature", "afterS": 60})
    start = hall.clock()
    await hall.store(series, (start + SECOND, 20.0))
    await hall.look(seconds=60)
    early = await hall.all_alerts()
    await hall.look(seconds=10)
    silent = await hall.all_alerts()
    await hall.store(series, (hall.clock() - 2 * SECOND, 20.0))
    await hall.look(seconds=10)

    assert early == []
    assert [(one.subject, one.fired_at) for one in silent] == [
        (f"{series[0]}/{series[1]}", start + 61 * SECOND)
    ]
    assert [one.state for one in await hall.all_alerts()] == [AlertState.RESOLVED]
    assert never not in [one.subject for one in silent]


async def test_a_silence_that_lasts_fires_once_and_one_alert_for_each_episode(hall):
    series = await hall.series()
    await hall.rule({"type": "no_data", "metric": "temperature", "afterS": 30})
    for _ in range(3):
        await hall.store(series, (hall.clock() + SECOND, 1.0))
        for _ in range(6):
            await hall.look(seconds=20)
    await hall.look(seconds=300)

    states = [one.state for one in await hall.all_alerts()]
    assert states == [AlertState.RESOLVED, AlertState.RESOLVED, AlertState.FIRING]


async def test_a_rule_that_was_not_evaluated_for_hours_catches_up(hall):
    series = await hall.series()
    await hall.rule(too_hot(), forS=60)
    start = hall.clock()
    await hall.store(series, *[(start + minute * 60 * SECOND, 31.0) for minute in range(1, 60)])
    await hall.store(series, (start + 3600 * SECOND, 20.0))
    await hall.look(seconds=3 * 3600)

    assert [(one.state, one.fired_at) for one in await hall.all_alerts()] == [
        (AlertState.RESOLVED, start + 120 * SECOND)
    ]
    assert await hall.faults() == [""]


async def test_what_was_measured_before_a_rule_began_is_not_its_business(hall):
    series = await hall.series()
    start = hall.clock()
    await hall.rule(too_hot())
    await hall.store(series, (start - 600 * SECOND, 40.0), (start + SECOND, 20.0))
    for _ in range(4):
        await hall.look(seconds=60)

    assert await hall.all_alerts() == []


async def test_several_processes_raise_each_alert_once(hall, pool, database):
    series = [await hall.series() for _ in range(5)]
    for _ in range(4):
        await hall.rule(too_hot(), forS=10)
    others = [Hall(pool, database, clock=hall.clock) for _ in range(3)]
    start = hall.clock()
    for second in range(0, 60, 6):
        for one in series:
            await hall.store(one, (start + (second + 1) * SECOND, 31.0))
        hall.clock.forward(6)
        await asyncio.gather(*(one.keeper.look_at_all() for one in (hall, *others)))

    found = await hall.all_alerts()
    assert len(found) == 20
    assert len({one.fingerprint for one in found}) == 20
    assert await hall.faults() == [""] * 4


async def test_a_rule_with_a_fault_says_why_and_keeps_no_other_waiting(hall):
    series = await hall.series()
    await hall.rule(too_hot(), selection={"tags": {"floor": "2"}})
    await hall.rule(too_hot())
    await hall.store(series, (hall.clock() + SECOND, 31.0))
    await hall.look()

    assert len(await hall.all_alerts()) == 1
    assert sorted(await hall.faults()) == ["", "Devices cannot be selected by tags here."]


async def test_without_rules_storing_leaves_no_marks(hall):
    series = await hall.series()
    await hall.store(series, (hall.clock(), 1.0))
    before = await hall.pool.fetchval("SELECT count(*) FROM alert_marks")
    await hall.rule(too_hot())
    await hall.store(series, (hall.clock() + SECOND, 1.0))

    assert (before, await hall.pool.fetchval("SELECT count(*) FROM alert_marks")) == (0, 1)


@pytest.mark.parametrize("change", [{"name": "other"}, {"severity": "critical"}])
async def test_a_new_name_or_severity_leaves_what_is_open(hall, change):
    rule = await hall.rule(too_hot(), name="hot")
    await hall.store(await hall.series(), (hall.clock() + SECOND, 31.0))
    await hall.look()
    spec = {"name": "hot", "condition": rule.definition.condition, **change}
    await hall.rules.change(rule.id, RuleSpec.model_validate(spec), by="test")

    assert [one.state for one in await hall.all_alerts()] == [AlertState.FIRING]


async def test_another_condition_ends_what_is_open_and_begins_anew(hall):
    series = await hall.series()
    rule = await hall.rule(too_hot(), name="hot")
    await hall.store(series, (hall.clock() + SECOND, 31.0))
    await hall.look()
    spec = {"name": "hot", "condition": too_hot(hysteresis=1)}
    await hall.rules.change(rule.id, RuleSpec.model_validate(spec), by="test")
    ended = await hall.all_alerts()
    await hall.store(series, (hall.clock() + SECOND, 31.0))
    await hall.look()

    assert [(one.state, one.resolved_reason) for one in ended] == [(AlertState.RESOLVED, "rule changed")]
    assert [one.state for one in await hall.all_alerts()] == [AlertState.RESOLVED, AlertState.FIRING]
