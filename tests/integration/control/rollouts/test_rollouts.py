"""Rollouts on a real database: waves, ends, stops, rollbacks, and what people do to them."""

import asyncio

import pytest
from rollout_builders import TO_TWO, content, garbage

from iotistic.control.access.model import Scope
from iotistic.control.rollouts.beginning import CHANGE
from iotistic.control.rollouts.model import (
    NothingToRollOut,
    PartState,
    RolloutInvalid,
    RolloutState,
    WrongState,
)
from iotistic.control.rollouts.preview import Outcome
from iotistic.control.rollouts.selection import Selection
from iotistic.control.rollouts.signals import DecisionKind


async def test_a_preview_says_the_steps_in_order_and_changes_nothing(site):
    devices = await site.fleet(3)

    plan = await site.preview(devices)

    (prediction,) = plan.predictions.values()
    assert [one.step for one in prediction.steps] == [
        "fetch",
        "takeLock",
        "kill",
        "start",
        "releaseLock",
        "removeImage",
    ]
    assert [one.later for one in prediction.steps] == [False, False, False, False, False, True]
    assert prediction.downtime_s == {"7/3": pytest.approx(3.5)}
    assert {one.outcome for one in plan.devices} == {Outcome.READY}
    assert [await one.runs() for one in devices] == ["web:1"] * 3


async def test_a_preview_says_who_refuses_and_why(site):
    site.heard.images = {"web:2": 50}
    there = await site.device(image="web:2")
    drafted = await site.device()
    await site.states.set_target(str(drafted.uuid), content("web:5"), by="somebody")
    off = await site.device()
    await site.pool.execute("UPDATE fleet_devices SET is_active = false WHERE uuid = $1", off.uuid)
    small = await site.device()
    await small.report(2, "web:1", storage_total=1000, storage_usage=990)
    silent = await site.device(lives=False)
    locked = await site.device()
    await locked.report(2, "web:1", facts={"locked": ["7"], "engine": "docker"})

    plan = await site.preview([there, drafted, off, small, silent, locked])

    found = {one.uuid: (one.outcome, one.refusal.code if one.refusal else "") for one in plan.devices}
    assert found[there.uuid] == (Outcome.UNCHANGED, "rollout.already_there")
    assert found[drafted.uuid] == (Outcome.REFUSED, "rollout.draft_waits")
    assert found[off.uuid] == (Outcome.REFUSED, "device.inactive")
    assert found[small.uuid] == (Outcome.REFUSED, "rollout.disk_too_small")
    notes = {one.uuid: [note.code for note in one.notes] for one in plan.devices}
    assert notes[silent.uuid] == ["rollout.never_reported"]
    assert notes[locked.uuid] == ["rollout.app_locked"]


async def test_a_change_that_no_device_understands_is_refused_with_its_path(site):
    device = await site.device()
    change = {"kind": "patch", "patch": {"apps": {"7": {"services": [{"serviceId": 1, "serviceName": "x"}]}}}}

    plan = await site.preview([device], change)

    assert plan.devices[0].refusal.code == "state.target_invalid"
    assert "image: is missing" in plan.devices[0].refusal.reason


async def test_garbage_in_reports_ends_no_preview_and_no_rollout(site):
    devices = await site.fleet(len(garbage()))
    for device, told in zip(devices, garbage(), strict=True):
        await site.states.report(str(device.uuid), told)
    rollout = await site.make(devices)
    await site.look()
    for device, told in zip(devices, garbage(), strict=True):
        await site.states.report(str(device.uuid), told)
    await site.look()

    assert (await site.states_of(rollout)) == {"updating": len(devices)}


async def test_a_device_that_is_removed_while_its_rollout_is_made_takes_no_part(site, monkeypatch):
    gone, stays = await site.fleet(2)
    plan = site.rollouts._plan

    async def planned(*asked):
        found = await plan(*asked)
        await site.devices.remove(str(gone.uuid))
        return found

    monkeypatch.setattr(site.rollouts, "_plan", planned)
    rollout = await site.make([gone, stays])

    parts = await site.rollouts.parts(rollout.id, states=(), after=None, limit=9)
    assert [part.device_uuid for part, _ in parts] == [stays.uuid]


