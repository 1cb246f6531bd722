"""How long steps take: medians of what devices reported, documented defaults until then. Pure.

What is known best is used: of this image (fetches) or this repository (containers), then of this kind of step
anywhere, from three reports on; then the defaults.
"""

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
}
"""Seconds that each kind of step takes where nothing is known."""


class Sample(NamedTuple):
    """One step that a device reported."""

    name: str
    topic: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Durations:
    """`learned`: median seconds by kind of step and topic; the topic is empty for all of a kind."""

    learned: Mapping[tuple[str, str], float] = field(default_factory=dict[tuple[str, str], float])
    sizes: Mapping[str, int] = field(default_factory=dict[str, int])
    """Bytes of images, by their one spelling."""

    def of(self, step: Action) -> float:
        """Return how many seconds a step takes."""
        name, topic = name_of(step), topic_of(step)
        for known in ((name, topic), (name, "")) if topic else ((name, ""),):
            if known in self.learned and not (name == "fetch" and known[1] == "" and topic in self.sizes):
                return self.learned[known]
        if name == "fetch" and topic in self.sizes:
            return self.sizes[topic] / BYTES_PER_S
        return DEFAULTS_S[name]

    def bytes_of(self, images: Iterable[str]) -> int | None:
        """Return how many bytes images have together, None when one of them is not known."""
        found = [self.sizes.get(canonical(image)) for image in images]
        return None if any(size is None for size in found) else sum(size or 0 for size in found)


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
