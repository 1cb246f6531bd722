"""Keeps a connection to the broker and fills the buffer, as long as there is room."""

import asyncio
import random

import structlog

from iotistic.kernel.errors import IotisticError
from iotistic.kernel.mqtt.bulk import BulkSubscriber
from iotistic.kernel.mqtt.errors import BrokerRefused, BrokerUnavailable
from iotistic.telemetry.transports.buffer import Buffer
from iotistic.telemetry.transports.observing import IngestMetrics

log = structlog.get_logger()

_RETRY_FIRST_S, _RETRY_MOST_S = 0.1, 5.0
_REFUSED_AGAIN_S = 10.0
_STEADY_AFTER_S = 5.0


class Receiver:
    """Receives into a buffer until cancelled.

    A connection that does not last (another client with our name, a subscription refused) is not tried
    again at once: the pause doubles until one has lasted.
    """

    def __init__(self, subscriber: BulkSubscriber, buffer: Buffer, metrics: IngestMetrics) -> None:
        self._subscriber, self._buffer, self._metrics = subscriber, buffer, metrics
        self._lost: IotisticError | None = BrokerUnavailable("not connected yet")
        self._was_connected = False

    @property
    def away(self) -> IotisticError | None:
        """Why nothing can be received at the moment; None once the broker has taken our subscriptions."""
        if self._lost is None and not self._subscriber.connected:
            return BrokerUnavailable("the broker has not answered the subscription yet")
        return self._lost

    async def receive(self) -> None:
        """Connect, receive, and connect again."""
        loop = asyncio.get_running_loop()
        pause_s = _RETRY_FIRST_S
        while True:
            began = loop.time()
            try:
                await self._receive_on_one_connection()
            except (BrokerUnavailable, BrokerRefused) as exc:
                self._note(exc)
            if loop.time() - began > _STEADY_AFTER_S and self._was_connected:
                pause_s = _RETRY_FIRST_S
            if isinstance(self._lost, BrokerRefused):
                pause_s = _REFUSED_AGAIN_S
            self._was_connected = False
            await asyncio.sleep(pause_s * random.uniform(0.5, 1))  # noqa: S311  jitter, not a secret
            pause_s = min(pause_s * 2, _RETRY_MOST_S)

    async def _receive_on_one_connection(self) -> None:
        resumed = await self._subscriber.connect()
        self._lost, self._was_connected = None, True
        self._metrics.connected.set(1)
        log.info("broker.connected", session_resumed=resumed)
        while True:
            await self._subscriber.pause(self._buffer.has_room)
            self._buffer.add(await self._subscriber.receive())
            self._metrics.waiting_bytes.set(self._buffer.waiting_bytes)

    def _note(self, loss: IotisticError) -> None:
        self._metrics.connected.set(0)
        if isinstance(loss, BrokerRefused):
            log.error("broker.refused", reason=loss.message)
        elif self._was_connected:
            self._metrics.outages.labels("broker").inc()
            log.warning("broker.lost", reason=loss.message)
        self._lost = loss
