"""Anomalies that were found: on disk before they are told, bounded, and each told to the cloud once.

A change that somebody is to hear of is written at once; one more of the same is counted in memory, and written with
the next. A disk that takes no writes holds nothing up: what could not be written is tried again with the next.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import structlog

from iotistic.agent.anomalies.model import (
    Anomaly,
    AnomalyAmbiguous,
    AnomalyUnknown,
    read_anomaly,
    write_anomaly,
)
from iotistic.agent.store.errors import StoreUnavailable
from iotistic.detection.incidents import Incident

log = structlog.get_logger()

_MOST_WAITING = 200
_QUIET_S = 600.0
"""After so long without another one an anomaly is over: how often it happened is told once more."""


class Disk(Protocol):
    """Numbered documents that outlive the process."""

    async def load(self) -> dict[int, Any]:
        """Return all, the oldest first."""
        ...

    async def put(self, documents: Mapping[int, Any], *, least: int) -> None:
        """Keep some; those with numbers below `least` go. Raises StoreUnavailable."""
        ...


@dataclass(eq=False)
class _Follower:
    waiting: deque[Anomaly] = field(default_factory=lambda: deque[Anomaly](maxlen=_MOST_WAITING))
    woken: asyncio.Event = field(default_factory=asyncio.Event)


class Journal:
    """Those of one device; `most` bounds them."""

    def __init__(self, disk: Disk, *, most: int = 1000) -> None:
        self._disk, self._most = disk, most
        self._kept: dict[int, Anomaly] = {}
        self._numbers: dict[str, int] = {}
        self._next = 1
        self._unwritten: set[int] = set()
        self._urgent = False
        self._followers: set[_Follower] = set()
        self._listeners: list[Callable[[], None]] = []
        self.dropped_untold = 0
        """Anomalies that made room for younger ones before the cloud heard of them."""

    async def open(self) -> None:
        """Read what is on disk."""
        for number, kept in (await self._disk.load()).items():
            try:
                anomaly = read_anomaly(number, kept)
            except (KeyError, TypeError, ValueError, AttributeError) as exc:
                log.warning("anomaly.unreadable", number=number, reason=str(exc))
            else:
                self._put(anomaly)
        self._unwritten.clear()

    def __len__(self) -> int:
        return len(self._kept)

    def incidents(self) -> list[Incident]:
        """Return what may go on."""
        return [one.incident for one in self._kept.values()]

    def listen(self, listener: Callable[[], None]) -> None:
        """Let somebody hear that there is something to be told."""
        self._listeners.append(listener)

    def unlisten(self, listener: Callable[[], None]) -> None:
        """Let somebody hear no more."""
        self._listeners.remove(listener)

    def add(self, incident: Incident, make: Callable[[int], Anomaly]) -> Anomaly:
        """Keep a new anomaly, which `make` returns for its number."""
        number = self._numbers.get(incident.id, self._next)
        anomaly = make(number)
        self._put(anomaly)
        self._tell(anomaly)
        return anomaly

    def change(self, anomaly: Anomaly, *, is_news: bool) -> Anomaly:
        """Keep an anomaly as it is now; news is told again, and written at once."""
        if is_news:
            anomaly = replace(anomaly, revision=anomaly.revision + 1)
        self._put(anomaly)
        if is_news:
            self._tell(anomaly)
        return anomaly

    def by_incident(self, incident: Incident) -> Anomaly | None:
        """Return what is kept of an incident, None when that was forgotten."""
        number = self._numbers.get(incident.id)
        return None if number is None else self._kept[number]

    def __contains__(self, id_: object) -> bool:
        return id_ in self._numbers

    def find(self, name: str) -> Anomaly:
        """Return one by its id, or by how that begins. Raises AnomalyUnknown and AnomalyAmbiguous."""
        if (number := self._numbers.get(name)) is not None:
            return self._kept[number]
        found = [number for id_, number in self._numbers.items() if id_.startswith(name)] if name else []
        if not found:
            raise AnomalyUnknown(f"there is no anomaly {name[:80]!r}", hint="see `iotctl anomalies list`")
        if len(found) > 1:
            raise AnomalyAmbiguous(
                f"{len(found)} anomalies begin with {name[:80]!r}", hint="give more of the id"
            )
        return self._kept[found[0]]

    def recent(self, count: int) -> list[Anomaly]:
        """Return the last, the oldest first."""
        return sorted(self._kept.values(), key=lambda one: one.number)[-count:]

    def untold(self, now: float, count: int) -> list[Anomaly]:
        """Return what the cloud is to hear of, the oldest first."""
        waiting = [one for one in self._kept.values() if one.is_untold(now, _QUIET_S)]
        return sorted(waiting, key=lambda one: one.number)[:count]

    async def told(self, anomalies: Iterable[Anomaly]) -> None:
        """Note that the cloud has acknowledged anomalies as they were then."""
        for one in anomalies:
            if (now := self._kept.get(one.number)) is not None and now.id == one.id:
                self._put(now.acknowledged(one))
        self._urgent = True
        await self.write()

    async def write(self, *, even_counts: bool = False) -> None:
        """Put onto the disk what is news, and whatever changed with it; `even_counts`: also without news."""
        if not self._unwritten or not (self._urgent or even_counts):
            return
        numbers, self._unwritten, urgent, self._urgent = self._unwritten, set[int](), self._urgent, False
        documents = {number: write_anomaly(self._kept[number]) for number in numbers if number in self._kept}
        try:
            await self._disk.put(documents, least=min(self._kept, default=self._next))
        except BaseException as exc:
            self._unwritten |= numbers
            self._urgent = self._urgent or urgent
            if not isinstance(exc, StoreUnavailable):
                raise  # the store has said why, once

    async def follow(self, *, recent: int = 0) -> AsyncIterator[Anomaly]:
        """Yield the last, and then each that comes or becomes worse; whoever is too slow loses the oldest."""
        follower = _Follower()
        self._followers.add(follower)
        try:
            for anomaly in self.recent(recent) if recent else ():
                yield anomaly
            while True:
                await follower.woken.wait()
                follower.woken.clear()
                while follower.waiting:
                    yield follower.waiting.popleft()
        finally:
            self._followers.discard(follower)

    def forget(self) -> None:
        """Begin anew: the disk was emptied."""
        self._kept.clear()
        self._numbers.clear()
        self._unwritten.clear()

    def _put(self, anomaly: Anomaly) -> None:
        self._kept[anomaly.number] = anomaly
        self._numbers[anomaly.id] = anomaly.number
        self._unwritten.add(anomaly.number)
        self._next = max(self._next, anomaly.number + 1)
        while len(self._kept) > self._most:
            oldest = self._kept.pop(min(self._kept))
            self._numbers.pop(oldest.id, None)
            self.dropped_untold += oldest.told < oldest.revision

    def _tell(self, anomaly: Anomaly) -> None:
        self._urgent = True
        for follower in self._followers:
            follower.waiting.append(anomaly)
            follower.woken.set()
        for listener in self._listeners:
            listener()
