"""A real Kafka (KRaft), `kafka`, that serves the whole session.

Who kills the session's broker starts it again; its data outlive it.

Topics are cheap, clusters are not: tests on the session's broker use names of their own (`topics`).
"""

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmarks.kafka_cluster import KafkaCluster

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def kafka() -> Iterator[KafkaCluster]:
    """One broker for all tests."""
    with tempfile.TemporaryDirectory(prefix="iotistic-kafka-", ignore_cleanup_errors=True) as folder:
        cluster = KafkaCluster(Path(folder))
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()


@pytest.fixture
def suffix() -> str:
    """What tells one test's topics and groups from another's."""
    return f"-{next(_numbers)}"
