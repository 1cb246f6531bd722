"""Acknowledging, resolving, silencing: what people do with alerts."""

from datetime import timedelta

import pytest
from alert_builders import SECOND, too_hot

from iotistic.control.access.model import Scope
from iotistic.control.alerts.model import (
    AlertOver,
    AlertState,
    AlertUnknown,
    RuleTaken,
    RuleUnknown,
    SilenceInvalid,
    TargetUnknown,
)

ALL = Scope()


async def fire(hall, series, **more):
    await hall.store(series, (hall.clock() + SECOND, 40.0))
    await hall.look()
    return (await hall.all_alerts())[-1]


async def end(hall, series):
    await hall.store(series, (hall.clock() + SECOND, 1.0))
    await hall.look()


async def test_an_acknowledged_alert_names_who_and_ends_by_itself(hall):
    series = await hall.series()
    await hall.rule(too_hot())
    alert = await fire(hall, series)
    acknowledged = await hall.alerts.acknowledge(ALL, alert.id, by="user:ada")
    await end(hall, series)

    assert (acknowledged.state, acknowledged.acknowledged_by) == (AlertState.ACKNOWLEDGED, "user:ada")
    assert (await hall.alerts.find(ALL, alert.id)).state is AlertState.RESOLVED
    with pytest.raises(AlertOver):
        await hall.alerts.acknowledge(ALL, alert.id, by="user:ada")


async def test_an_alert_that_a_person_ended_comes_again_only_after_its_condition_did(hall):
    series = await hall.series()
    await hall.rule(too_hot())
    alert = await fire(hall, series)
    await hall.alerts.resolve(ALL, alert.id, by="user:ada")
    still = await fire(hall, series)
    await end(hall, series)
    again = await fire(hall, series)

    assert still.id == alert.id
    assert (again.id != alert.id, again.state) == (True, AlertState.FIRING)


@pytest.mark.parametrize("by", ["rule", "device"])
async def test_a_silenced_alert_wakes_when_the_silence_is_over(hall, by):
    series = await hall.series()
    rule = await hall.rule(too_hot())
    uuid = await hall.pool.fetchval("SELECT uuid FROM devices WHERE id = $1", series[0])
    chosen = {"rule": (rule.id, None), "device": (None, uuid)}[by]
    await hall.alerts.silence(
        ALL,
        rule_id=chosen[0],
        device_uuid=chosen[1],
        until=hall.clock() + timedelta(minutes=5),
        starts_at=None,
        comment="works in the hall",
        by="user:ada",
    )
    alert = await fire(hall, series)
    await hall.keeper.wake()
    asleep = await hall.alerts.find(ALL, alert.id)
    hall.clock.forward(300)
    await hall.keeper.wake()

    assert (alert.state, asleep.state) == (AlertState.SILENCED, AlertState.SILENCED)
    assert (await hall.alerts.find(ALL, alert.id)).state is AlertState.FIRING


async def test_a_silence_that_begins_now_reaches_what_fires_and_can_be_ended(hall):
    series = await hall.series()
    rule = await hall.rule(too_hot())
    alert = await fire(hall, series)
    silence = await hall.alerts.silence(
        ALL, rule_id=rule.id, device_uuid=None, until=hall.clock() + timedelta(hours=1), starts_at=None,
        comment="", by="test",
    )  # fmt: skip
    silenced = await hall.alerts.find(ALL, alert.id)
    await hall.alerts.end_silence(ALL, silence.id)

    assert silenced.state is AlertState.SILENCED
    assert (await hall.alerts.find(ALL, alert.id)).state is AlertState.FIRING
    assert await hall.alerts.silences(ALL) == []


async def test_an_alert_outside_the_scope_is_unknown(hall):
    series = await hall.series()
    await hall.rule(too_hot())
    alert = await fire(hall, series)
    nothing = Scope(frozenset())

    assert await hall.alerts.list_newest(nothing) == []
    for act in (hall.alerts.acknowledge, hall.alerts.resolve):
        with pytest.raises(AlertUnknown):
            await act(nothing, alert.id, by="test")


async def test_refusals_say_what_is_wrong(hall):
    rule = await hall.rule(too_hot(), name="Hot")
    with pytest.raises(RuleTaken):
        await hall.rule(too_hot(), name="hot")
    with pytest.raises(TargetUnknown):
        await hall.rule(too_hot(), targets=[str(rule.id)])
    with pytest.raises(SilenceInvalid):
        await hall.alerts.silence(
            ALL,
            rule_id=None,
            device_uuid=None,
            until=hall.clock() + SECOND,
            starts_at=None,
            comment="",
            by="x",
        )
    await hall.rules.remove(rule.id, by="test")
    with pytest.raises(RuleUnknown):
        await hall.rules.find(rule.id)


async def test_alerts_outlive_their_rule(hall):
    series = await hall.series()
    rule = await hall.rule(too_hot(), name="hot")
    alert = await fire(hall, series)
    await hall.rules.remove(rule.id, by="test")

    left = await hall.alerts.find(ALL, alert.id)
    assert (left.state, left.resolved_reason, left.rule_id, left.rule_name) == (
        AlertState.RESOLVED,
        "rule removed",
        None,
        "hot",
    )


async def test_counts_are_by_state_and_severity(hall):
    series = await hall.series()
    await hall.rule(too_hot())
    await hall.rule(too_hot(), severity="critical")
    await fire(hall, series)

    assert await hall.alerts.stats(ALL) == {"firing": {"warning": 1, "critical": 1}}
