"""A record that is too large for its topic, and has no other place to go to, is waited for."""

import pytest

from iotistic.telemetry.transports.kafka.errors import KafkaUnavailable
from iotistic.telemetry.transports.kafka.producer import BatchProducer, Outgoing

BATCH = Outgoing("dead-letters", [b"a", b"b"], [b"1", b"2"])


class Topic(BatchProducer):
    """A producer whose topic refuses some records for their size."""

    def __init__(self, *refused):
        super().__init__({})
        self._refused = list(refused)

    async def send(self, batch):
        return self._refused


async def test_a_refused_record_keeps_its_batch_from_counting_as_durable():
    with pytest.raises(KafkaUnavailable, match=r"1 record\(s\) are too large for the topic dead-letters"):
        await Topic(1).send_all(BATCH)


async def test_a_batch_without_refused_records_counts_as_durable():
    assert await Topic().send_all(BATCH) is None
