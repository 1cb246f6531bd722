"""From events to what a person is told: many events of one matter are one incident, counted.

A *fingerprint* names the matter: the stream, and whether the value lies above or below what is usual. Events with
the same fingerprint are one incident until none came for the cool-down, or the incident is an hour old: what goes
on for a day is told each hour. An event that is worse than all before takes the place of the one that is shown.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum

from iotistic.detection.events import Event, Severity

COOL_DOWN_S = 300.0
LONGEST_S = 3600.0
MOST_OPEN = 512
_RANKS = {Severity.INFO: 0, Severity.WARNING: 1, Severity.CRITICAL: 2}


class News(Enum):
    """What an event means to somebody who knows of those before."""

    NEW = "new"
    WORSE = "worse"
    """Of an incident that is known, with a higher severity."""
    AGAIN = "again"


@dataclass(frozen=True, slots=True)
class Incident:
    """Events of one matter. `event` is the worst; times in seconds since 1970."""

    id: str
    fingerprint: str
    event: Event
    first_at: float
    last_at: float
    count: int = 1


def fingerprint_of(stream: str, event: Event) -> str:
    """Return the name of a matter: 16 hex digits, the same in each process."""
    side = "above" if event.value >= event.baseline else "below"
    return hashlib.sha256(f"{stream}\0{side}".encode("utf-8", "replace")).hexdigest()[:16]


def is_worse(event: Event, than: Event) -> bool:
    """Say whether an event is more severe than another."""
    return _RANKS[event.severity] > _RANKS[than.severity]


class Incidents:
    """Those of one device, or of one worker: bounded, those that are not heard of go first."""

    def __init__(self, known: Iterable[Incident] = (), *, most: int = MOST_OPEN) -> None:
        self._most = most
        self._open: dict[str, Incident] = {}
        for incident in sorted(known, key=lambda one: one.last_at):
            self._put(incident)

    def take(self, stream: str, event: Event, *, cool_down_s: float = COOL_DOWN_S) -> tuple[Incident, News]:
        """Take an event in; return the incident that it belongs to, and what is new about it."""
        fingerprint = fingerprint_of(stream, event)
        known = self._open.get(fingerprint)
        if known is None or not self._is_one(known, event.at, cool_down_s):
            first = Incident(
                f"{fingerprint[:8]}-{_written(event.at)}", fingerprint, event, event.at, event.at
            )
            self._put(first)
            return first, News.NEW
        worse = is_worse(event, known.event)
        shown = event if worse or event.score > known.event.score else known.event
        grown = replace(known, event=shown, last_at=max(known.last_at, event.at), count=known.count + 1)
        self._put(grown)
        return grown, News.WORSE if worse else News.AGAIN

    def resume(self, incident: Incident) -> None:
        """Let an incident go on that was known before."""
        self._put(incident)

    @staticmethod
    def _is_one(known: Incident, at: float, cool_down_s: float) -> bool:
        """Say whether a time belongs to an incident; a clock that was set far back begins a new one."""
        return (
            known.first_at - cool_down_s <= at <= min(known.last_at + cool_down_s, known.first_at + LONGEST_S)
        )

    def _put(self, incident: Incident) -> None:
        self._open.pop(incident.fingerprint, None)
        self._open[incident.fingerprint] = incident
        if len(self._open) > self._most:
            self._open.pop(next(iter(self._open)))


def _written(at: float) -> str:
    """Return a time as hex digits of its milliseconds."""
    return f"{max(0, round(at * 1000)):x}"
