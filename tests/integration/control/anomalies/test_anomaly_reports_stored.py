"""What agents report of anomalies is kept once, whatever is sent again; verdicts come back to them in their target."""

import asyncio
from datetime import timedelta
from uuid import UUID, uuid4

from iotistic.control.anomalies.health import AnomalyHealth
from iotistic.detection.events import Severity


def document(name="3fa2c81b-19a4f0c2b10", *, at, **changes):
    written = at.isoformat().replace("+00:00", "Z")
    return {
        "id": name,
        "fingerprint": "3fa2c81b90cd1e77",
        "timestamp": written,
        "lastSeen": written,
        "count": 1,
        "severity": "warning",
        "source": "system",
        "metric": "cpu_usage",
        "value": 97.5,
        "unit": "%",
        "expectedRange": [2.1, 9.8],
        "deviation": 41.2,
        "detectionMethod": "zscore",
        "confidence": 0.95,
        "context": {"recent_values": [6.1, 97.5], "baseline": 5.9, "trend": "steady", "windowSize": 2881},
        **changes,
    }


async def test_what_an_agent_tells_is_one_anomaly_however_often_it_is_told(site):
    agent = await site.agent()
    first = document(at=site.clock())
    later = first | {"lastSeen": (site.clock() + timedelta(seconds=90)).isoformat()}
    worse = later | {"count": 3, "severity": "critical", "value": 99.5}

    answers = [
        await site.report(agent, is_online=True, anomalies=[one])
        for one in (first, first, worse, first, worse, worse | {"count": 8})
    ]

    assert {answer.status_code for answer in answers} == {200}
    (found,) = await site.listed()
    assert (found["count"], found["severity"], found["value"]) == (8, "critical", 99.5)
    assert (found["name"], found["origin"], found["deviceName"]) == (first["id"], "agent", "press 7")
    assert found["context"] == {
        "recentValues": [6.1, 97.5],
        "baseline": 5.9,
        "trend": "steady",
        "windowSize": 2881,
    }


async def test_two_devices_may_give_the_same_id(site):
    for agent in [await site.agent(), await site.agent()]:
        await site.report(agent, anomalies=[document(at=site.clock())])

    assert len({one["deviceUuid"] for one in await site.listed()}) == 2


async def test_the_same_report_over_many_connections_at_once_is_stored_once(site):
    agent = await site.agent()
    told = [document(f"a{number}", at=site.clock()) for number in range(10)]

    answers = await asyncio.gather(*(site.report(agent, anomalies=told[::step]) for step in [1, -1] * 10))

    assert {answer.status_code for answer in answers} == {200}
    assert len(await site.listed()) == 10


async def test_garbage_among_anomalies_costs_nothing_but_itself(site):
    agent = await site.agent()
    good = document(at=site.clock())
    garbage = [
        None,
        7,
        "x",
        [],
        {},
        {"id": "a"},
        good | {"id": "b", "severity": "loud"},
        good | {"id": "c", "value": "9"},
        good | {"id": "d" * 5000},
        good | {"id": "e", "metric": ""},
        good | {"id": "f", "count": -1},
    ]

    mixed = await site.report(agent, is_online=True, anomalies=[*garbage, good, *garbage])
    others = [await site.report(agent, anomalies=one) for one in ("x", None, {"a": 1}, [[[]]], 5)]
    many = await site.report(agent, anomalies=[document(f"many-{n}", at=site.clock()) for n in range(500)])

    assert {answer.status_code for answer in (mixed, *others, many)} == {200}
    assert [one["name"] for one in await site.listed(limit=500) if "many" not in one["name"]] == [good["id"]]
    assert len(await site.listed(limit=500)) == 51


