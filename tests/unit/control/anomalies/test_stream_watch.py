"""Detectors over many series: what is saved goes on exactly, and found again under the same names."""

import math
from datetime import UTC, datetime
from uuid import UUID

import pytest

from iotistic.control.anomalies.series_rows import Series
from iotistic.control.anomalies.watch import StreamWatch
from iotistic.detection.detector import Detector
from iotistic.detection.events import Event, Method, Severity, Trend
from iotistic.detection.feedback import Verdict, lesson_of
from iotistic.detection.watches import Sample, Watches

START_US = 1_763_733_600_000_000
SECOND = 1_000_000
DEVICE = UUID(int=7)


def series(number=1, **kept):
    return Series((number, 1), DEVICE, "flow", "l/s", START_US - SECOND, **kept)


def noise(count, **spikes):
    values = [20 + math.sin(1.3 * place) for place in range(count)]
    for place, value in spikes.items():
        values[int(place[1:])] = value
    return values


def batch(one, values, first=0):
    return one, [START_US + SECOND * (first + place) for place in range(len(values))], values


def rows(found):
    return sorted((told.name, told.count, told.severity, told.value) for _, told in found)


def test_a_spike_is_one_anomaly_with_what_was_around_it():
    watch = StreamWatch(most=10)
    one = series()
    watch.admit(one)

    found = watch.take([batch(one, noise(300, _250=45.0))])

    (uuid, told) = found[-1]
    assert len(found) == 1
    assert (uuid, told.metric, told.unit, told.value, told.count) == (DEVICE, "flow", "l/s", 45.0, 1)
    assert told.first_at == datetime.fromtimestamp((START_US + 250 * SECOND) / 1e6, UTC)
    assert told.recent[-1] == 45.0
    assert len(told.recent) == 10
    assert told.expected_low < 20 < told.expected_high


@pytest.mark.parametrize("cut", [60, 249, 250, 251, 255, 299])
def test_what_was_saved_goes_on_as_if_nothing_had_been(cut):
    values = noise(400, _250=45.0, _252=60.0, _254=80.0, _380=5.0)
    whole, one = StreamWatch(most=10), series()
    whole.admit(one)
    wanted = {told.name: rows([(uuid, told)]) for uuid, told in whole.take([batch(one, values)])}

    before, one = StreamWatch(most=10), series()
    before.admit(one)
    first = before.take([batch(one, values[:cut])])
    (saved,) = before.saved(before.touched())
    before.take([batch(one, values[cut:390], cut)])  # this is lost
    after, again = StreamWatch(most=10), series(state=saved.state, incidents=saved.incidents)
    after.admit(again)
    second = after.take([batch(again, values[cut:], cut)])

    got = {told.name: rows([(uuid, told)]) for uuid, told in [*first, *second]}
    assert len(wanted) >= 2
    assert got == wanted


@pytest.mark.parametrize(
    "kept", [{"state": b"garbage"}, {"incidents": b"\xc1"}, {"state": b"\x01" + bytes(8)}]
)
def test_what_cannot_be_read_begins_anew(kept):
    watch, one = StreamWatch(most=10), series(**kept)

    assert watch.admit(one)
    assert watch.take([batch(one, noise(300, _250=45.0))])


def test_a_lesson_silences_the_like_and_nothing_beyond():
    watch, one = StreamWatch(most=10), series()
    watch.admit(one)
    (_, told) = watch.take([batch(one, noise(300, _250=45.0))])[0]
    event = Event(
        "", 0.0, told.value, Method.ZSCORE, Severity.INFO, 1.0, 0.0, told.expected_low, told.expected_high,
        told.baseline, Trend.STEADY, 1.0,
    )  # fmt: skip
    watch.teach(one.key, lesson_of(told.name, Verdict.EXPECTED, event, START_US / 1e6))

    same = watch.take([batch(one, noise(4000, _3900=44.0), 300)])
    worse = watch.take([batch(one, noise(300, _250=900.0), 4300)])

    assert [told.value for _, told in same] == []
    assert [told.value for _, told in worse] == [900.0]


def test_series_come_and_go_and_the_place_of_one_is_taken_by_another():
    watch = StreamWatch(most=2)
    some = [series(number) for number in (1, 2, 3)]
    assert [watch.admit(one) for one in some] == [True, True, False]
    watch.take([batch(one, noise(100)) for one in some[:2]])

    watch.drop([(1, 1)])

    assert (1, 1) not in watch
    assert watch.admit(some[2])
    watch.take([batch(some[2], noise(100))])
    assert {one.key for one in watch.saved(watch.touched())} == {(2, 1), (3, 1)}


@pytest.mark.parametrize("bank_from", [3, 1000])
def test_a_stream_in_the_place_of_a_dropped_one_knows_nothing_of_it(bank_from):
    watches = Watches(most=4, bank_from=bank_from)
    for number in range(4):
        watches.step([Sample(f"s{number}", at, 5.0 + at) for at in range(60)])
    watches.drop("s1")

    watches.step([Sample("new", at, 3.0) for at in range(5)])

    fresh = Detector()
    for at in range(5):
        fresh.update(at, 3.0)
    assert watches.detector("new").save() == fresh.save()
    assert watches.detector("s2").seen == 60
    assert "s1" not in watches
