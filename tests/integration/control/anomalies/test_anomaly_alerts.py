"""Rules on anomalies that were found: both origins raise alerts, once each, and judging one ends its alert."""

from datetime import timedelta

from anomaly_site import look, wave
from test_anomaly_reports_stored import document

from iotistic.control.alerts.conditions import RuleSpec
from iotistic.control.alerts.keeper import AlertKeeper
from iotistic.control.alerts.service import RuleService
from iotistic.control.alerts.settings import AlertSettings


async def rule(site, **condition):
    spec = {"name": f"unusual {len(condition)}", "condition": {"type": "anomaly_found", **condition}}
    selection = condition.pop("selection", {})
    spec = {**spec, "condition": {"type": "anomaly_found", **condition}, "selection": selection}
    return await RuleService(site.pool, clock=site.clock).create(RuleSpec.model_validate(spec), by="test")


async def evaluate(site, seconds=10.0):
    site.clock.forward(seconds)
    await AlertKeeper(site.pool, AlertSettings(), clock=site.clock).look_at_all()
    rows = await site.pool.fetch("SELECT metric, state, value FROM alerts ORDER BY metric, created_at")
    assert await site.pool.fetchval("SELECT string_agg(fault, '') FROM alert_rule_work") == ""
    return [tuple(row) for row in rows]


async def test_anomalies_of_both_origins_raise_one_alert_each_and_are_over_when_they_are(site):
    agent, series = await site.agent(), await site.series()
    await rule(site, quietS=300)
    site.clock.forward(1)
    for count in (1, 2, 3):
        await site.report(agent, anomalies=[document(at=site.clock(), count=count)])
    await site.store(series, site.clock() - timedelta(seconds=400), wave(390, _250=60.0))
    async with site.watching() as turn:
        await look(turn)

    found = [await evaluate(site), await evaluate(site)]
    over = await evaluate(site, 400)

    assert found == [[("cpu_usage", "firing", 97.5), ("flow", "firing", 60.0)]] * 2
    assert over == [("cpu_usage", "resolved", 97.5), ("flow", "resolved", 60.0)]


async def test_an_alert_ends_when_somebody_says_that_there_was_nothing(site):
    agent = await site.agent()
    await rule(site)
    site.clock.forward(1)
    await site.report(agent, anomalies=[document(at=site.clock())])
    before = await evaluate(site)
    await site.judge((await site.listed())[0], "wrong")

    assert before == [("cpu_usage", "firing", 97.5)]
    assert await evaluate(site) == [("cpu_usage", "resolved", 97.5)]


async def test_a_rule_takes_only_what_it_is_about(site):
    chosen, other, series = await site.agent(), await site.agent(), await site.series()
    await rule(
        site, metric="cpu_*", leastSeverity="critical", selection={"devices": [chosen[0]], "fleet": "hall"}
    )
    site.clock.forward(1)
    told = [
        document("a", at=site.clock(), severity="critical"),
        document("b", at=site.clock(), severity="critical", metric="memory_percent"),
        document("c", at=site.clock(), metric="cpu_temp"),
    ]
    for agent in (chosen, other):
        await site.report(agent, anomalies=told)
    await site.store(series, site.clock() - timedelta(seconds=400), wave(390, _250=60.0))
    async with site.watching() as turn:
        await look(turn)

    assert await evaluate(site) == [("cpu_usage", "firing", 97.5)]
    assert await site.pool.fetchval("SELECT device_uuid::text FROM alerts") == chosen[0]
