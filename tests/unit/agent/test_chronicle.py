"""What an agent tells of its updates: steps, seconds, downtime."""

from dataclasses import replace

from iotistic.agent.reporting.chronicle import Chronicle
from iotistic.planning.facts import Facts
from iotistic.planning.model import Failures, Release, Service, ServiceConfig, ServiceKey
from iotistic.planning.steps import Fetch, Kill, Start

KEY = ServiceKey("7", "3")
WEB = Service(KEY, "web", ServiceConfig("web:2"))


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def chronicle():
    clock = Clock()
    made = Chronicle(clock)
    made.retargeted()
    made.retargeted()
    return made, clock


def do(made, clock, step, seconds, *, well=True):
    epoch, began_at = made.epoch, made.began(step)
    clock.now += seconds
    made.ended(step, began_at, epoch, well=well)


def test_a_service_is_down_from_the_step_that_ends_it_to_the_end_of_the_one_that_starts_it():
    made, clock = chronicle()
    do(made, clock, Fetch("web:2"), 9.0)
    do(made, clock, Kill(KEY, "old"), 2.0)
    clock.now += 0.5
    do(made, clock, Start(WEB), 1.0)

    told = made.describe(3, Facts(), settled=True)

    assert told["downtime_s"] == {"7/3": 3.5}
    assert told["steps"] == {"fetch": 1, "kill": 1, "start": 1}
    assert told["seconds"] == [
        ["fetch", "web:2", 9.0],
        ["kill", "", 2.0],
        ["turn", "", 0.5],
        ["start", "docker.io/library/web", 1.0],
    ]


def test_a_hand_over_is_no_downtime():
    made, clock = chronicle()
    do(made, clock, Start(WEB), 1.0)
    do(made, clock, Kill(KEY, "old"), 2.0)

    assert made.describe(3, Facts(), settled=True)["downtime_s"] == {}


def test_what_failed_is_told_apart_and_a_service_stays_down_until_it_starts():
    made, clock = chronicle()
    do(made, clock, Kill(KEY, "old"), 1.0)
    do(made, clock, Start(WEB), 1.0, well=False)
    do(made, clock, Start(WEB), 1.0)

    told = made.describe(3, Facts(), settled=True)

    assert told["failed"] == {"start": 1}
    assert told["downtime_s"] == {"7/3": 3.0}


def test_a_step_of_an_older_target_is_no_part_of_the_story():
    made, _ = chronicle()
    epoch, began_at = made.epoch, made.began(Fetch("web:2"))
    made.retargeted()
    made.ended(Fetch("web:2"), began_at, epoch, well=True)

    assert made.describe(4, Facts(), settled=False)["steps"] == {}


def test_a_version_that_changes_no_container_took_nothing():
    made, clock = chronicle()
    do(made, clock, Start(WEB), 1.0)
    made.describe(3, Facts(), settled=True)

    assert made.describe(4, Facts(), settled=True)["steps"] == {}
    assert made.describe(4, Facts(), settled=True)["version"] == 4


def test_after_a_new_start_it_says_that_it_is_not_the_whole_story():
    made = Chronicle(Clock())
    made.retargeted()

    assert made.describe(3, Facts(), settled=True)["complete"] is False


def test_crashes_are_told_by_service():
    made, _ = chronicle()
    facts = replace(Facts(), crashes={Release(KEY, WEB.config): Failures(4, 1.0)})

    assert made.describe(3, facts, settled=True)["crashes"] == {"7/3": 4}
