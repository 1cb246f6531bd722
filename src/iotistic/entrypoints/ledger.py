"""The delivery ledger's part of the maintenance process: its broker client, its key, its loops."""

import asyncio
import os
from pathlib import Path
from socket import gethostname

import asyncpg
import structlog

from iotistic.contracts.backlog import ASK_FILTER
from iotistic.contracts.delivery import REPLY_FILTERS
from iotistic.kernel.home import HomeSettings
from iotistic.kernel.mqtt.client import MqttClient
from iotistic.kernel.mqtt.settings import MqttSettings
from iotistic.telemetry.ledger import broker
from iotistic.telemetry.ledger.asking import Correspondence
from iotistic.telemetry.ledger.courier import Courier
from iotistic.telemetry.ledger.hearsay import Hearsay
from iotistic.telemetry.ledger.keeper import LedgerKeeper, Offices
from iotistic.telemetry.ledger.looks import Stages
from iotistic.telemetry.ledger.receipts import Notary, SigningKey
from iotistic.telemetry.ledger.repository import LedgerRepository
from iotistic.telemetry.ledger.settings import LedgerSettings

log = structlog.get_logger()

_PUBACK_WITHIN_S = 10.0


class LedgerPartSettings(LedgerSettings, MqttSettings, HomeSettings):
    """What the ledger needs of its process."""

    ledger_signing_key: Path | None = None
    """File with the private key (PEM, Ed25519) that receipts are signed with, and with its public key beside
    it, ending in `.pub`; both are made when they are missing. Unset means `secrets/ledger.key` in the home."""

    @property
    def signing_key(self) -> Path:
        """Where the key is kept."""
        return self.ledger_signing_key or self.home.ledger_key


class LedgerPart:
    """The ledger, from the broker to the database."""

    def __init__(self, pool: asyncpg.Pool, settings: LedgerPartSettings) -> None:
        self._client = MqttClient(settings, client_id=f"iotistic-ledger-{gethostname()}-{os.getpid()}")
        repository = LedgerRepository(pool)
        self._correspondence = Correspondence(repository, self, settings)
        self._hearsay = Hearsay(repository, Stages(pool))
        notary = Notary(repository, lambda: SigningKey.kept_in(settings.signing_key))
        offices = Offices(self._correspondence, notary, Courier(repository, self), self._hearsay)
        self._keeper = LedgerKeeper(repository, offices, settings)

    async def run(self) -> None:
        """Keep the ledger until `stop` is called."""
        for topic_filter in (*REPLY_FILTERS, ASK_FILTER, *broker.FILTERS):
            await self._client.subscribe(topic_filter)
        first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        first.add_done_callback(_tell_refusal)
        beside = [asyncio.create_task(self._client.run(first)), asyncio.create_task(self._hear())]
        try:
            await self._keeper.run()
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)

    def stop(self) -> None:
        """Take up no further work."""
        self._keeper.stop()

    async def publish(self, topic: str, payload: bytes) -> None:
        """Return after the PUBACK. Raises PublishDenied and BrokerUnavailable."""
        await self._client.publish(topic, payload, within_s=_PUBACK_WITHIN_S)

    async def _hear(self) -> None:
        async for message in self._client.messages():
            topic = str(message.topic)
            if not self._hearsay.hear(topic, message.payload, retained=message.retain):
                await self._correspondence.hear_carefully(topic, message.payload)


def _tell_refusal(first: asyncio.Future[None]) -> None:
    if not first.cancelled() and (refusal := first.exception()) is not None:
        log.error("broker.refused_service", reason=str(refusal))
