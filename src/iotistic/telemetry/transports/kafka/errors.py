"""What goes wrong with Kafka, as kinds that say what a caller can do."""

from confluent_kafka import KafkaError, KafkaException

from iotistic.kernel.errors import Conflict, Denied, IotisticError, Unavailable

_DENIED = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError._AUTHENTICATION,  # noqa: SLF001  librdkafka's own codes have names like this
}


class KafkaUnavailable(Unavailable):
    """Kafka does not answer."""

    code = "kafka.unavailable"


class KafkaDenied(Denied):
    """Kafka does not let us in, or not at this topic."""

    code = "kafka.denied"


class TopicCompacted(Conflict):
    """The topic is compacted: it forgets all but the last record of a key, and with them readings."""

    code = "kafka.topic_compacted"


class TopicMissing(Conflict):
    """The topic does not exist and may not be created."""

    code = "kafka.topic_missing"


def kafka_error(error: KafkaError | KafkaException) -> IotisticError:
    """Return what librdkafka says as an error of ours."""
    found = error.args[0] if isinstance(error, KafkaException) else error
    if not isinstance(found, KafkaError):
        return KafkaUnavailable(str(found))
    if found.code() in _DENIED:
        return KafkaDenied(found.str(), hint="check KAFKA_SASL_* and the access rules of the cluster")
    return KafkaUnavailable(found.str())
