"""The pipeline's topics: created with what is stated, refused when they are compacted.

A compacted topic keeps the last record of each key. Readings are history: a sink that was away for an
hour would find one reading of each series instead of an hour's.
"""

import asyncio
from collections.abc import Sequence

import structlog
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from iotistic.telemetry.transports.kafka.errors import TopicCompacted, TopicMissing, kafka_error
from iotistic.telemetry.transports.kafka.logger import KAFKA_LOGGER
from iotistic.telemetry.transports.kafka.settings import RECORD_BYTES, KafkaSettings

log = structlog.get_logger()

_WITHIN_S = 5.0
_MANY_COPIES = 3


async def ensure_topics(settings: KafkaSettings, names: Sequence[str]) -> None:
    """Create the topics that are missing, and look at the others.

    Raises TopicCompacted naming the topic, TopicMissing, KafkaDenied, and KafkaUnavailable (try again).
    """
    await asyncio.to_thread(_ensure, settings, names)


def _ensure(settings: KafkaSettings, names: Sequence[str]) -> None:
    # The group of librdkafka's threads ends with the client, so it is kept until the answers are there.
    admin = AdminClient(settings.kafka_client, logger=KAFKA_LOGGER)
    try:
        known = admin.list_topics(timeout=_WITHIN_S).topics
        missing = [name for name in names if name not in known or known[name].error is not None]
        if missing:
            _create(admin, settings, missing)
        _refuse_compacted(admin, names)
    except KafkaException as exc:
        raise kafka_error(exc) from exc


def _create(admin: AdminClient, settings: KafkaSettings, names: Sequence[str]) -> None:
    wanted = [
        NewTopic(
            name,
            num_partitions=_partitions(settings, name),
            replication_factor=settings.kafka_replication_factor,
            config=topic_config(settings),
        )
        for name in names
    ]
    for name, made in admin.create_topics(wanted, operation_timeout=_WITHIN_S).items():
        try:
            made.result(_WITHIN_S)
        except KafkaException as exc:
            _forgive(name, exc)
        else:
            log.info("topic.created", topic=name, partitions=_partitions(settings, name))


def _partitions(settings: KafkaSettings, name: str) -> int:
    # Members of a group get equal numbers of partitions, whatever is in them: with as many of dead letters
    # as of readings, one of two sinks could end up with nothing but the former.
    return 1 if name == settings.kafka_dead_letter_topic else settings.kafka_partitions


def _forgive(name: str, exc: KafkaException) -> None:
    """Pass over that another process was quicker; raise everything else."""
    error = exc.args[0]
    if isinstance(error, str):
        raise exc
    if error.code() == KafkaError.TOPIC_ALREADY_EXISTS:
        return
    if error.code() in (KafkaError.INVALID_REPLICATION_FACTOR, KafkaError.POLICY_VIOLATION):
        raise TopicMissing(
            f"the topic {name} does not exist, and Kafka refuses to create it: {error.str()}",
            hint="create it yourself (cleanup.policy=delete), or set KAFKA_REPLICATION_FACTOR",
            topic=name,
        ) from exc
    raise exc


def topic_config(settings: KafkaSettings) -> dict[str, str]:
    """Return the configuration of a topic that is created here."""
    copies = settings.kafka_replication_factor
    return {
        "cleanup.policy": "delete",
        "retention.ms": str(settings.kafka_retention_hours * 3_600_000),
        "max.message.bytes": str(RECORD_BYTES),
        "min.insync.replicas": str(2 if copies >= _MANY_COPIES else 1),
        # A replica that lags behind must not become the leader: it lacks records that were acknowledged.
        "unclean.leader.election.enable": "false",
    }


def _refuse_compacted(admin: AdminClient, names: Sequence[str]) -> None:
    asked = admin.describe_configs([ConfigResource(ResourceType.TOPIC, name) for name in names])
    for resource, answer in asked.items():
        policy = answer.result(_WITHIN_S)["cleanup.policy"].value or ""
        if "compact" in policy:
            raise TopicCompacted(
                f"the topic {resource.name} is compacted: it would keep only the last reading of each series",
                hint=f"kafka-configs.sh --alter --topic {resource.name} --add-config cleanup.policy=delete,"
                " or name another topic",
                topic=resource.name,
            )
