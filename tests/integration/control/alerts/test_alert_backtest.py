"""A backtest says what live evaluation then does; what it costs is bounded."""

import asyncio
from datetime import timedelta

import numpy as np
import pytest
from alert_builders import SECOND, Hall, too_hot
from test_alert_devices import Lines, device

from iotistic.control.alerts.backtest import Backtest, BacktestBusy
from iotistic.control.alerts.conditions import RuleSpec
from iotistic.control.alerts.log_evaluate import LogLine
from iotistic.control.alerts.model import NotKept, RangeInvalid, from_us, to_us
from iotistic.control.alerts.settings import AlertSettings
from iotistic.control.alerts.sources import Sources

CONDITIONS = [
    too_hot(hysteresis=3),
    {"type": "rate_of_change", "metric": "temperature", "windowS": 30, "risesBy": 8, "fallsBy": 8},
    {"type": "no_data", "metric": "temperature", "afterS": 20},
    {"type": "anomaly", "metric": "temperature", "score": 0.02},
]


def at(transition):
    return from_us(transition.at_us) if transition else None


def definition(condition, **more):
    return RuleSpec.model_validate({"name": "x", "condition": condition, **more}).definition


@pytest.mark.parametrize("condition", CONDITIONS, ids=lambda one: one["type"])
async def test_a_backtest_finds_what_live_evaluation_raised(hall, condition):
    random = np.random.default_rng(4)
    series = [await hall.series() for _ in range(2)]
    rule = await hall.rule(condition)
    start = hall.clock()
    for _ in range(40):
        begin = hall.clock()
        for one in series:
            offsets = np.sort(random.choice(np.arange(1, 20_000), size=random.integers(0, 6), replace=False))
            readings = [
                (begin + timedelta(milliseconds=int(offset)), float(random.normal(28, 4)))
                for offset in offsets
            ]
            if readings:
                await hall.store(one, *readings)
        await hall.look(seconds=20)
    end = start + timedelta(seconds=40 * 20 - 5)

    outcome = await Backtest(hall.pool, hall.settings).run(rule.definition, start, end)

    live = sorted((one.subject, one.fired_at, one.resolved_at) for one in await hall.all_alerts())
    tried = sorted((one.subject.key, at(one.episode.fired), at(one.episode.ended)) for one in outcome.raised)
    assert outcome.is_complete
    assert len(live) > 1
    assert [one[:2] for one in tried] == [one[:2] for one in live]
    assert [one[2] for one in tried] == [one[2] for one in live]
    assert sum(outcome.per_day().values()) == len(live)


async def test_a_bound_of_readings_ends_it_and_says_up_to_when_it_holds(pool, database):
    hall = Hall(pool, database, settings=AlertSettings(alert_backtest_readings=1000))
    series = await hall.series()
    start = hall.clock() - timedelta(days=3)
    readings = [(start + timedelta(minutes=place), 40.0 * (place % 2)) for place in range(3 * 1440)]
    await hall.store(series, *readings)

    outcome = await Backtest(pool, hall.settings).run(definition(too_hot()), start, start + timedelta(days=3))

    assert not outcome.is_complete
    assert start < outcome.until < start + timedelta(days=3)
    assert 1000 <= outcome.readings < 3 * 1440
    assert outcome.durations_s()["median"] == 60
    await hall.sink.close()


async def test_nothing_is_written(hall):
    series = await hall.series()
    await hall.store(series, (hall.clock(), 40.0))
    await Backtest(hall.pool, hall.settings).run(
        definition(too_hot()), hall.clock() - 60 * SECOND, hall.clock() + SECOND
    )

    for table in ("alerts", "alert_states", "alert_deliveries", "alert_rules"):
        assert await hall.pool.fetchval(f"SELECT count(*) FROM {table}") == 0


async def test_what_cannot_be_tried_is_refused(hall):
    backtest, now = Backtest(hall.pool, hall.settings), hall.clock()
    with pytest.raises(NotKept):
        await backtest.run(definition({"type": "device_offline", "afterS": 60}), now - 60 * SECOND, now)
    with pytest.raises(RangeInvalid):
        await backtest.run(definition(too_hot()), now, now)
    with pytest.raises(RangeInvalid):
        await backtest.run(definition(too_hot()), now - timedelta(days=400), now)


async def test_only_a_few_are_tried_at_once(hall):
    await hall.series()
    backtest, now = Backtest(hall.pool, hall.settings), hall.clock()
    answers = await asyncio.gather(
        *(backtest.run(definition(too_hot()), now - timedelta(days=30), now) for _ in range(6)),
        return_exceptions=True,
    )

    assert [isinstance(one, BacktestBusy) for one in answers] == [False, False, True, True, True, True]


async def test_logs_are_tried_too(pool, database):
    lines = Lines()
    hall = Hall(pool, database, sources=Sources(logs=lines))
    uuid = await device(hall)
    lines.kept = [LogLine(str(uuid), to_us(hall.clock() + at * SECOND), "error") for at in (1, 2, 500)]
    condition = {"type": "log_pattern", "match": {"text": "error"}, "quietS": 60}

    outcome = await Backtest(pool, hall.settings, hall.sources).run(
        definition(condition), hall.clock(), hall.clock() + 3600 * SECOND
    )

    assert [one.duration_s(outcome.until) for one in outcome.raised] == [61, 60]