async def test_pages_hold_each_anomaly_once_and_filters_hold(site):
    agent, other = await site.agent(), await site.agent()
    for number in range(25):
        at = site.clock() - timedelta(minutes=number // 2)
        changes = {"metric": f"m{number % 3}", "severity": ["info", "warning", "critical"][number % 3]}
        await site.report(agent, anomalies=[document(f"n{number}", at=at, **changes)])
    await site.report(other, anomalies=[document("other", at=site.clock(), source="sensor")])

    names, before = [], {}
    while before is not None:
        page = await site.get("/anomalies", limit=7, deviceUuid=agent[0], **before)
        names += [one["name"] for one in page["items"]]
        before = {"before": page["next"]} if page["next"] else None

    assert sorted(names) == sorted(f"n{number}" for number in range(25))
    assert len(await site.listed(severity="warning")) == 8 + 8 + 1
    assert len(await site.listed(metric="m0")) == 9
    assert len(await site.listed(origin="stream")) == 0
    assert len(await site.listed(fleet="hall")) == 26
    assert len(await site.listed(fleet="elsewhere")) == 0
    since = (site.clock() - timedelta(minutes=1)).isoformat()
    assert len(await site.listed(since=since, deviceUuid=agent[0])) == 4
    wrong = await site.client.get("/anomalies", params={"before": "x"})
    assert (wrong.status_code, wrong.json()["code"]) == (400, "anomalies.cursor_invalid")


async def test_a_verdict_comes_to_the_agent_in_its_target_and_is_learned_there(site):
    agent = await site.agent()
    await site.control.states.set_target(
        agent[0], {"apps": {}, "config": {"logging": {"level": "info"}}}, by="test"
    )
    await site.control.states.deploy(agent[0], by="test")
    draft = {"apps": {}, "config": {"logging": {"level": "debug"}}}
    await site.control.states.set_target(agent[0], draft, by="test")
    told = [document(name, at=site.clock()) for name in ("a1", "a2", "a3")]
    await site.report(agent, anomalies=told)
    for one in await site.listed():
        await site.judge(one, "wrong" if one["name"] == "a2" else "expected")
    keeper = site.keeper()

    taught = [await keeper.teach(), await keeper.teach()]

    standing = await site.control.states.standing(agent[0])
    assert taught == [1, 0]
    assert standing.target.version == 3
    feedback = {"a1": "expected", "a2": "wrong", "a3": "expected"}
    assert standing.target.content()["config"] == {
        "logging": {"level": "info"},
        "anomalyDetection": {"feedback": feedback},
    }
    assert standing.draft["config"] == {
        "logging": {"level": "debug"},
        "anomalyDetection": {"feedback": feedback},
    }
    assert {one["feedback"]["state"] for one in await site.listed()} == {"sent"}

    await site.report(agent, anomalies=[one | {"feedback": feedback[one["id"]]} for one in told[:2]])
    assert sorted(one["feedback"]["state"] for one in await site.listed()) == ["learned", "learned", "sent"]
    (first,) = [one for one in await site.listed() if one["name"] == "a1"]
    await site.judge(first, "wrong")
    await keeper.teach()
    after = await site.control.states.standing(agent[0])
    assert set(after.target.content()["config"]["anomalyDetection"]["feedback"]) <= {"a1", "a2", "a3"}
    assert len(after.target.content()["config"]["anomalyDetection"]["feedback"]) < 3


async def test_a_device_that_a_rollout_updates_is_left_alone(site):
    class Busy:
        async def updating(self):
            return [UUID(agent[0])]

    agent = await site.agent()
    await site.report(agent, anomalies=[document(at=site.clock())])
    await site.judge((await site.listed())[0], "wrong")

    assert await site.keeper(updating=Busy()).teach() == 0
    assert await site.keeper().teach() == 1


async def test_a_verdict_that_was_given_on_the_device_is_known_here(site):
    agent = await site.agent()
    await site.report(agent, anomalies=[document(at=site.clock())])
    await site.report(agent, anomalies=[document(at=site.clock(), feedback="wrong")])

    (found,) = await site.listed()
    assert found["feedback"]["verdict"] == "wrong"
    assert (found["feedback"]["by"], found["feedback"]["state"]) == ("device", "learned")
    assert await site.keeper().teach() == 0


async def test_verdicts_are_in_the_audit_trail_and_said_twice_change_nothing(site):
    agent = await site.agent()
    await site.report(agent, anomalies=[document(at=site.clock())])
    (found,) = await site.listed()

    first, second = await site.judge(found, "expected"), await site.judge(found, "expected")

    assert first == second
    assert (
        await site.pool.fetchval("SELECT count(*) FROM audit_logs WHERE event_type = 'anomaly.judged'") == 1
    )


async def test_refusals_have_codes(site):
    agent = await site.agent()
    await site.report(agent, anomalies=[document(at=site.clock())])
    (found,) = await site.listed()
    path = f"/anomalies/{found['id']}/feedback"

    unknown = await site.client.post(f"/anomalies/{uuid4()}/feedback", json={"verdict": "wrong"})
    missing = await site.client.get(f"/anomalies/{uuid4()}")
    garbage = await site.client.post(path, json={"verdict": "maybe"})
    by_device = await site.client.post(
        path, json={"verdict": "wrong"}, headers={"Authorization": f"Bearer {agent[1]}"}
    )
    nobody = await site.client.get("/anomalies", headers={"Authorization": "Bearer nobody"})
    stranger = await site.client.patch(
        "/device/state",
        json={agent[0]: {"anomalies": [document("forged", at=site.clock())]}},
        headers={"X-Device-API-Key": (await site.agent())[1]},
    )

    assert [(one.status_code, one.json()["code"]) for one in (unknown, missing)] == [
        (404, "anomalies.unknown")
    ] * 2
    assert garbage.status_code in (400, 422)
    assert [one.status_code for one in (by_device, nobody, stranger)] == [401, 401, 401]
    assert [one["name"] for one in await site.listed()] == [found["name"]]
    assert found["feedback"] is None


async def test_rollouts_hear_of_what_is_critical_and_was_found_since(site):
    agents = [await site.agent() for _ in range(4)]
    since = site.clock()
    await site.report(agents[0], anomalies=[document(at=since, severity="critical")])
    await site.report(agents[1], anomalies=[document(at=since, severity="warning")])
    await site.report(agents[2], anomalies=[document(at=since, severity="critical", simulation=True)])
    await site.report(agents[3], anomalies=[document(at=since, severity="critical")])
    await site.judge((await site.listed(deviceUuid=agents[3][0]))[0], "wrong")
    uuids = [UUID(uuid) for uuid, _ in agents]

    critical = await AnomalyHealth(site.pool).unwell(uuids, since)
    warnings = await AnomalyHealth(site.pool, Severity.WARNING).unwell(uuids, since)
    later = await AnomalyHealth(site.pool).unwell(uuids, since + timedelta(seconds=1))

    assert critical == {uuids[0]: "critical anomaly of cpu_usage: 97.5"}
    assert set(warnings) == set(uuids[:2])
    assert later == {}
    assert [one.name for one in site.control.rollout_around.health] == ["anomalies"]


async def test_what_is_old_or_too_much_is_forgotten_and_with_its_device_everything(site):
    agent, other = await site.agent(), await site.agent()
    for number in range(12):
        at = site.clock() - timedelta(days=number)
        await site.report(agent, anomalies=[document(f"n{number}", at=at)])
    await site.report(other, anomalies=[document(at=site.clock() - timedelta(days=400))])
    keeper = site.keeper()
    keeper._settings = keeper._settings.model_copy(update={"anomaly_most_per_device": 10})

    await keeper._forget()

    assert len(await site.listed()) == 10
    async with site.pool.acquire() as db:
        await db.execute("DELETE FROM fleet_devices WHERE uuid = $1::text::uuid", agent[0])
    assert await site.listed() == []