async def test_a_rollout_reaches_every_device_wave_by_wave(site):
    devices = await site.fleet(10)
    rollout = await site.make(devices, waves=[10, 50, 100])
    await site.look()
    first = await site.states_of(rollout)
    await site.turn(devices, times=6)

    assert first == {"updating": 1, "waiting": 9}
    assert await site.state(rollout) is RolloutState.COMPLETED
    assert await site.states_of(rollout) == {"succeeded": 10}
    assert {await one.runs() for one in devices} == {"web:2"}
    assert len(site.heard.announced) == 10
    assert (await site.kinds(rollout)).count("rollout.wave_began") == 2


async def test_a_bad_release_stops_in_the_first_wave_and_is_taken_back(site):
    devices = await site.fleet(40, broken=frozenset({"web:2"}))
    rollout = await site.make(devices, waves=[5, 50, 100])
    await site.turn(devices, times=6)

    states = await site.states_of(rollout)
    assert await site.state(rollout) is RolloutState.ROLLED_BACK
    assert states["rolled_back"] <= 2
    assert states["cancelled"] == 40 - states["rolled_back"]
    assert {await one.runs() for one in devices} == {"web:1"}
    kinds = [one.kind for one in site.heard.decisions]
    assert kinds.count(DecisionKind.STOPPED) == 1
    assert kinds.count(DecisionKind.ROLLED_BACK) == states["rolled_back"]


async def test_a_halt_that_holds_waits_for_somebody_and_goes_on_when_told(site):
    bad, good = await site.fleet(1, broken=frozenset({"web:2"})), await site.fleet(9)
    rollout = await site.make([*bad, *good], waves=[100], on_halt="hold", halt={"maxFailures": 0})
    await site.turn([*bad, *good], times=2)
    halted = await site.state(rollout)
    await site.rollouts.resume(rollout.id, by="somebody")
    await site.turn([*bad, *good], times=2)

    assert halted is RolloutState.HALTED
    assert await site.state(rollout) is RolloutState.COMPLETED
    assert await site.states_of(rollout) == {"failed": 1, "succeeded": 9}


async def test_what_others_know_of_a_device_fails_it(site):
    devices = await site.fleet(3)
    site.unwell.devices[devices[1].uuid] = "temperature is far out"
    rollout = await site.make(devices, halt={"maxFailurePercent": 100, "sequential": False})
    await site.turn(devices, times=2)

    assert (await site.part(rollout, devices[1])).reason == "anomalies: temperature is far out"


async def test_a_device_that_is_not_heard_ends_offline_and_one_that_ignores_it_timed_out(site):
    gone, deaf = await site.fleet(2)
    rollout = await site.make([gone, deaf], halt={"maxFailurePercent": 100, "sequential": False})
    await site.look()
    await deaf.report(2, "web:1")
    site.clock.forward(seconds=61)
    await site.look()

    assert (await site.part(rollout, gone)).state is PartState.OFFLINE
    assert (await site.part(rollout, deaf)).state is PartState.TIMED_OUT
    assert await site.state(rollout) is RolloutState.COMPLETED


async def test_a_newer_rollout_takes_the_devices_of_an_older_one(site):
    devices = await site.fleet(4)
    older = await site.make(devices, waves=[25, 100])
    await site.look()
    newer = await site.make(devices, {"kind": "image", "service": "web", "image": "web:3"})
    await site.turn(devices, times=3)

    assert await site.states_of(older) == {"superseded": 4}
    assert await site.state(older) is RolloutState.COMPLETED
    assert await site.states_of(newer) == {"succeeded": 4}
    assert {await one.runs() for one in devices} == {"web:3"}


async def test_a_rollback_leaves_what_somebody_else_set_meanwhile(site):
    devices = await site.fleet(2)
    rollout = await site.make(devices)
    await site.turn(devices, times=2)
    await site.states.set_target(str(devices[0].uuid), content("web:9"), by="somebody")
    await site.states.deploy(str(devices[0].uuid), by="somebody")
    await site.rollouts.roll_back(rollout.id, by="somebody")
    await site.turn(devices, times=2)

    assert [await one.runs() for one in devices] == ["web:9", "web:1"]
    assert await site.states_of(rollout) == {"superseded": 1, "rolled_back": 1}
    assert await site.state(rollout) is RolloutState.ROLLED_BACK


