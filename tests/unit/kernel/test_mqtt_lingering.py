"""The pause of the bulk reader follows the rate of messages."""

import pytest

from iotistic.kernel.mqtt.lingering import Linger


def settled(rate, *, longest_s=0.025, every_s=0.02):
    linger = Linger(longest_s)
    for n in range(1, 50):
        linger.saw(round(rate * every_s), now=n * every_s)
    return linger


@pytest.mark.parametrize(
    ("rate", "pause_s"), [(0, 0.005), (50_000, 0.0125), (100_000, 0.025), (900_000, 0.025)]
)
def test_the_pause_grows_with_the_rate_up_to_its_bound(rate, pause_s):
    assert settled(rate).pause_s == pytest.approx(pause_s)


def test_a_burst_after_silence_is_read_soon():
    linger = settled(100_000)

    linger.saw(1, now=100.0)
    linger.saw(1, now=200.0)
    linger.saw(1, now=300.0)
    linger.saw(1, now=400.0)

    assert linger.pause_s < 0.006


def test_two_reads_in_one_instant_do_not_divide_by_zero():
    linger = Linger(0.025)
    linger.saw(10, now=1.0)
    linger.saw(10, now=1.0)

    assert 0 < linger.pause_s <= 0.025
