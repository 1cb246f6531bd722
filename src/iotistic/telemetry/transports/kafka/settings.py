"""Settings of the pipeline over Kafka, with the names that other software of this pipeline uses."""

from enum import StrEnum
from pathlib import Path

from pydantic import Field, SecretStr

from iotistic.kernel.settings import Settings

Config = dict[str, str | int | float | bool]
"""Properties of librdkafka."""

RECORD_BYTES = 8 << 20
"""Largest record: a message of 1 MiB may take six times that as a JSON text."""


class Compression(StrEnum):
    """How producers compress."""

    GZIP = "gzip"
    LZ4 = "lz4"
    ZSTD = "zstd"
    SNAPPY = "snappy"
    NONE = "none"


class SecurityProtocol(StrEnum):
    """How brokers are spoken to."""

    PLAINTEXT = "PLAINTEXT"
    SSL = "SSL"
    SASL_PLAINTEXT = "SASL_PLAINTEXT"
    SASL_SSL = "SASL_SSL"


class KafkaSettings(Settings):
    """Where Kafka is and what the topics are."""

    kafka_bootstrap_servers: str = Field(min_length=1)
    """Brokers to begin with, `host:port,host:port`. Setting it chooses the pipeline over Kafka."""
    kafka_raw_topic: str = "raw-iot-data"
    """Topic of messages as devices sent them."""
    kafka_processed_topic: str = "processed-iot-data"
    """Topic of readings."""
    kafka_dead_letter_topic: str = "dead-letter-iot-data"
    """Topic of messages that gave no reading, each with its reason."""
    kafka_partitions: int = Field(default=6, ge=1, le=10_000)
    """Partitions of topics that are created here: the most processors, or sinks, that can share the work.
    Topics that exist keep theirs; dead letters get one. More of them make smaller
    batches: from 6 to 12 Kafka's CPU for a record grew by half on one machine."""
    kafka_replication_factor: int = Field(default=1, ge=1, le=16)
    """Copies of topics that are created here. With 3, an acknowledged record is on 2 brokers at least."""
    kafka_retention_hours: int = Field(default=168, ge=1)
    """Hours that topics created here keep records: the longest that a sink may be away."""
    kafka_compression: Compression = Compression.GZIP
    """Compression of records. On one machine lz4 takes half of gzip's CPU and half more bytes."""
    kafka_delivery_timeout_s: float = Field(default=30.0, ge=1, le=900)
    """Seconds after which an unanswered batch is sent again."""
    kafka_security_protocol: SecurityProtocol = SecurityProtocol.PLAINTEXT
    """PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL."""
    kafka_ca_file: Path | None = None
    """CA certificates (PEM) that the brokers' are checked against; the system's own when not set."""
    kafka_sasl_mechanism: str = "SCRAM-SHA-512"
    """Mechanism of SASL."""
    kafka_sasl_username: str = ""
    """User name of SASL."""
    kafka_sasl_password: SecretStr = SecretStr("")
    """Password of SASL; usually given as a file."""

    @property
    def kafka_client(self) -> Config:
        """What every client of these brokers is configured with."""
        config: Config = {
            "bootstrap.servers": self.kafka_bootstrap_servers,
            "security.protocol": self.kafka_security_protocol.value,
            "socket.keepalive.enable": True,
            "reconnect.backoff.max.ms": 2_000,
            "topic.metadata.refresh.interval.ms": 60_000,
        }
        if self.kafka_ca_file is not None:
            config["ssl.ca.location"] = str(self.kafka_ca_file)
        if self.kafka_security_protocol.value.startswith("SASL"):
            config["sasl.mechanism"] = self.kafka_sasl_mechanism
            config["sasl.username"] = self.kafka_sasl_username
            config["sasl.password"] = self.kafka_sasl_password.get_secret_value()
        return config

    @property
    def kafka_producer(self) -> Config:
        """What producers are configured with besides: acknowledged by all replicas, each record once."""
        config: Config = {
            "acks": "all",
            "enable.idempotence": True,
            "linger.ms": 10,
            "compression.type": self.kafka_compression.value,
            "delivery.timeout.ms": int(self.kafka_delivery_timeout_s * 1000),
            "message.max.bytes": RECORD_BYTES,
            "queue.buffering.max.messages": 1_000_000,
            "queue.buffering.max.kbytes": 1 << 18,
        }
        if self.kafka_compression is Compression.GZIP:
            # Measured on readings: level 6 takes 4.2 microseconds a record, level 1 1.5, for a tenth more bytes.
            config["compression.level"] = 1
        return config


class BatchSettings(KafkaSettings):
    """How much a consumer takes at once. A batch is made when either is reached."""

    batch_size: int = Field(default=25_000, ge=1, le=100_000)
    """Records in one batch: of the processor's confirmation, of the sink's transaction."""
    kafka_session_timeout_s: float = Field(default=10.0, ge=0.5, le=300)
    """Seconds of silence after which a process counts as dead and others take over its partitions."""


class ProcessorBatchSettings(BatchSettings):
    """How the processor takes records."""

    processing_interval: float = Field(default=0.05, gt=0, le=60)
    """Seconds that a batch of raw records gathers at most."""
    kafka_processor_group: str = "stream-processor-group"
    """Consumer group of the processors."""


class SinkBatchSettings(BatchSettings):
    """How the sink takes records."""

    flush_interval: float = Field(default=0.1, gt=0, le=60)
    """Seconds that a batch of readings gathers at most."""
    kafka_sink_group: str = "timescale-sink-group"
    """Consumer group of the sinks."""