async def test_a_cancelled_rollout_begins_with_nobody_more_and_follows_those_it_began(site):
    devices = await site.fleet(4)
    rollout = await site.make(devices, waves=[25, 100])
    await site.look()
    await site.rollouts.cancel(rollout.id, by="somebody")
    await site.turn(devices, times=2)

    assert await site.states_of(rollout) == {"succeeded": 1, "cancelled": 3}
    assert await site.state(rollout) is RolloutState.CANCELLED
    with pytest.raises(WrongState):
        await site.rollouts.resume(rollout.id, by="somebody")


async def test_a_paused_rollout_expires_and_holds_nobody_for_ever(site):
    devices = await site.fleet(4)
    rollout = await site.make(devices, waves=[25, 100], ends_after_s=600)
    await site.rollouts.pause(rollout.id, by="somebody")
    site.clock.forward(seconds=601)
    await site.look()

    assert await site.states_of(rollout) == {"cancelled": 4}
    assert await site.state(rollout) is RolloutState.CANCELLED


async def test_no_more_devices_begin_within_a_minute_than_allowed(site):
    devices = await site.fleet(7)
    rollout = await site.make(devices, rate_per_minute=3)
    await site.turn(devices, times=3)
    within = await site.states_of(rollout)
    site.clock.forward(seconds=61)
    await site.look()

    assert within == {"succeeded": 3, "waiting": 4}
    assert (await site.states_of(rollout))["updating"] == 3


async def test_a_draft_that_somebody_made_meanwhile_is_not_thrown_away(site):
    device = await site.device()
    rollout = await site.make([device])
    await site.states.set_target(str(device.uuid), content("web:5"), by="somebody")
    await site.look()

    assert (await site.part(rollout, device)).code == "rollout.draft_waits"
    assert (await site.states.standing(str(device.uuid))).draft == content("web:5")


async def test_what_every_device_has_already_is_no_rollout(site):
    devices = await site.fleet(2, image="web:2")

    with pytest.raises(NothingToRollOut) as refused:
        await site.make(devices)

    assert refused.value.fields["refusals"] == {"rollout.already_there": 2}


@pytest.mark.parametrize("text", ["\0", "\ud800"])
async def test_a_change_that_no_database_takes_is_refused(site, text):
    device = await site.device()

    with pytest.raises(RolloutInvalid):
        await site.make([device], {"kind": "config", "config": {"note": text}})


async def test_several_loops_begin_with_each_device_once(site):
    devices = await site.fleet(30)
    rollout = await site.make(devices)
    engines = [site.new_engine() for _ in range(3)]
    works = [asyncio.create_task(engine.run()) for engine in engines]
    async with asyncio.timeout(20):
        while (await site.states_of(rollout)).get("waiting"):  # noqa: ASYNC110  ends at the deadline
            await asyncio.sleep(0.02)  # polled until the deadline
    for engine in engines:
        engine.stop()
    await asyncio.gather(*works)

    assert len(site.heard.announced) == 30
    assert {await one.version() for one in devices} == {3}


async def test_devices_that_do_not_take_their_target_are_told_of_it_again(site):
    devices = await site.fleet(3)
    await site.make(devices)
    await site.engine.look_once()
    await devices[0].live()
    told, site.heard.announced = site.heard.announced, []
    await site.new_engine().remind()
    at_once = list(site.heard.announced)
    site.clock.forward(seconds=10)
    await site.new_engine().remind()

    assert len(told) == 3
    assert at_once == []  # they may be about to take it
    assert sorted(site.heard.announced) == sorted((str(one.uuid), 3) for one in devices[1:])


async def test_a_look_that_is_cut_short_anywhere_is_as_if_it_had_not_been(site):
    devices = await site.fleet(5)
    rollout = await site.make(devices)

    class CutShortError(Exception):
        pass

    async def fail(db, decisions):
        raise CutShortError

    site.heard.record = fail
    with pytest.raises(CutShortError):
        await site.engine.look_once()
    after = await site.states_of(rollout), {await one.version() for one in devices}
    del site.heard.record
    await site.turn(devices, times=2)

    assert after == ({"waiting": 5}, {2})
    assert await site.states_of(rollout) == {"succeeded": 5}


