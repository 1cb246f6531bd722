import math

from benchmarks.beside_telegraf import Side
from benchmarks.usage import Meter


def round_of(**used_s: float) -> Meter:
    return Meter({}, used_s)


def test_a_side_that_was_not_measured_has_no_figures():
    side = Side()

    assert math.isnan(side.rate)
    assert math.isnan(side.cpu("telegraf"))


def test_rounds_give_the_median_rate_and_the_cpu_of_all_messages():
    side = Side()

    for rate, used_s in ((10_000, 1.0), (50_000, 2.0), (40_000, 3.0)):
        side.add(rate, round_of(telegraf=used_s), 500_000)

    assert side.rate == 40_000
    assert side.cpu("telegraf") == 4.0
