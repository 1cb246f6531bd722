"""Many streams by name: one by one while they are few, in a bank when they are many and numpy is there.

Both ways give the same numbers, bit for bit. One by one costs some 10 microseconds for each sample and needs
nothing; the bank costs 0.4 ms for one stream as for a hundred, and numpy's memory (13 MB).
"""

import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from iotistic.detection.constants import DEFAULTS, Constants
from iotistic.detection.detector import Detector
from iotistic.detection.events import Event, Thresholds, describe

THRESHOLDS = Thresholds(alert=0.055, raw=0.135)
"""Chosen on labelled data once: those of benchmarks/detection.json."""
BANK_FROM = 100
"""Streams from which a bank is worth numpy's memory: quicker from 48 in one tick, twice as quick from 100."""
_BANKED = "iotistic.detection.banked"


class Sample(NamedTuple):
    """One value of a stream; `at` in seconds since 1970."""

    stream: str
    at: float
    value: float


class Score(NamedTuple):
    """What a step made of one sample: place of the stream, scores, and the ordinary spread from before."""

    place: int
    alert: float
    raw: float
    spread: float


class Standing(NamedTuple):
    """How a stream stands. `lasts` says that it is still away from what is usual."""

    learning: bool
    lasts: bool
    seen: int
    value: float
    baseline: float
    spread: float


class Alert(NamedTuple):
    """An unusual sample; `times` is its score in thresholds, at least 1."""

    stream: str
    at: float
    value: float
    times: float
    detector: Detector
    spread: float

    def event(self, factor: float = 1.0) -> Event | None:
        """Describe it as with a threshold that many times as high; None when it is below that."""
        times = self.times / factor
        return None if times < 1.0 else describe(self.stream, self.at, self.detector, times, self.spread)


class Streams(Protocol):
    """Detectors, by their places."""

    def put(self, place: int, detector: Detector) -> None:
        """Let a stream go on from a detector's state; places are taken in order."""
        ...

    def detector(self, place: int) -> Detector:
        """Return a detector that goes on as this stream would."""
        ...

    def step(self, samples: Sequence[tuple[int, float, float]]) -> list[Score]:
        """Take (place, time, value) in, each place once."""
        ...


class Singles:
    """One detector for each stream."""

    def __init__(self) -> None:
        self._detectors: list[Detector] = []

    def put(self, place: int, detector: Detector) -> None:
        """Let a stream go on from a detector's state."""
        self._detectors[place : place + 1] = [detector]

    def detector(self, place: int) -> Detector:
        """Return the detector itself."""
        return self._detectors[place]

    def step(self, samples: Sequence[tuple[int, float, float]]) -> list[Score]:
        """Take samples in."""
        found: list[Score] = []
        for place, at, value in samples:
            detector = self._detectors[place]
            spread = detector.gauges.spread
            alert, raw = detector.update(at, value)
            found.append(Score(place, alert, raw, spread))
        return found


class Watches:
    """All streams of a device; `most` bounds them, and `bank_from` says when a bank is worth its memory."""

    def __init__(
        self,
        thresholds: Thresholds = THRESHOLDS,
        *,
        most: int = 256,
        bank_from: int = BANK_FROM,
        constants: Constants = DEFAULTS,
        streams: Callable[[], Streams] | None = None,
    ) -> None:
        """`streams` makes others than those of this module, such as ones with forecasts; they are never banked."""
        self.thresholds, self._most, self._bank_from = thresholds, most, bank_from
        self._constants = constants
        self._places: dict[str, int] = {}
        self._free: list[int] = []
        self._raws: dict[str, float] = {}
        self._streams: Streams = streams() if streams else Singles()
        self._banked = False
        self.refused = 0
        """Samples of streams that there was no room for."""

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, stream: object) -> bool:
        return stream in self._places

    @property
    def names(self) -> tuple[str, ...]:
        """Streams, in the order in which they came."""
        return tuple(self._places)

    @property
    def is_banked(self) -> bool:
        """Whether they are stepped together."""
        return self._banked

    def put(self, stream: str, detector: Detector) -> bool:
        """Let a stream go on from a detector's state; False when there is no room."""
        place = self._place_of(stream)
        if place is None:
            return False
        self._streams.put(place, detector)
        self._raws[stream] = detector.raw
        return True

    def drop(self, stream: str) -> None:
        """Forget a stream; its place is for the next one. Raises KeyError."""
        self._free.append(self._places.pop(stream))
        del self._raws[stream]

    def detector(self, stream: str) -> Detector:
        """Return a detector that goes on as this stream would; it is not to be changed. Raises KeyError."""
        return self._streams.detector(self._places[stream])

    def standing(self, stream: str) -> Standing:
        """Return how a stream stands. Raises KeyError."""
        one = self.detector(stream)
        lasts = self._raws[stream] >= self.thresholds.raw
        return Standing(one.learning, lasts, int(one.seen), one.value, one.expected, one.gauges.spread)

    def step(self, samples: Iterable[Sample]) -> list[Alert]:
        """Take samples in, each stream's in order; return those that are unusual."""
        return [alert for round_ in _rounds(samples) for alert in self._step(round_)]

    def _step(self, samples: Mapping[str, Sample]) -> list[Alert]:
        placed: list[tuple[int, float, float]] = []
        by_place: dict[int, Sample] = {}
        for sample in samples.values():
            place = self._place_of(sample.stream)
            if place is None:
                self.refused += 1
                continue
            placed.append((place, sample.at, sample.value))
            by_place[place] = sample
        found: list[Alert] = []
        for score in self._streams.step(placed) if placed else ():
            sample = by_place[score.place]
            self._raws[sample.stream] = score.raw
            times = score.alert / self.thresholds.alert
            if times >= 1.0:
                # A copy: the next sample of the same stream may come in the same step.
                detector = Detector.restore(self._streams.detector(score.place).save(), self._constants)
                found.append(Alert(sample.stream, sample.at, sample.value, times, detector, score.spread))
        return found

    def _place_of(self, stream: str) -> int | None:
        place = self._places.get(stream)
        if place is None and len(self._places) < self._most:
            place = self._free.pop() if self._free else len(self._places)
            self._places[stream] = place
            self._raws[stream] = 0.0
            self._streams.put(place, Detector(self._constants))
            if len(self._places) == self._bank_from and isinstance(self._streams, Singles):
                self._move()
        return place

    def _move(self) -> None:
        """Step them together from now on, if that is possible here."""
        try:
            banked = importlib.import_module(_BANKED)  # numpy is not there on every device
        except ImportError:
            return
        streams: Streams = banked.Banked(self._constants)
        for place in self._places.values():
            streams.put(place, self._streams.detector(place))
        self._streams, self._banked = streams, True


def _rounds(samples: Iterable[Sample]) -> list[dict[str, Sample]]:
    """Return samples so that no stream comes twice in one round, and each keeps its order."""
    rounds: list[dict[str, Sample]] = []
    counts: dict[str, int] = {}
    for sample in samples:
        number = counts[sample.stream] = counts.get(sample.stream, 0) + 1
        if len(rounds) < number:
            rounds.append({})
        rounds[number - 1][sample.stream] = sample
    return rounds
