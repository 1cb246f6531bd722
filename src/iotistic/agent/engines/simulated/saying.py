"""What simulated containers print: the same lines for the same seed, whoever asks and whenever. No I/O.

A container prints what its image is told to as it starts, and then a line now and then while it runs: line
number n in the nth stretch of that time, at a moment within it, so that any line is known without those before.
"""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from iotistic.agent.engines.port import LogLine

_KEPT_RUNS = 16
_PHRASES = (
    ("INFO", "{name}: {number} readings in {small} ms"),
    ("INFO", "{name}: heartbeat {number}, queue {small}"),
    ("INFO", "{name}: GET /health 200 {small} ms"),
    ("DEBUG", "{name}: cache of {number} entries looked through"),
    ("INFO", "{name}: connection from 10.0.0.{small} closed after {number} s"),
    ("WARN", "{name}: slow answer, {number} ms"),
    ("ERROR", "{name}: timeout after {number} ms, trying again"),
)
_WEIGHTS = (30, 30, 20, 10, 6, 3, 1)


@dataclass(frozen=True, slots=True)
class _Run:
    began: float
    ended: float = math.inf


@dataclass
class Sayings:
    """The runs of each container, and what it prints in them."""

    seed: int = 1
    every_s: float = 60.0
    """Seconds from one line to the next, about; 0 for containers that print nothing of their own."""
    _runs: dict[str, list[_Run]] = field(default_factory=dict[str, list[_Run]])

    def note(self, container_id: str, now: float, *, runs: bool) -> None:
        """Note whether a container runs from now on."""
        known = self._runs.setdefault(container_id, [])
        is_open = bool(known) and known[-1].ended == math.inf
        if runs and not is_open:
            known.append(_Run(now))
            del known[:-_KEPT_RUNS]
        elif is_open and not runs:
            known[-1] = replace(known[-1], ended=now)

    def forget(self, container_id: str) -> None:
        """Forget a container."""
        self._runs.pop(container_id, None)

    def lines(
        self, container_id: str, name: str, says: tuple[LogLine, ...], since: float, until: float
    ) -> Iterator[LogLine]:
        """Yield what a container prints from `since` to before `until`, the oldest first."""
        for run in self._runs.get(container_id, ()):
            if run.ended >= since and run.began < until:
                yield from self._of_run(run, container_id, name, says, max(since, run.began), until)

    def next_at(self, container_id: str, says: tuple[LogLine, ...], after: float) -> float:
        """Return when a running container may print again, at the earliest after a moment; infinity for never."""
        known = self._runs.get(container_id)
        if not known or known[-1].ended < math.inf:
            return math.inf
        began = known[-1].began
        due = [began + said.at for said in says if began + said.at >= after]
        if self.every_s > 0:
            stretch = max(int((after - began) / self.every_s), 0)
            due += [self._at(container_id, began, number) for number in (stretch, stretch + 1)]
        return min((at for at in due if at >= after), default=math.inf)

    def _of_run(
        self, run: _Run, container_id: str, name: str, says: tuple[LogLine, ...], since: float, until: float
    ) -> Iterator[LogLine]:
        until = min(until, math.nextafter(run.ended, math.inf))
        found = [said._replace(at=run.began + said.at) for said in says]
        if self.every_s > 0:
            first = max(int((since - run.began) / self.every_s) - 1, 0)
            last = math.ceil((until - run.began) / self.every_s)
            found += [self._line(container_id, name, run.began, number) for number in range(first, last)]
        yield from sorted(
            (line for line in found if since <= line.at < until), key=lambda line: line.at
        )  # a stable order: lines of one moment stay as they were told

    def _at(self, container_id: str, began: float, number: int) -> float:
        return began + self.every_s * (number + self._chance(container_id, began, number).random())

    def _line(self, container_id: str, name: str, began: float, number: int) -> LogLine:
        chance = self._chance(container_id, began, number)
        at = began + self.every_s * (number + chance.random())
        level, phrase = chance.choices(_PHRASES, _WEIGHTS)[0]
        text = phrase.format(name=name, number=chance.randrange(10, 5000), small=chance.randrange(1, 99))
        return LogLine(at, f"{level} {text}", level == "ERROR")

    def _chance(self, container_id: str, began: float, number: int) -> random.Random:
        return random.Random(f"{self.seed} {container_id} {began} {number}")  # noqa: S311  a simulator is to repeat itself
