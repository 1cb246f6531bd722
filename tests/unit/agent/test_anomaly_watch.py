"""The watch over readings: found, told once, kept over restarts and kills, and changed while it runs."""

import asyncio

import pytest
from anomaly_rig import START, AnomalyRig

from iotistic.agent.anomalies.config import AnomalyConfig, Rules
from iotistic.agent.anomalies.model import (
    AnomalyAmbiguous,
    AnomalyRequestInvalid,
    AnomalyUnknown,
    DetectionOff,
)
from iotistic.agent.store.errors import StoreUnavailable
from iotistic.detection.detector import Detector
from iotistic.detection.events import Method, Severity
from iotistic.detection.feedback import Verdict


@pytest.fixture
async def rig(tmp_path):
    return AnomalyRig(tmp_path, save_every_s=1e12)


@pytest.fixture
async def watch(rig):
    async with rig.running() as running:
        yield running


async def test_an_unusual_value_is_found_and_described_as_the_contract_says(rig, watch):
    await rig.learned()
    await rig.feed([97.5])
    [found] = [one.document() for one in watch.recent(10)]

    assert set(found) == {
        "id", "timestamp", "lastSeen", "count", "severity", "source", "metric", "value", "unit", "expectedRange",
        "deviation", "detectionMethod", "confidence", "context", "fingerprint",
    }  # fmt: skip
    assert set(found["context"]) == {"recent_values", "baseline", "trend", "windowSize"}
    assert (found["metric"], found["value"], found["unit"], found["severity"]) == (
        "cpu_usage",
        97.5,
        "%",
        "critical",
    )
    assert found["expectedRange"][0] < 20 < found["expectedRange"][1] < 30
    assert len(found["context"]["recent_values"]) == 10
    assert found["context"]["recent_values"][-1] == 97.5
    assert found["context"]["windowSize"] == 301
    assert found["id"].startswith(found["fingerprint"][:8])


async def test_more_of_the_same_is_counted_and_what_follows_later_is_another(rig, watch):
    await rig.learned()
    await rig.feed([22.3, 90.0])
    first = watch.recent(10)
    await rig.feed([20.0] * 120)
    await rig.feed([400.0])

    assert [one.incident.count for one in first] == [watch.counts.repeated + 1]
    assert watch.counts.repeated == 1
    assert len(watch.recent(10)) == 2


async def test_a_metric_says_how_it_stands(rig, watch):
    await rig.feed(rig.usual(20))
    [learning] = watch.metrics()
    await rig.feed(rig.usual(40))
    [watching] = watch.metrics()
    watch.configure(here=AnomalyConfig(metrics=(("cpu*", Rules(enabled=False)),)))
    await rig.feed([20.0])
    [off] = watch.metrics()

    assert [one["status"] for one in (learning, watching, off)] == ["learning", "watching", "off"]
    assert (learning["samples"], learning["samplesToLearn"], watching["samplesToLearn"]) == (20, 31, 0)
    assert watching["expectedRange"][0] < watching["baseline"] < watching["expectedRange"][1]


async def test_what_was_learned_and_found_goes_on_exactly_after_a_restart(rig):
    async with rig.running() as watch:
        await rig.learned()
        await rig.feed([97.5])
        before, told = watch.memory._watches.detector("cpu_usage").save(), watch.recent(10)
    async with rig.running() as watch:
        await rig.until(lambda: watch.memory.engine == "singles")
        after = watch.memory._watches.detector("cpu_usage").save()
        kept = watch.recent(10)
        await rig.feed([98.5, 300.0])

        assert after == before
        assert kept == told
        assert [one.incident.id for one in watch.recent(10)] == [kept[0].id]


async def test_a_kill_costs_what_was_learned_since_and_no_anomaly(tmp_path):
    rig = AnomalyRig(tmp_path, save_every_s=600.0)
    async with rig.running(killed=True) as watch:
        await rig.learned()
        rig.now += 600
        watch.feed([])
        await rig.until(lambda: not watch.memory._touched)
        saved = watch.memory._watches.detector("cpu_usage").save()
        await rig.feed([97.5])
    async with rig.running() as watch:
        await rig.until(lambda: watch.memory.engine == "singles")

        assert watch.memory._watches.detector("cpu_usage").save() == saved
        assert [one.incident.event.value for one in watch.recent(10)] == [97.5]


