"""The connector process: from the broker to Kafka's raw topic.

    python -m iotistic connector --worker 0      runs until SIGTERM or SIGINT, then drains

Connectors share the stream through a shared subscription; each keeps a session of its own at the broker,
which holds what arrives while it is away.
"""

import functools

from pydantic import Field

from iotistic.entrypoints.pipeline import StageSettings, complain, serve_stage, start
from iotistic.kernel.mqtt.bulk import BulkSubscriber
from iotistic.kernel.mqtt.bulk_login import BulkOptions
from iotistic.kernel.mqtt.settings import MqttSettings
from iotistic.telemetry.transports.buffer import BufferLimits
from iotistic.telemetry.transports.kafka.connector import Connector, ConnectorOptions
from iotistic.telemetry.transports.kafka.observing import StageMetrics
from iotistic.telemetry.transports.kafka.producer import BatchProducer
from iotistic.telemetry.transports.kafka.settings import KafkaSettings
from iotistic.telemetry.transports.kafka.topics import ensure_topics
from iotistic.telemetry.transports.observing import IngestMetrics
from iotistic.telemetry.transports.settings import ReceiveSettings

_SHARE_GROUP = "connector"


class ConnectorSettings(KafkaSettings, ReceiveSettings, MqttSettings, StageSettings):
    """Settings of a connector."""

    ingest_linger_ms: float = Field(default=50.0, ge=0, le=1000)
    """Milliseconds to let messages gather at 100,000 a second, less in proportion when there are fewer.
    Longer is cheaper, shorter is quicker; Kafka's part of the cost is spared by larger batches."""
    connector_workers: int = Field(default=1, ge=1, le=64)
    """Connectors that share the stream. One alone subscribes for itself: Mosquitto 2.0 does not save shared
    subscriptions, so after its crash it drops what is published before the connectors are back."""


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    start("connector", ConnectorSettings, run)


async def run(settings: ConnectorSettings, name: str) -> None:
    """Wire one connector and run it."""
    producer = BatchProducer(settings.kafka_client | settings.kafka_producer)
    topics = (settings.lane.named(settings.kafka_raw_topic), settings.kafka_dead_letter_topic)
    connector = Connector(
        BulkSubscriber(_subscription(settings, name)),
        producer,
        functools.partial(ensure_topics, settings, topics),
        StageMetrics(),
        IngestMetrics(),
        ConnectorOptions(
            *topics, BufferLimits(settings.ingest_buffer_mib << 20, settings.ingest_batch_messages)
        ),
    )
    checks = {
        "broker": lambda: complain(connector.broker_away),
        "kafka": lambda: _ask(connector, producer),
    }
    await serve_stage(settings, name, checks=checks, work=connector.run)


async def _ask(connector: Connector, producer: BatchProducer) -> None:
    await complain(connector.kafka_away)
    await producer.check()


def _subscription(settings: ConnectorSettings, name: str) -> BulkOptions:
    host, port = settings.mqtt_address
    wanted, ended = settings.lane.subscriptions(_SHARE_GROUP, alone=settings.connector_workers == 1)
    return BulkOptions(
        host=host,
        port=port,
        client_id=name,
        filters=wanted,
        ended_filters=ended,
        topic_prefix=settings.lane.prefix,
        username=settings.mqtt_service_username,
        password=settings.mqtt_service_password.get_secret_value(),
        tls=settings.mqtt_tls(),
        receive_maximum=settings.ingest_receive_maximum,
        session_expiry_s=settings.ingest_session_days * 86_400,
        linger_s=settings.ingest_linger_ms / 1000,
    )
