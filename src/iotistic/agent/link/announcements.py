"""What the cloud announces over MQTT, read and passed on to whom it concerns.

iot/device/<uuid>/state/notify          {version, etag}: there is a new target, so it is asked for at once
iot/device/<uuid>/agent/update          an update of the agent (retained: it comes with every connection)
iot/device/<uuid>/jobs/notify-next      a job waits
device/<uuid>/config/api-key-rotation   the device's key is to be renewed

Announcements may be lost or come twice; they hurry things up, and nothing hangs on them. When the connection
came back or went away, the target is asked for once within a minute, at this device's own moment.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

import structlog

from iotistic.agent.link.filters import Handler
from iotistic.agent.link.pacing import slot_s

log = structlog.get_logger()

_MOST_BYTES = 256 * 1024
_SPREAD_S = 60.0

Document = Mapping[str, Any]


class Listening(Protocol):
    """What is needed of a link."""

    def on(self, topic_filter: str, handler: Handler) -> None:
        """Let a handler hear messages."""
        ...

    def watch(self, watcher: Callable[[bool], None]) -> None:
        """Let `watcher` hear of connections that come and go."""
        ...


def _ignore(_document: Document) -> None:
    """Do nothing."""


def _no_etag() -> str:
    return ""


@dataclass(frozen=True)
class Concerned:
    """Whom announcements concern; each returns soon. `etag` is that of the target in force."""

    ask_for_target: Callable[[], None]
    etag: Callable[[], str] = _no_etag
    update: Callable[[Document], None] = _ignore
    job: Callable[[Document], None] = _ignore
    rotate_key: Callable[[Document], None] = _ignore
    reconnected: Callable[[], None] = lambda: None
    """There is a connection again: announcements may have been missed."""
    disconnected: Callable[[], None] = lambda: None
    """The connection is gone: what the broker had taken just before may be lost."""


class Announcements:
    """Of one device."""

    def __init__(
        self, link: Listening, uuid: str, concerned: Concerned, *, spread_s: float = _SPREAD_S
    ) -> None:
        self._concerned = concerned
        self._pause_s = slot_s(uuid, spread_s) if spread_s else 0.0
        self._changed = asyncio.Event()
        self._hear(link, f"iot/device/{uuid}/state/notify", self._new_target)
        self._hear(link, f"iot/device/{uuid}/agent/update", concerned.update)
        self._hear(link, f"iot/device/{uuid}/jobs/notify-next", concerned.job)
        self._hear(link, f"device/{uuid}/config/api-key-rotation", concerned.rotate_key)
        link.watch(self._noticed)

    async def run(self) -> None:
        """See to it that nothing is missed when connections come and go, until cancelled."""
        while True:
            await self._changed.wait()
            await asyncio.sleep(self._pause_s)
            self._changed.clear()
            self._concerned.ask_for_target()

    def _noticed(self, online: bool) -> None:
        self._changed.set()
        (self._concerned.reconnected if online else self._concerned.disconnected)()

    def _new_target(self, document: Document) -> None:
        etag = document.get("etag")
        if not etag or etag != self._concerned.etag():
            self._concerned.ask_for_target()

    def _hear(self, link: Listening, topic: str, tell: Callable[[Document], None]) -> None:
        def hear(_topic: str, payload: bytes) -> None:
            if not payload:
                return  # so a retained one is taken back, as the cloud does once an order was heard
            document = _read(payload)
            if document is None:
                log.warning("announcement.refused", topic=topic, size=len(payload))
            else:
                tell(document)

        link.on(topic, hear)


def _read(payload: bytes) -> Document | None:
    if len(payload) > _MOST_BYTES:
        return None
    try:
        document: object = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", document) if isinstance(document, dict) else None