async def test_a_state_that_is_none_begins_anew_and_the_others_go_on(rig):
    async with rig.running() as watch:
        await rig.learned("a")
        await rig.learned("b")
    async with rig.running() as watch:
        await rig.store.anomalies.save_states({"a": b"\x07nonsense"})
    async with rig.running() as watch:
        await rig.until(lambda: watch.memory.engine == "singles")

        assert watch.memory.standing("a") is None
        assert watch.memory.standing("b").seen == 300


async def test_off_nothing_is_learned_and_on_again_it_goes_on(rig, watch):
    await rig.learned()
    watch.configure(cloud=AnomalyConfig(Rules(enabled=False)))
    await rig.until(lambda: watch.memory.engine == "none")
    watch.feed([])
    with pytest.raises(DetectionOff):
        await watch.test({})
    off = watch.status()
    watch.configure(cloud=AnomalyConfig())
    await rig.feed([97.5])

    assert (off["state"], off["engine"]) == ("off", "none")
    assert watch.memory.standing("cpu_usage").seen == 301
    assert len(watch.recent(10)) == 1


@pytest.mark.parametrize(
    "rules",
    [
        Rules(confidence=0.99),
        Rules(methods=frozenset({Method.FORECAST})),
        Rules(enabled=False),
    ],
)
async def test_what_nobody_wants_to_hear_of_is_not_told(rig, watch, rules):
    await rig.learned()
    watch.configure(cloud=AnomalyConfig(metrics=(("cpu_usage", rules),)))
    await rig.feed([97.5])

    assert watch.recent(10) == []


async def test_only_what_is_severe_enough_is_told(rig, watch):
    watch.configure(cloud=AnomalyConfig(Rules(severity=Severity.CRITICAL)))
    await rig.learned()
    await rig.feed([21.4])
    few = len(watch.recent(10))
    await rig.feed([300.0])

    assert (few, len(watch.recent(10))) == (0, 1)


async def test_what_is_expected_is_told_no_more_and_what_is_further_out_is(rig):
    async with rig.running() as watch:
        await rig.learned()
        await rig.feed([60.0])
        [found] = watch.recent(10)
        judged = await watch.feedback(found.id[:6], Verdict.EXPECTED)
        again = await watch.feedback(found.id, Verdict.EXPECTED)
        assert (judged.document()["feedback"], again) == ("expected", judged)
    async with rig.running() as watch:
        await rig.feed(rig.usual(110))
        await rig.feed([62.0])
        expected = len(watch.recent(10))
        await rig.feed(rig.usual(110))
        await rig.feed([300.0])

        assert (expected, len(watch.recent(10))) == (1, 2)
        assert watch.counts.tolerated == 1
        assert watch.status()["feedback"] == {"expected": 1, "wrong": 0}
        assert watch.metrics()[0]["feedback"][0]["verdict"] == "expected"


async def test_wrong_makes_a_metric_harder_to_tell_of(rig, watch):
    await rig.learned()
    await rig.feed([97.5])
    [found] = watch.recent(10)
    score = found.incident.event.score
    await watch.feedback(found.id, Verdict.WRONG)
    await rig.feed(rig.usual(110))
    await rig.feed([400.0])

    assert watch.recent(1)[0].incident.event.score == pytest.approx(score / 2, rel=0.01)


async def test_verdicts_come_from_the_cloud_too(rig, watch):
    await rig.learned()
    await rig.feed([97.5])
    [found] = watch.recent(10)
    said = (("unknown-1", Verdict.WRONG), (found.id, Verdict.WRONG))
    watch.configure(cloud=AnomalyConfig(feedback=said))
    await rig.until(lambda: watch.recent(1)[0].verdict is Verdict.WRONG)

    assert watch.status()["feedback"]["wrong"] == 1


async def test_an_anomaly_is_found_by_its_id_or_how_that_begins(rig, watch):
    await rig.learned()
    await rig.feed([97.5])
    [found] = watch.recent(10)

    assert watch.find(found.id) == watch.find(found.id[:5]) == found
    for nothing in ("", "zz", found.id + "0"):
        with pytest.raises(AnomalyUnknown):
            watch.find(nothing)
    await rig.feed([20.0] * 120)
    await rig.feed([400.0])
    with pytest.raises(AnomalyAmbiguous):
        watch.find(found.id[:8])


