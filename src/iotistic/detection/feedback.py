"""What people say of events, and what a stream makes of it: no training, only thresholds that are raised for a while.

- *Expected* (a backup at night, a door that stands open while goods come in): values between what was usual and
  that value, and a quarter beyond, are not told. Further out they still are.
- *Wrong* (there was nothing): the whole stream has to be twice as unusual before it is told; three such verdicts
  are eight times, and that is the most. The largest scores are told all the same.

Both fade: what was said once and never again is forgotten. A factor is how many thresholds a score has to reach.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from iotistic.detection.events import Event

DAY_S = 86_400.0
EXPECTED_FACTOR = 32.0
"""Above the largest score there is, so that the band is silent at first."""
EXPECTED_HALVES_S = 30 * DAY_S
EXPECTED_BEYOND = 0.25
"""How far past the value the band reaches, in parts of its distance from the baseline."""
WRONG_FACTOR = 2.0
WRONG_HALVES_S = 14 * DAY_S
MOST_WRONG_FACTOR = 8.0
MOST_LESSONS = 16
"""Lessons of one stream; the weakest goes for a new one."""


class Verdict(StrEnum):
    """What a person says of an event."""

    EXPECTED = "expected"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Lesson:
    """A verdict on one event, with the values it is about; `at` in seconds since 1970."""

    event_id: str
    verdict: Verdict
    at: float
    low: float
    high: float

    def factor(self, now: float) -> float:
        """Return by how much it raises the threshold now; at most 1 when it is forgotten."""
        is_expected = self.verdict is Verdict.EXPECTED
        first = EXPECTED_FACTOR if is_expected else WRONG_FACTOR
        halves_s = EXPECTED_HALVES_S if is_expected else WRONG_HALVES_S
        age_s = max(0.0, now - self.at)  # a clock that was set back makes nothing stronger
        return first * 0.5 ** min(age_s / halves_s, 1000.0)

    @property
    def holds_for_s(self) -> float:
        """Seconds until it is forgotten."""
        return 5 * EXPECTED_HALVES_S if self.verdict is Verdict.EXPECTED else WRONG_HALVES_S


def lesson_of(event_id: str, verdict: Verdict, event: Event, now: float) -> Lesson:
    """Return what an event teaches."""
    half_range = (event.expected_high - event.expected_low) / 2
    beyond = max(EXPECTED_BEYOND * abs(event.value - event.baseline), half_range)
    if event.value >= event.baseline:
        return Lesson(event_id, verdict, now, event.baseline, event.value + beyond)
    return Lesson(event_id, verdict, now, event.value - beyond, event.baseline)


class Tolerance:
    """What one stream was taught. At most one lesson for each event: a second verdict takes the place of the first."""

    def __init__(self, lessons: Iterable[Lesson] = ()) -> None:
        self._lessons = list(lessons)[-MOST_LESSONS:]

    @property
    def lessons(self) -> tuple[Lesson, ...]:
        """All of them, the oldest first."""
        return tuple(self._lessons)

    def learn(self, lesson: Lesson) -> None:
        """Take a lesson."""
        now = lesson.at
        kept = [one for one in self._lessons if one.event_id != lesson.event_id and one.factor(now) > 1.0]
        while len(kept) >= MOST_LESSONS:
            kept.remove(min(kept, key=lambda one: one.factor(now)))
        self._lessons = [*kept, lesson]

    def unlearn(self, event_id: str) -> None:
        """Forget what was said of an event."""
        self._lessons = [one for one in self._lessons if one.event_id != event_id]

    def factor(self, value: float, now: float) -> float:
        """Return how many thresholds a score has to reach for this value to be told, at least 1."""
        everywhere, here = 1.0, 1.0
        for lesson in self._lessons:
            factor = max(1.0, lesson.factor(now))
            if lesson.verdict is Verdict.WRONG:
                everywhere = min(everywhere * factor, MOST_WRONG_FACTOR)
            elif lesson.low <= value <= lesson.high:
                here = max(here, factor)
        return max(everywhere, here)