async def test_how_long_steps_took_is_learned(site):
    devices = await site.fleet(4)
    rollout = await site.make(devices)
    await site.look()
    update = {"version": 3, "settled": True, "complete": True, "steps": {"fetch": 1, "kill": 1, "start": 1}}
    update |= {
        "downtime_s": {"7/3": 8.0},
        "seconds": [["kill", "", 5.0], ["start", "web", 3.0], ["fetch", "web:2", 9.0]],
    }
    for device in devices:
        device.containers += 1
        await device.report(3, "web:2", update=update)
    await site.look()
    plan = await site.preview(devices, {**TO_TWO, "image": "web:3"})

    (prediction,) = plan.predictions.values()
    assert prediction.downtime_s == {"7/3": 8.0}
    assert (await site.part(rollout, devices[0])).actual["downtimeS"] == {"7/3": 8.0}


async def test_a_slow_device_is_expected_to_take_as_long_as_it_usually_does(site):
    devices = await site.fleet(4)
    await site.make(devices)
    await site.look()
    for device, times in zip(devices, (1, 1, 1, 3), strict=True):
        device.containers += 1
        seconds = [["kill", "", 2.0 * times], ["start", "web", 3.0 * times], ["turn", "", 0.1]]
        seconds += [["removeImage", "web:1", 1.0 * times]]
        update = {"version": 3, "settled": True, "complete": True, "seconds": seconds, "steps": {"kill": 1}}
        await device.report(3, "web:2", update=update | {"downtime_s": {"7/3": 5.0 * times + 0.1}})
    await site.look()
    await site.look()
    plan = await site.preview(devices, {**TO_TWO, "image": "web:3"})

    expected = {one.uuid: one.expected.downtime_s["7/3"] for one in plan.devices}
    assert [expected[one.uuid] for one in devices] == pytest.approx([5.1, 5.1, 5.1, 15.1], rel=0.02)
    assert len(plan.predictions) == 1


@pytest.mark.parametrize(
    ("unwell_anyway", "becomes"), [(0, RolloutState.ROLLED_BACK), (24, RolloutState.COMPLETED)]
)
async def test_a_release_that_fails_no_step_is_compared_with_the_devices_that_wait(
    site, unwell_anyway, becomes
):
    devices = await site.fleet(60)
    rollout = await site.make(
        devices, waves=[20, 100], halt={"maxFailurePercent": 100, "falseHaltRate": 0.05}
    )
    await site.look()
    rows = await site.pool.fetch("SELECT device_uuid, wave FROM rollout_parts ORDER BY wave, place")
    updated = [row["device_uuid"] for row in rows if row["wave"] == 0]
    waiting = [row["device_uuid"] for row in rows if row["wave"] == 1]
    unwell = [*updated[:5], *waiting[:unwell_anyway]]
    site.unwell.devices = dict.fromkeys(unwell, "answers take three times as long")
    await site.turn(devices, times=6)

    found = (await site.rollouts.find(rollout.id))[0]
    assert found.state is becomes
    assert found.halt_code == ("rollout.fails_more_often" if becomes is RolloutState.ROLLED_BACK else "")


async def test_while_nobody_knows_of_health_no_further_device_begins_and_none_is_stuck(site):
    devices = await site.fleet(4)
    rollout = await site.make(devices, waves=[50, 100])
    await site.look()
    site.unwell.is_away = True
    await site.turn(devices, times=3)
    meanwhile = await site.states_of(rollout)
    site.unwell.is_away = False
    await site.turn(devices, times=3)

    assert meanwhile == {"succeeded": 2, "waiting": 2}
    assert await site.states_of(rollout) == {"succeeded": 4}


async def test_devices_outside_of_the_scope_are_not_there(site):
    devices = await site.fleet(2)

    mine = Scope(frozenset({devices[0].uuid}))
    plan = await site.rollouts.preview(CHANGE.validate_python(TO_TWO), Selection(all=True), scope=mine)

    assert [one.uuid for one in plan.devices] == [devices[0].uuid]
