"""What people taught the streams of this device: on disk before it is answered."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Protocol, cast

import structlog

from iotistic.detection.feedback import Lesson, Tolerance, Verdict

log = structlog.get_logger()

_NAME = "anomaly_lessons"
_MOST_STREAMS = 1024


class Disk(Protocol):
    """Names and values that outlive the process."""

    async def load(self) -> dict[str, Any]:
        """Return all of them."""
        ...

    async def put(self, name: str, value: Any) -> None:
        """Keep one; None removes it. Raises StoreUnavailable."""
        ...


class Lessons:
    """One tolerance for each stream that has any. `counts`: verdicts that people gave on this device."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._tolerances: dict[str, Tolerance] = {}
        self.counts: dict[str, int] = {str(verdict): 0 for verdict in Verdict}

    async def open(self) -> None:
        """Read what is on disk; what cannot be read is forgotten."""
        kept: object = (await self._disk.load()).get(_NAME)
        if not isinstance(kept, dict):
            return
        try:
            self._read(cast("Mapping[str, Any]", kept))
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            log.warning("anomaly.lessons_unreadable", reason=str(exc))

    def factor(self, stream: str, value: float, now: float) -> float:
        """Return how many thresholds a score has to reach, at least 1."""
        tolerance = self._tolerances.get(stream)
        return 1.0 if tolerance is None else tolerance.factor(value, now)

    def of(self, stream: str) -> tuple[Lesson, ...]:
        """Return what a stream was taught."""
        tolerance = self._tolerances.get(stream)
        return () if tolerance is None else tolerance.lessons

    async def learn(self, stream: str, lesson: Lesson) -> None:
        """Teach a stream. Raises StoreUnavailable, and nothing is learned then."""
        taught = Tolerance(self.of(stream))
        taught.learn(lesson)
        tolerances = {**self._tolerances, stream: taught}
        while len(tolerances) > _MOST_STREAMS:
            tolerances.pop(next(iter(tolerances)))
        counts = {**self.counts, str(lesson.verdict): self.counts.get(str(lesson.verdict), 0) + 1}
        lessons = {name: [asdict(one) for one in each.lessons] for name, each in tolerances.items()}
        await self._disk.put(_NAME, {"counts": counts, "streams": lessons})
        self._tolerances, self.counts = tolerances, counts

    def forget(self) -> None:
        """Begin anew: the disk was emptied."""
        self._tolerances, self.counts = {}, {str(verdict): 0 for verdict in Verdict}

    def _read(self, kept: Mapping[str, Any]) -> None:
        counts = {str(name): int(count) for name, count in kept["counts"].items()}
        streams: Mapping[str, list[Mapping[str, Any]]] = kept["streams"]
        self._tolerances = {
            name: Tolerance(_read_lesson(one) for one in lessons) for name, lessons in streams.items()
        }
        self.counts |= counts


def _read_lesson(kept: Mapping[str, Any]) -> Lesson:
    fields = dict(kept)
    return Lesson(verdict=Verdict(fields.pop("verdict")), **fields)
