"""Streams with forecasts, as a device's watch takes them."""

from dataclasses import replace

from tests.unit.detection.forecast_builders import forecasts, made_weights
from tests.unit.detection.made_streams import DAY, noise, season, times

from iotistic.detection import DEFAULTS, Detector
from iotistic.detection.forecast import ForecastStream
from iotistic.detection.foreseen import Foreseen
from iotistic.detection.watches import Sample, Watches

JUDGING = replace(DEFAULTS, forecast_weight=1.0)


def stepped(watches: Watches, values: list[float], name: str = "cpu") -> list:
    return watches.step(Sample(name, t, value) for t, value in zip(times(values), values, strict=True))


def eventful() -> list[float]:
    values = season(4)
    values[3 * DAY + 40] += 60.0
    return values


def test_without_a_weight_the_same_is_told_as_without_forecasts():
    with_them = stepped(Watches(streams=lambda: Foreseen(made_weights())), eventful())
    without = stepped(Watches(), eventful())

    assert [(one.at, one.times) for one in with_them] == [(one.at, one.times) for one in without]
    assert with_them


def test_with_a_weight_forecasts_judge_too():
    weights, values = made_weights(), eventful()
    detector, stream = Detector(JUDGING), ForecastStream(weights)
    said = forecasts(stream, values)
    expected = [
        detector.update(t, value, one) for t, value, one in zip(times(values), values, said, strict=True)
    ]
    watches = Watches(streams=lambda: Foreseen(weights, JUDGING), constants=JUDGING)
    told = stepped(watches, values)

    assert [one.times * watches.thresholds.alert for one in told] == [
        alert for alert, _ in expected if alert >= watches.thresholds.alert
    ]
    assert told != stepped(Watches(), values)


def test_a_detector_from_before_goes_on_with_forecasts():
    values, watches = season(2), Watches(streams=lambda: Foreseen(made_weights(), JUDGING), constants=JUDGING)
    before = Detector()
    for t, value in zip(times(values), values, strict=True):
        before.update(t, value)
    watches.put("cpu", before)
    stepped(watches, values[:1])

    assert watches.detector("cpu").seen == len(values) + 1
    assert watches.detector("cpu").constants is JUDGING


def test_a_forecast_goes_on_where_it_was():
    weights, values = made_weights(), noise(1)
    one, other = Foreseen(weights), Foreseen(weights)
    for streams in (one, other):
        streams.put(0, Detector())
    one.step([(0, t, value) for t, value in zip(times(values), values, strict=True)])
    other.put_forecast(0, ForecastStream.restore(one.forecast(0).save(), weights))

    assert other.forecast(0).expected == one.forecast(0).expected is not None


def test_they_are_never_banked():
    watches = Watches(streams=lambda: Foreseen(made_weights()), bank_from=2)
    for name in "abc":
        stepped(watches, noise(1)[:3], name)

    assert not watches.is_banked
    assert len(watches) == 3
