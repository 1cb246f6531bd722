"""What the storm's benchmark makes of commits."""

import numpy as np
from benchmarks.storm_figures import Came, delays, figures
from benchmarks.storm_watch import Committed

FIRST, SECOND, SENSOR_OF_FIRST, SENSOR_OF_SECOND, BYSTANDER, LATER_BYSTANDER = 1, 2, 3, 4, 5, 99
DEVICES = [
    (FIRST, "aa", None),
    (SECOND, "bb", None),
    (SENSOR_OF_FIRST, None, "aa"),
    (SENSOR_OF_SECOND, None, "bb"),
    (BYSTANDER, None, None),
]
CAME = Came.of(DEVICES, {"aa": 1_000_000, "bb": 3_000_000})


def committed(*rows):
    """Rows of (commit, time, device), in seconds."""
    at, time, device = zip(*rows, strict=True)
    return Committed(np.array(at) * 1_000_000, np.array(time) * 1_000_000, np.array(device, np.int64))


def test_delays_are_those_of_climate_sensors_and_of_bystanders():
    found = delays(
        committed((7, 1, FIRST), (5, 3, SENSOR_OF_FIRST), (6, 5, BYSTANDER), (8, 5, LATER_BYSTANDER)),
        CAME,
        clock_late_us=1_000_000,
    )

    assert found.fleet.tolist() == [1000.0]
    assert found.bystanders.tolist() == [1000.0, 3000.0]


def test_a_reading_is_live_once_its_device_came_back():
    found = figures(
        committed(
            (4, 0, SENSOR_OF_FIRST),  # of the outage
            (2, 1, SENSOR_OF_FIRST),
            (6, 2, SENSOR_OF_SECOND),  # its controller is away still
            (9, 5, SENSOR_OF_SECOND),
            (5, 4, BYSTANDER),
            (13, 12, BYSTANDER),  # after all of it
        ),
        CAME,
        ended_us=0,
        caught_up_us=10_000_000,
    )

    assert sorted(found.first_live_s) == [2.0, 9.0]
    assert (found.last_back_s, found.caught_up_s) == (3.0, 10.0)
    assert found.reconnecting.fleet.tolist() == [1000.0]
    assert found.catching_up.fleet.tolist() == [4000.0]
    assert found.catching_up.bystanders.tolist() == [1000.0]
