"""How long steps take: medians of what devices reported, documented defaults until then. Pure.

What is known best is used: of this image (fetches) or this repository (containers), then of this kind of step
anywhere, from three reports on; then the defaults. Devices are not alike: what one of them took for its own steps,
against the medians of the same steps, is its pace, apart for its engine and for its line. Medians say what is long,
paces say for whom; so what goes into the medians is what a step would have taken at a pace of 1, or the few devices
that happened to do a step first would make it look as slow as they are. Devices have their moments, too: a step that
was held up says nothing of the next one, so where most steps of a device agree, the others are left out of its pace.
"""

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from iotistic.planning import steps
from iotistic.planning.images import canonical, repository_of
from iotistic.planning.steps import Action, name_of

LEAST_SAMPLES = 3
BYTES_PER_S = 2 * 1024 * 1024
"""Of a download whose size is known: a poor mobile line."""
DEFAULTS_S: Mapping[str, float] = {
    "fetch": 30.0,
    "start": 1.0,
    "stop": 2.0,
    "kill": 2.5,
    "remove": 0.5,
    "pause": 0.1,
    "unpause": 0.1,
    "updateMetadata": 0.2,
    "createNetwork": 0.3,
    "removeNetwork": 0.3,
    "createVolume": 0.1,
    "removeVolume": 0.3,
    "takeLock": 0.05,
    "releaseLock": 0.05,
    "removeImage": 1.0,
    "turn": 0.0,
}
"""Seconds that each kind of step takes where nothing is known. A turn is what passes between two of them."""
_FETCH, _TURN = "fetch", "turn"
_SLOWEST, _SHORTEST_S = 16.0, 0.01
_AGREES = 1.25
"""Steps agree whose times (against the usual ones) are within a quarter of the device's median."""
_ENGINE_GRAIN, _LINE_GRAIN = 0.02, 0.2
"""Paces are told apart by so much (of the logarithm): devices that are alike share one simulated update. A line's is
coarse, because what it is good for is the length of an update, not the downtime."""


class Sample(NamedTuple):
    """One step that a device reported."""

    name: str
    topic: str
    seconds: float


class Pace(NamedTuple):
    """How many times as long as the fleet's median a device takes, with its containers and with its downloads."""

    engine: float = 1.0
    line: float = 1.0


AVERAGE, _UNKNOWN = Pace(), Pace(0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Durations:
    """`learned`: median seconds by kind of step and topic; the topic is empty for all of a kind."""

    learned: Mapping[tuple[str, str], float] = field(default_factory=dict[tuple[str, str], float])
    sizes: Mapping[str, int] = field(default_factory=dict[str, int])
    """Bytes of images, by their one spelling."""
    pace: Pace = AVERAGE

    def of(self, step: Action) -> float:
        """Return how many seconds a step takes."""
        name, topic = name_of(step), topic_of(step)
        is_sized = name == _FETCH and topic in self.sizes
        seconds = self._learned(name, topic, only_topic=is_sized)
        if seconds is not None:
            return seconds * (self.pace.line if name == _FETCH else self.pace.engine)
        return self.sizes[topic] / BYTES_PER_S if is_sized else DEFAULTS_S[name]

    def knows(self, step: Action) -> bool:
        """Say whether devices told how long a step takes."""
        return self._learned(name_of(step), topic_of(step)) is not None

    @property
    def turn_s(self) -> float:
        """Seconds between the end of a step and the beginning of the next: the device looks, plans, and writes."""
        return self.learned.get((_TURN, ""), DEFAULTS_S[_TURN])

    def pace_of(self, samples: Iterable[Sample], otherwise: Pace = AVERAGE) -> Pace:
        """Return the pace of a device from what its own steps took; `otherwise` where these are too few."""
        engine, line = list[tuple[float, float]](), list[tuple[float, float]]()
        for one in samples:
            usual = self._learned(one.name, one.topic)
            if one.name != _TURN and usual is not None and usual >= _SHORTEST_S:
                (line if one.name == _FETCH else engine).append((one.seconds, usual))
        return Pace(
            _times(engine, _ENGINE_GRAIN, otherwise.engine), _times(line, _LINE_GRAIN, otherwise.line)
        )

    def usual_pace(self, devices: Iterable[Iterable[Sample]]) -> Pace:
        """Return the median pace of devices: what to expect of those that nobody knows yet."""
        found = [self.pace_of(samples, otherwise=_UNKNOWN) for samples in devices]
        engines = [one.engine for one in found if one.engine]
        lines = [one.line for one in found if one.line]
        return Pace(
            statistics.median_low(engines) if engines else 1.0,
            statistics.median_low(lines) if lines else 1.0,
        )

    def at_average(self, samples: Iterable[Sample], pace: Pace) -> list[Sample]:
        """Return what a device of a pace took, as if it had been an average one."""
        times = {_FETCH: pace.line, _TURN: 1.0}
        return [one._replace(seconds=one.seconds / times.get(one.name, pace.engine)) for one in samples]

    def _learned(self, name: str, topic: str, *, only_topic: bool = False) -> float | None:
        found = self.learned.get((name, topic))
        return found if found is not None or only_topic else self.learned.get((name, ""))

    def bytes_of(self, images: Iterable[str]) -> int | None:
        """Return how many bytes images have together, None when one of them is not known."""
        found = [self.sizes.get(canonical(image)) for image in images]
        return None if any(size is None for size in found) else sum(size or 0 for size in found)


def _times(steps: list[tuple[float, float]], grain: float, otherwise: float) -> float:
    """Return how many times as long as usual steps took together, by the grain."""
    if len(steps) < LEAST_SAMPLES:
        return otherwise
    steps = _agreeing(steps)
    took = sum(min(seconds, usual * _SLOWEST) for seconds, usual in steps)
    times = max(took / sum(usual for _, usual in steps), 1 / _SLOWEST)
    return math.exp(round(math.log(times) / grain) * grain)


def _agreeing(steps: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the steps without those that were held up, or all, where no majority says what is usual on the device."""
    middle = statistics.median(seconds / usual for seconds, usual in steps)
    found = [one for one in steps if middle / _AGREES <= one[0] / one[1] <= middle * _AGREES]
    return found if len(found) >= LEAST_SAMPLES and 2 * len(found) > len(steps) else steps


def topic_of(step: Action) -> str:
    """Return what the time of a step depends on most."""
    match step:
        case steps.Fetch(image) | steps.RemoveImage(image):
            return canonical(image)
        case steps.Start(service):
            return repository_of(service.config.image)
        case _:
            return ""


def learn(samples: Iterable[Sample]) -> dict[tuple[str, str], float]:
    """Return medians, of whatever has been seen often enough."""
    found: dict[tuple[str, str], list[float]] = {}
    for sample in samples:
        found.setdefault((sample.name, ""), []).append(sample.seconds)
        if sample.topic:
            found.setdefault((sample.name, sample.topic), []).append(sample.seconds)
    return {
        key: statistics.median(seconds) for key, seconds in found.items() if len(seconds) >= LEAST_SAMPLES
    }
