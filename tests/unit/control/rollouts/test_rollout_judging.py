"""What becomes of a rollout: tables of facts and verdicts."""

from datetime import UTC, datetime, timedelta

import pytest

from iotistic.control.rollouts.health import Told, is_settled, samples_of, trouble
from iotistic.control.rollouts.judging import Progress, judge_rollout
from iotistic.control.rollouts.model import Counts, Part, PartState, RolloutState
from iotistic.control.rollouts.policy import HealthRules, Policy
from iotistic.control.rollouts.rebuilding import read_apps
from iotistic.control.rollouts.sequential import Seen
from iotistic.planning.target import read_target

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
TARGET = read_target(
    {"apps": {"7": {"services": [{"serviceId": 3, "serviceName": "web", "config": {"image": "web:2"}}]}}}
).target


def progress(counts, state=RolloutState.RUNNING, wave=0, **more):
    return Progress(state=state, wave=wave, counts=Counts(counts), expires_at=LATER, **more)


def verdict(counts, policy=None, **more):
    return judge_rollout(progress(counts, **more), Policy.model_validate(policy or {}), NOW)


def test_a_canary_of_one_that_fails_stops_the_rollout_at_the_end_of_its_wave():
    found = verdict({(0, PartState.FAILED): 1, (1, PartState.WAITING): 99})

    assert found.becomes is RolloutState.ROLLING_BACK
    assert found.code == "rollout.too_many_failures"


def test_one_of_many_that_fails_stops_nothing_while_the_wave_goes_on():
    found = verdict({(0, PartState.FAILED): 1, (0, PartState.UPDATING): 9, (1, PartState.WAITING): 90})

    assert found.becomes is None


def test_three_of_three_that_fail_where_nobody_else_does_are_enough():
    found = verdict(
        {(0, PartState.FAILED): 3, (0, PartState.UPDATING): 17, (1, PartState.WAITING): 980},
        waiting=Seen(0, 500),
    )

    assert found.code == "rollout.fails_more_often"
    assert found.facts["waiting"] == 500


def test_a_device_that_was_not_heard_says_nothing_about_a_release():
    found = verdict({(0, PartState.OFFLINE): 10, (1, PartState.WAITING): 10})

    assert found.next_wave


def test_the_next_wave_begins_after_the_soak():
    counts = {(0, PartState.SUCCEEDED): 1, (1, PartState.WAITING): 9}
    soaked = verdict(counts, {"soakS": 60}, wave_ended_at=NOW - timedelta(seconds=61))
    soaking = verdict(counts, {"soakS": 60}, wave_ended_at=NOW - timedelta(seconds=59))

    assert soaked.next_wave
    assert not soaking.next_wave
    assert soaking.look_at == NOW + timedelta(seconds=1)


def test_outside_of_its_window_nobody_begins():
    found = verdict({(0, PartState.WAITING): 5}, {"windows": [{"from": "22:00", "until": "23:00"}]})

    assert found.begin == 0
    assert found.look_at == NOW.replace(hour=22)


def test_failures_that_were_forgiven_stop_it_no_second_time():
    found = verdict({(0, PartState.FAILED): 4, (0, PartState.WAITING): 5}, forgiven=4)

    assert found.begin == 5


@pytest.mark.parametrize("state", [RolloutState.PAUSED, RolloutState.HALTED])
def test_whoever_holds_it_up_holds_it_up_no_longer_than_its_time(state):
    late = judge_rollout(progress({(0, PartState.WAITING): 5}, state), Policy(), LATER)

    assert late.becomes is RolloutState.CANCELLING
    assert late.give_up_waiting


def part(**changes):
    fields = {"wave": 0, "state": PartState.UPDATING, "deadline": LATER, "to_version": 3}
    return Part(device_uuid=None, **(fields | changes))


def told(image="web:2", status="running", container="new", update=None, **error):
    service = {
        "serviceId": 3,
        "serviceName": "web",
        "imageName": image,
        "status": status,
        "containerId": container,
    }
    service |= {"serviceStatus": status} | ({"error": error} if error else {})
    return Told(
        version=3, reported_at=NOW, services=read_apps({"7": {"services": [service]}}), update=update or {}
    )


def test_without_a_word_of_the_update_another_container_has_to_stand_there():
    before = {"containers": {"7/3": "old"}, "replaced": ["7/3"]}

    assert is_settled(TARGET, told(), part(baseline=before))
    assert not is_settled(TARGET, told(container="old"), part(baseline=before))
    assert not is_settled(TARGET, told(image="web:1"), part(baseline=before))


def test_what_the_device_says_of_the_update_is_believed():
    assert not is_settled(TARGET, told(update={"version": 3, "settled": False}), part())
    assert is_settled(TARGET, told(update={"version": 3, "settled": True}), part())


def test_what_was_broken_before_is_not_the_updates_fault():
    crashed = told(status="exited", type="CrashLoopBackOff", retryCount=9, message="exit 1")

    assert trouble(part(), crashed, HealthRules())
    assert not trouble(part(baseline={"errors": {"7/3": "CrashLoopBackOff"}}), crashed, HealthRules())
    mine = {"errors": {"7/3": "CrashLoopBackOff"}, "replaced": ["7/3"]}
    assert trouble(part(baseline=mine), crashed, HealthRules())


def test_one_download_that_failed_is_no_failure_yet():
    once = told(status="running", type="ErrImagePull", retryCount=1)

    assert not trouble(part(), once, HealthRules())


def test_times_that_make_no_sense_teach_nothing():
    update = {
        "version": 3,
        "seconds": [["start", "web", -1], ["start", "web", True], ["start", "web", 2.0], "x", [1]],
    }

    assert [one.seconds for one in samples_of(told(update=update), part())] == [2.0]