async def test_the_oldest_go_when_there_are_too_many(tmp_path):
    rig = AnomalyRig(tmp_path, most_anomalies=3)
    async with rig.running() as watch:
        for number in range(5):
            await watch.test({"metric": f"m{number}"})
    async with rig.running() as watch:
        assert [one.incident.event.metric for one in watch.recent(10)] == ["test/m2", "test/m3", "test/m4"]
        assert watch.recent(1)[0].number == 5


async def test_a_made_up_anomaly_touches_no_stream_and_is_told(rig, watch):
    told = await watch.test({"metric": "pump", "value": 70})
    document = told["anomaly"]

    assert (document["metric"], document["value"], document["simulation"]) == ("test/pump", 70.0, True)
    assert watch.metrics() == []
    assert [one.id for one in watch.journal.untold(START, 10)] == [document["id"]]
    for wrong in ({"value": "high"}, {"metric": ""}, {"other": 1}, {"value": 20.5}, {"value": True}):
        with pytest.raises(AnomalyRequestInvalid):
            await watch.test(wrong)


async def test_whoever_follows_sees_each_once(rig, watch):
    await watch.test({"metric": "before"})
    seen = []

    async def follow():
        async for one in watch.follow(recent=1):
            seen.append(one.incident.event.metric)  # noqa: PERF401

    following = asyncio.create_task(follow())
    await rig.until(lambda: seen)
    await watch.test({"metric": "after"})
    await rig.until(lambda: len(seen) == 2)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)

    assert seen == ["test/before", "test/after"]
    assert not watch.journal._followers


async def test_the_machine_is_looked_at_now_and_then(tmp_path):
    rig, looks = AnomalyRig(tmp_path, look_every_s=30.0), []
    async with rig.running() as watch:
        watch.look = lambda: looks.append(rig.now) or ()
        watch.configure(here=AnomalyConfig(Rules(cool_down_s=1)))
        await rig.until(lambda: looks)
        rig.now -= 86_400
        watch.feed([])
        await rig.until(lambda: len(looks) == 2)

        assert looks == [START, START - 86_400]


async def test_a_disk_that_takes_no_writes_holds_nothing_up_and_nothing_is_lost(rig, watch, monkeypatch):
    await rig.learned()
    put, refused = rig.store.anomalies.put, []

    async def refuse(documents, *, least):
        refused.append(documents)
        raise StoreUnavailable

    monkeypatch.setattr(watch.journal._disk, "put", refuse)
    rig.now += 60
    await watch.test({})
    assert refused
    monkeypatch.setattr(watch.journal._disk, "put", put)
    await rig.feed([97.5])

    assert len(await rig.store.anomalies.load()) == 2


async def test_a_disk_that_cannot_be_read_is_asked_again_now_and_then(rig, monkeypatch):
    asked = []

    async def refuse(**_since):
        asked.append(rig.now)
        raise StoreUnavailable

    async with rig.running() as watch:
        load = watch.memory._disk.load_states
        monkeypatch.setattr(watch.memory._disk, "load_states", refuse)
        await rig.until(lambda: asked)
        rig.now += 1e13
        watch.feed([])
        await rig.until(lambda: len(asked) > 1)
        await asyncio.sleep(0.05)
        refused = len(asked)
        monkeypatch.setattr(watch.memory._disk, "load_states", load)
        await rig.learned()

        assert refused <= 3
        assert watch.memory.standing("cpu_usage").seen == 300


async def test_values_that_come_too_fast_are_counted(rig, watch):
    watch._pending = [None] * 1000
    watch.feed([None, None])
    watch._pending.clear()

    assert watch.counts.lost == 2


async def test_a_factory_reset_forgets_everything(rig, watch):
    await rig.learned()
    await rig.feed([97.5])
    await watch.feedback(watch.recent(1)[0].id, Verdict.WRONG)
    await rig.store.factory_reset()
    watch.forget()

    assert (watch.recent(10), watch.metrics()) == ([], [])
    assert await rig.store.anomalies.load() == {}
    assert await rig.store.anomalies.load_states() == {}
    assert watch.lessons.of("cpu_usage") == ()


async def test_saving_spares_the_flash(rig, watch):
    state = len(Detector().save())

    assert watch.memory.save_every_s(900.0) == 900.0
    watch.memory._state_bytes = 256 * state
    assert 86_400 / watch.memory.save_every_s(900.0) * 256 * state <= 8.1e6
