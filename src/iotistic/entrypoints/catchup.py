"""The catch-up lane's part of the maintenance process: its broker client and the desk where devices ask."""

import asyncio
import os
from socket import gethostname

from iotistic.contracts.backlog import ASK_FILTER
from iotistic.kernel.mqtt.client import MqttClient
from iotistic.kernel.mqtt.settings import MqttSettings
from iotistic.kernel.postgres.dsn import Dsn
from iotistic.telemetry.catchup.desk import Desk
from iotistic.telemetry.catchup.settings import CatchupSettings

_PUBACK_WITHIN_S = 5.0


class CatchupPartSettings(CatchupSettings, MqttSettings):
    """What the catch-up lane needs of its process."""


class CatchupPart:
    """Answers devices that hold a backlog."""

    def __init__(self, dsn: Dsn, settings: CatchupPartSettings) -> None:
        self._client = MqttClient(settings, client_id=f"iotistic-catchup-{gethostname()}-{os.getpid()}")
        self._expiry_s = int(settings.catchup_lease_s)
        self._desk = Desk(dsn, self, settings)

    async def run(self) -> None:
        """Answer until `stop` is called."""
        await self._client.subscribe(ASK_FILTER)
        # A refusal is the ledger's to report: it connects in the same process as the same user.
        first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        first.add_done_callback(lambda done: done.cancelled() or done.exception())
        beside = [asyncio.create_task(self._client.run(first)), asyncio.create_task(self._hear())]
        try:
            await self._desk.run()
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)

    def stop(self) -> None:
        """Grant nothing more."""
        self._desk.stop()

    async def publish(self, topic: str, payload: bytes) -> None:
        """Return after the PUBACK; the broker keeps it for an absent device no longer than it is of use.

        Raises PublishDenied and BrokerUnavailable.
        """
        await self._client.publish(topic, payload, within_s=_PUBACK_WITHIN_S, expiry_s=self._expiry_s)

    async def _hear(self) -> None:
        async for message in self._client.messages():
            self._desk.hear(str(message.topic), message.payload)
