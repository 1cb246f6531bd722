"""Updates of agents over MQTT.

iot/device/{uuid}/agent/update    the order, retained, until the device says that it has heard    to the device
iot/device/{uuid}/agent/status    what the device says; or agent/{uuid}/status                    from the device

A retained order is heard by a device that was away. It is taken off the broker with the device's first word, so
that an agent that looks at neither id nor version does not begin anew whenever it connects.
"""

import json
import re
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

import asyncpg
import structlog

from iotistic.contracts.agent_updates import order_topic
from iotistic.control.agentupdates import rows
from iotistic.control.agentupdates.model import AgentUpdate, UpdateStatus
from iotistic.control.agentupdates.service import AgentUpdates
from iotistic.kernel.errors import IotisticError
from iotistic.kernel.postgres.pool import database_errors

log = structlog.get_logger()

FILTERS = ("iot/device/+/agent/status", "agent/+/status")
_UUID = r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
_STATUS = re.compile(rf"iot/device/{_UUID}/agent/status|agent/{_UUID}/status")
_MOST_BYTES = 64 * 1024
_AT_ONCE = 100
_LEASE = timedelta(seconds=30)


class Keeping(Protocol):
    """Publishes what the broker is to keep for those who come later."""

    async def keep(self, topic: str, payload: bytes) -> None:
        """Return once the broker has it; nothing takes what it keeps away. Raises IotisticError."""
        ...


class Incoming(Protocol):
    """A message as it came."""

    @property
    def topic(self) -> object:
        """Its topic; `str` gives the text."""
        ...

    @property
    def payload(self) -> object:
        """Bytes, where it has any."""
        ...


class Listening(Protocol):
    """A connection to a broker that stays."""

    async def subscribe(self, topic_filter: str, *, qos: int = 1) -> None:
        """Subscribe now and after each reconnect."""
        ...

    def messages(self) -> AsyncIterator[Incoming]:
        """Yield messages as they come."""
        ...


class OrderTeller:
    """Has the broker hold the orders that are to be heard, and none besides; several processes may."""

    def __init__(self, pool: asyncpg.Pool, publisher: Keeping, *, clock: Callable[[], datetime]) -> None:
        self._pool, self._publisher, self._clock = pool, publisher, clock

    async def tell(self) -> int:
        """Tell some; return how many were taken up. What the broker does not take is told half a minute later."""
        now = self._clock()
        with database_errors():
            claimed = await rows.claim_untold(self._pool, now, now + _LEASE, _AT_ONCE)
            for update in claimed:
                await self._tell(update)
        return len(claimed)

    async def _tell(self, update: AgentUpdate) -> None:
        is_held = update.status is UpdateStatus.PENDING
        payload = json.dumps(update.order().as_fields()).encode() if is_held else b""
        if not is_held and await rows.has_newer(self._pool, update):
            await rows.told(self._pool, update, is_held=False)  # the newer order has the topic
            return
        try:
            await self._publisher.keep(order_topic(str(update.device_uuid)), payload)
        except IotisticError as exc:
            log.warning("agent_update.not_told", device_uuid=str(update.device_uuid), code=exc.code)
            return
        await rows.told(self._pool, update, is_held=is_held)


class UpdateStatuses:
    """Hears what devices say of their updates."""

    def __init__(self, updates: AgentUpdates) -> None:
        self._updates = updates

    async def run(self, link: Listening, *, shared_as: str = "agent-updates") -> None:
        """Listen until cancelled."""
        for topic_filter in FILTERS:
            await link.subscribe(f"$share/{shared_as}/{topic_filter}")
        async for message in link.messages():
            payload = message.payload
            await self.hear(str(message.topic), payload if isinstance(payload, bytes) else b"")

    async def hear(self, topic: str, payload: bytes) -> None:
        """Take one message; what is no report is logged and dropped, and never ends the listening."""
        found = _STATUS.fullmatch(topic)
        if found is None:
            return
        try:
            await self._updates.heard(UUID(found[1] or found[2]), _read(payload))
        except IotisticError as exc:
            log.info("agent_update.report_refused", topic=topic, code=exc.code, reason=exc.message)
        except (asyncpg.PostgresError, TimeoutError) as exc:
            log.warning("agent_update.report_lost", topic=topic, code=type(exc).__name__, reason=str(exc))


def _read(payload: bytes) -> object:
    try:
        return json.loads(payload) if len(payload) <= _MOST_BYTES else None
    except (ValueError, RecursionError):
        return None
