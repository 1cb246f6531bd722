"""Readings that arrive in any order, hours late or twice: every alert that should have been is raised, none twice."""

import random
from datetime import timedelta

import pytest
from alert_builders import SECOND, too_hot

from iotistic.control.alerts.backtest import Backtest
from iotistic.control.alerts.model import from_us

CONDITIONS = [too_hot(), too_hot(hysteresis=4), {"type": "rate_of_change", "metric": "temperature", "windowS": 60, "risesBy": 15}]  # fmt: skip


def arrivals(chance, start, seconds):
    """Return (arrival, series, time, value), most of them a little late, some by minutes or an hour, some twice."""
    found = []
    for series in range(3):
        value = 20.0
        for second in range(0, seconds, 7):
            time = start + timedelta(seconds=second + 1 + series / 10)
            value = chance.choice([value, value, value, 20.0, 22.0, 29.0, 35.0, 41.0])
            for _ in range(chance.choice([1, 1, 1, 2])):
                delay = chance.choice([0, 0, 0.5, 2, 4, 20, 90, 400, 1500])
                found.append((time + timedelta(seconds=delay), series, time, value))
    return sorted(found)


def overlaps(raised, now, subject, since, ended):
    episode = raised.episode
    over = from_us(episode.ended.at_us) if episode.ended else now
    return subject == raised.subject.key and since <= over and ended >= from_us(episode.fired.since_us)


@pytest.mark.slow
@pytest.mark.parametrize("for_s", [0, 20])
@pytest.mark.parametrize("condition", CONDITIONS, ids=["threshold", "hysteresis", "rate"])
async def test_no_reading_slips_through_however_late_it_comes(hall, condition, for_s):
    chance = random.Random(for_s + 1)
    series = [await hall.series() for _ in range(3)]
    rule = await hall.rule(condition, forS=for_s)
    start = hall.clock()
    waiting = arrivals(chance, start, 900)
    while waiting:
        come = [one for one in waiting if one[0] <= hall.clock()]
        waiting = waiting[len(come) :]
        for _, place, time, value in come:
            await hall.store(series[place], (time, value))
        await hall.look(seconds=15)
    for _ in range(4):
        await hall.look(seconds=60)

    outcome = await Backtest(hall.pool, hall.settings).run(rule.definition, start, hall.clock())
    alerts = await hall.all_alerts()
    stood = [(one.subject, one.since, one.resolved_at or hall.clock()) for one in alerts]
    missed = [one for one in outcome.raised if not any(overlaps(one, hall.clock(), *span) for span in stood)]
    assert len(outcome.raised) > 2
    assert missed == []
    fired = [(one.subject, one.fired_at) for one in alerts if one.fired_at]
    assert len(fired) == len(set(fired))
    assert await hall.faults() == [""]
    assert await hall.pool.fetchval("SELECT count(*) FROM alert_late") == 0
    assert hall.clock() - start > timedelta(seconds=900) + SECOND
