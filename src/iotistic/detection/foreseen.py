"""Streams by their places, each with a forecast beside its detector: `Watches(streams=...)` takes them.

    forecaster = Forecaster.load(file, key)
    Watches(streams=lambda: Foreseen(forecaster.weights, replace(DEFAULTS, forecast_weight=weight)))

One by one, some 10 microseconds more for each sample than without forecasts.
"""

from collections.abc import Sequence

from iotistic.detection.constants import DEFAULTS, Constants
from iotistic.detection.detector import Detector
from iotistic.detection.forecast import ForecastStream, Weights
from iotistic.detection.watches import Score


class Foreseen:
    """One detector and one forecast for each stream."""

    def __init__(self, weights: Weights, constants: Constants = DEFAULTS) -> None:
        self._weights, self._constants = weights, constants
        self._detectors: list[Detector] = []
        self._forecasts: list[ForecastStream] = []

    def put(self, place: int, detector: Detector) -> None:
        """Let a stream go on from a detector's state, judged by the constants here; its forecast begins anew."""
        own = Detector(self._constants)
        own.from_list(detector.to_list())
        self._detectors[place : place + 1] = [own]
        self.put_forecast(place, ForecastStream(self._weights))

    def put_forecast(self, place: int, forecast: ForecastStream) -> None:
        """Let a stream's forecast go on from a state."""
        self._forecasts[place : place + 1] = [forecast]

    def detector(self, place: int) -> Detector:
        """Return the detector itself."""
        return self._detectors[place]

    def forecast(self, place: int) -> ForecastStream:
        """Return the forecast itself; for saving."""
        return self._forecasts[place]

    def step(self, samples: Sequence[tuple[int, float, float]]) -> list[Score]:
        """Take samples in."""
        found: list[Score] = []
        for place, at, value in samples:
            detector, forecast = self._detectors[place], self._forecasts[place]
            spread = detector.gauges.spread
            alert, raw = detector.update(at, value, forecast.expected)
            forecast.update(value)
            found.append(Score(place, alert, raw, spread))
        return found
