"""Changes, policies, windows and predictions, one by one."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from iotistic.control.rollouts.beginning import CHANGE
from iotistic.control.rollouts.changes import ServiceMissing, merged
from iotistic.control.rollouts.durations import Durations, Pace, Sample, learn
from iotistic.control.rollouts.policy import Policy, Window, assign_waves
from iotistic.control.rollouts.predicting import predict
from iotistic.control.rollouts.rebuilding import HostFacts, read_apps, rebuild
from iotistic.control.rollouts.spread import spread_of
from iotistic.control.rollouts.writing import compared
from iotistic.planning.target import read_target


def content(image="web:1", **config):
    service = {"serviceId": 3, "serviceName": "web", "config": {"image": image, **config}}
    return {"apps": {"7": {"appId": 7, "appName": "shop", "services": [service]}}, "config": {}}


def reported(image="web:1", status="running"):
    service = {"serviceId": 3, "serviceName": "web", "imageName": image, "state": "running", "status": status}
    return read_apps({"7": {"services": [service]}})


def predicted(old, new, host=None, durations=None):
    device = rebuild(
        reported(old["apps"]["7"]["services"][0]["config"]["image"]),
        read_target(old).target,
        host or HostFacts(),
    )
    return predict(device, read_target(new).target, durations or Durations())


def names(prediction):
    return [one.step for one in prediction.steps]


def test_the_image_of_a_service_changes_wherever_it_stands():
    flat = {
        "apps": {"7": {"services": [{"serviceId": 3, "serviceName": "web", "image": "web:1"}]}},
        "config": {},
    }
    change = CHANGE.validate_python({"kind": "image", "service": "web", "image": "web:2"})

    assert change.apply(content())["apps"]["7"]["services"][0]["config"]["image"] == "web:2"
    after = read_target(change.apply(flat))
    assert not after.faults
    assert after.target.apps[0].services[0].config.image == "web:2"


def test_a_device_without_the_service_is_told_apart():
    change = CHANGE.validate_python({"kind": "image", "service": "db", "image": "db:2"})

    with pytest.raises(ServiceMissing):
        change.apply(content())


def test_only_where_a_certain_image_runs():
    change = CHANGE.validate_python({"kind": "image", "service": "web", "image": "web:3", "only": "web:2"})

    with pytest.raises(ServiceMissing):
        change.apply(content("web:1"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(JSON, st.dictionaries(st.text(max_size=3), JSON, max_size=3))
def test_a_merge_patch_that_was_applied_changes_nothing_more(value, patch):
    once = merged(value, patch)

    assert merged(once, patch) == once


@given(
    st.integers(1, 400),
    st.lists(st.floats(0.1, 100), min_size=1, max_size=5, unique=True),
    st.text(max_size=5),
)
def test_every_device_has_a_wave_and_the_first_is_as_small_as_was_said(count, percents, salt):
    policy = Policy(waves=tuple(sorted(percents)))
    devices = [UUID(int=number) for number in range(count)]

    waves = assign_waves(devices, policy.waves, salt)

    assert sorted(waves) == devices
    first = sum(1 for wave in waves.values() if wave == 0)
    assert first <= max(1, count * policy.waves[0] / 100)


def test_a_window_past_midnight_is_open_on_both_sides_of_it():
    window = Window.model_validate(
        {"from": "22:00", "until": "05:00", "zone": "Europe/Vienna", "days": ["fri"]}
    )

    def is_open(day, hour):
        return window.is_open(datetime(2026, 7, day, hour, 30, tzinfo=UTC))

    assert is_open(3, 20)  # Friday 22:30 there
    assert is_open(4, 1)  # Saturday 03:30, of Friday's night
    assert not is_open(4, 20)
    assert not is_open(3, 12)
    assert window.opens_at(datetime(2026, 7, 4, 12, tzinfo=UTC)) == datetime(2026, 7, 10, 20, tzinfo=UTC)


@given(
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)),  # noqa: DTZ001  hypothesis wants it so
    st.sampled_from(["Europe/Vienna", "America/St_Johns", "UTC"]),
)
def test_a_window_is_open_when_it_says_that_it_opens(at, zone):
    window = Window.model_validate({"from": "02:30", "until": "03:10", "zone": zone})
    now = at.replace(tzinfo=UTC)
    opens = window.opens_at(now)

    assert opens >= now
    assert (opens - now).total_seconds() <= 2 * 86400


@pytest.mark.parametrize(
    "policy",
    [
        {"waves": []},
        {"waves": [50, 10]},
        {"waves": [0]},
        {"windows": [{"from": "25:00", "until": "05:00"}]},
        {"windows": [{"from": "05:00", "until": "05:00"}]},
        {"windows": [{"from": "05:00", "until": "06:00", "zone": "../etc/passwd"}]},
        {"halt": {"falseHaltRate": 0}},
        {"wave": [1]},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(policy):
    with pytest.raises(ValidationError):
        Policy.model_validate(policy)


def test_a_policy_is_read_back_as_it_was_written():
    policy = Policy.model_validate({"waves": [1, 5], "windows": [{"from": "22:00", "until": "05:00"}]})

    assert Policy.model_validate(policy.write()) == policy
    assert policy.waves == (1, 5, 100)


def test_each_strategy_has_its_steps_and_its_downtime():
    durations = Durations(learn([Sample("fetch", "", 10.0)] * 3))
    found = {
        strategy: predicted(content(), content("web:2", updateStrategy=strategy), durations=durations)
        for strategy in ("download-then-kill", "kill-then-download", "hand-over")
    }

    assert names(found["download-then-kill"])[:4] == ["fetch", "takeLock", "kill", "start"]
    assert found["download-then-kill"].downtime_s == {"7/3": 3.5}
    assert names(found["kill-then-download"])[:4] == ["takeLock", "kill", "fetch", "start"]
    assert found["kill-then-download"].downtime_s == {"7/3": pytest.approx(13.5)}
    assert names(found["hand-over"])[:4] == ["fetch", "start", "takeLock", "kill"]
    assert found["hand-over"].downtime_s == {}
    assert all(one.settles for one in found.values())


def test_what_passes_between_two_steps_is_downtime_too():
    durations = Durations(learn([Sample("turn", "", 0.25)] * 3))

    found = predicted(content(), content("web:2"), durations=durations)

    assert found.downtime_s == {"7/3": 3.75}


def test_a_pace_is_what_a_device_took_against_the_usual_of_the_same_steps():
    usual = Durations(
        learn([Sample("kill", "", 2.0), Sample("start", "web", 3.0), Sample("fetch", "", 9.0)] * 3)
    )
    few = [Sample("kill", "", 4.0), Sample("start", "web", 6.0)]
    stalled = [*few, Sample("start", "other", 1e6)]

    assert usual.pace_of(few) == Pace(1.0, 1.0)
    assert usual.pace_of([*few, *few]) == (pytest.approx(2.0, rel=0.02), 1.0)
    assert usual.pace_of([Sample("fetch", "web:1", 18.0)] * 3) == (1.0, pytest.approx(2.0, rel=0.15))
    assert usual.pace_of(stalled).engine < 10


def test_a_step_that_was_held_up_does_not_make_a_slow_device():
    usual = Durations(learn([Sample("start", "", 2.0)] * 3))
    took = [Sample("start", "", seconds) for seconds in (4.0, 4.1, 3.9, 4.0)]
    torn = [Sample("start", "", seconds) for seconds in (2.0, 4.0, 8.0, 2.0)]

    assert usual.pace_of([*took, Sample("start", "", 14.0), Sample("start", "", 30.0)]) == usual.pace_of(took)
    assert usual.pace_of(torn).engine == pytest.approx(2.0, rel=0.02)


def test_a_range_is_told_once_there_is_enough_to_tell_it_from():
    known = [(10.0, 10.0 * times / 100) for times in range(80, 121)]

    assert spread_of(known[:10]) is None
    assert spread_of(known) == (pytest.approx(0.84, abs=0.02), pytest.approx(1.16, abs=0.02))
    assert spread_of([(0.0, 1.0), (1.0, 0.0)] * 40) is None


def test_a_locked_app_does_not_settle_and_says_so():
    found = predicted(content(), content("web:2"), HostFacts(locked=frozenset({"7"})))

    assert not found.settles
    assert found.waits == ("app 7 holds its lock and is not disturbed",)
    assert found.downtime_s == {}


def test_an_image_that_is_there_is_not_fetched():
    found = predicted(content(), content("web:2"), HostFacts(images=frozenset({"web:1", "web:2"})))

    assert found.fetches == ()


def test_a_device_that_is_there_has_nothing_to_do():
    found = predicted(content(), content())

    assert found.steps == ()
    assert found.settles


def test_what_a_device_of_the_earlier_system_does_not_say_is_guessed():
    device = rebuild(reported("other:9"), read_target(content()).target, HostFacts())

    assert device.guessed == ("web",)


@pytest.mark.parametrize(
    ("steps", "off"),
    [
        ({"kill": 1, "start": 1}, 0),
        ({"kill": 1, "start": 1, "removeImage": 1}, 0),
        ({"kill": 1, "start": 1, "removeImage": 3}, 2),
        ({"kill": 2}, 2),
        ({"kill": 1, "start": 1, "fetch": 1}, 1),
    ],
)
def test_what_tidies_up_later_is_no_error_whether_it_is_told_by_now_or_not(steps, off):
    predicted = {"steps": {"kill": 1, "start": 1}, "laterSteps": {"removeImage": 1}}
    found = compared(predicted, {"steps": steps})

    assert found is not None
    assert found["stepsOff"] == off
