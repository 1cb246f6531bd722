"""What happens to pods, as events of containers.

Kubernetes tells how a pod is, never what happened to it: a start or an end is seen by comparing with what was known.
How often its container was started and has ended is told by its count of restarts and by its state now.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass

from iotistic.agent.engines.docker.documents import Json
from iotistic.agent.engines.k3s import names
from iotistic.agent.engines.k3s.reading import Pod
from iotistic.agent.engines.k3s.watching import Watcher, What, Word
from iotistic.agent.engines.port import Change, Event
from iotistic.planning.model import ServiceKey


@dataclass(frozen=True)
class _Known:
    """How far a pod's container was, and how it is named in events."""

    container_id: str
    key: ServiceKey
    started: int
    ended: int
    is_leaving: bool

    def event(self, change: Change, exit_code: int | None = None, *, by_order: bool = False) -> Event:
        return Event(change, self.container_id, self.key, exit_code, by_order)


class PodEar:
    """Makes sense of what is told of pods."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._has_listed = False

    def hear(self, word: Word) -> Iterator[Event]:
        """Yield what happened; the first list is only noted."""
        if word.what is What.LISTED:
            there = {_uid(document) for document in word.documents}
            for uid in [uid for uid in self._known if uid not in there]:
                yield from self._gone(uid)
        for document in word.documents:
            if word.what is What.DELETED:
                yield from self._changed(document)
                yield from self._gone(_uid(document))
            elif self._has_listed:
                yield from self._changed(document)
            else:
                self._note(document)
        self._has_listed = True

    def _changed(self, document: Json) -> Iterator[Event]:
        before = self._known.get(_uid(document))
        now = self._note(document)
        if now is None:
            return
        pod = Pod(document)
        if now.started > (before.started if before else 0):
            yield now.event(Change.STARTED)
        if now.ended > (before.ended if before else 0):
            code = pod.ended.get("exitCode")
            by_order = pod.is_leaving or (before is not None and before.is_leaving)
            yield now.event(Change.ENDED, code if isinstance(code, int) else None, by_order=by_order)
        elif before is not None and before != now and now.started == before.started:
            yield now.event(Change.OTHER)

    def _gone(self, uid: str) -> Iterator[Event]:
        known = self._known.pop(uid, None)
        if known is not None and known.started > known.ended:
            yield known.event(Change.ENDED, by_order=True)
        elif known is not None:
            yield known.event(Change.OTHER)

    def _note(self, document: Json) -> _Known | None:
        pod, key = Pod(document), names.key_of(document)
        if key is None or not pod.container_id:
            return None
        has_ended = bool(pod.container.get("state") and "terminated" in pod.container["state"])
        ended = pod.restarts + (1 if has_ended else 0)
        started = ended + (1 if pod.running is not None else 0)
        known = _Known(pod.container_id, key, started, ended, pod.is_leaving)
        self._known[_uid(document)] = known
        return known


async def listen(pods: Watcher, others: Iterable[Watcher]) -> AsyncGenerator[Event]:
    """Yield events of pods, and OTHER for whatever else changes; the first one says that we listen."""
    heard: asyncio.Queue[Event | Exception] = asyncio.Queue()
    tasks = [asyncio.create_task(_hear_pods(pods, heard))]
    tasks += [asyncio.create_task(_hear_others(watcher, heard)) for watcher in others]
    try:
        while True:
            said = await heard.get()
            if isinstance(said, Exception):
                raise said
            yield said
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)


async def _hear_pods(watcher: Watcher, heard: asyncio.Queue[Event | Exception]) -> None:
    ear, is_first = PodEar(), True
    try:
        async with aclosing(watcher.follow()) as words:
            async for word in words:
                for event in ear.hear(word):
                    heard.put_nowait(event)
                if is_first:
                    heard.put_nowait(Event(Change.OTHER))
                is_first = False
    except Exception as exc:  # noqa: BLE001  whoever listens is to know, whatever it is
        heard.put_nowait(exc)


async def _hear_others(watcher: Watcher, heard: asyncio.Queue[Event | Exception]) -> None:
    try:
        async with aclosing(watcher.follow()) as words:
            async for word in words:
                for document in word.documents if word.what is not What.LISTED else ():
                    heard.put_nowait(Event(Change.OTHER, names.name_of(document), names.key_of(document)))
    except Exception as exc:  # noqa: BLE001  as above
        heard.put_nowait(exc)


def _uid(document: Json) -> str:
    return str(document["metadata"].get("uid") or names.name_of(document))
