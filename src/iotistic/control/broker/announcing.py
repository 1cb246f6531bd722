"""Tells devices that there is a new target, without anybody waiting for it.

`announce` only notes; `run` publishes. Nothing hangs on an announcement: a device polls anyway. So when the broker
is away the newest announcement of each device waits, the oldest are dropped when there are too many, and what
waited when the process ends is lost.
"""

import asyncio
import json
from collections import OrderedDict
from typing import Protocol

import structlog

from iotistic.kernel.errors import IotisticError
from iotistic.kernel.mqtt.errors import PublishDenied

log = structlog.get_logger()

_MOST_WAITING = 100_000
_AT_ONCE = 32
_RETRY_S = 2.0


class Publisher(Protocol):
    """Publishes to the broker."""

    async def publish(self, topic: str, payload: bytes) -> None:
        """Return when the broker has it. Raises PublishDenied and BrokerUnavailable."""
        ...


def notify_topic(uuid: str) -> str:
    """Return where a device hears of new targets."""
    return f"iot/device/{uuid}/state/notify"


class TargetAnnouncer:
    """An `Announcer` of control/states."""

    def __init__(self, publisher: Publisher, *, most_waiting: int = _MOST_WAITING) -> None:
        self._publisher, self._most_waiting = publisher, most_waiting
        self._waiting: OrderedDict[str, bytes] = OrderedDict()
        self._work = asyncio.Event()
        self._stopping = False

    async def announce(self, uuid: str, version: int, etag: str) -> None:
        """Note that a device is to be told; one that waits already is told the newest only."""
        self._waiting.pop(uuid, None)
        self._waiting[uuid] = json.dumps({"version": version, "etag": etag}).encode()
        if len(self._waiting) > self._most_waiting:
            self._waiting.popitem(last=False)
        self._work.set()

    @property
    def waiting(self) -> int:
        """How many devices are still to be told."""
        return len(self._waiting)

    async def run(self) -> None:
        """Publish until `stop` is called."""
        while not self._stopping:
            await self._work.wait()
            self._work.clear()
            while self._waiting and not self._stopping:
                await self._publish_some()

    def stop(self) -> None:
        """Publish no more."""
        self._stopping = True
        self._work.set()

    async def _publish_some(self) -> None:
        taken = [self._waiting.popitem(last=False) for _ in range(min(_AT_ONCE, len(self._waiting)))]
        outcomes = await asyncio.gather(*(self._publish(uuid, payload) for uuid, payload in taken))
        if not all(outcomes):
            await asyncio.sleep(_RETRY_S)

    async def _publish(self, uuid: str, payload: bytes) -> bool:
        """Return False when the broker is away; the announcement waits then, unless there is a newer one."""
        try:
            await self._publisher.publish(notify_topic(uuid), payload)
        except PublishDenied as exc:
            log.warning("target.not_announced", device_uuid=uuid, code=exc.code, reason=exc.message)
        except (IotisticError, OSError, TimeoutError) as exc:
            log.debug("target.announcement_postponed", device_uuid=uuid, reason=str(exc))
            if uuid not in self._waiting:
                self._waiting[uuid] = payload
                self._waiting.move_to_end(uuid, last=False)
            return False
        return True
