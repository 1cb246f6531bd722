"""A real Kafka (KRaft): `kafka` serves the whole session, `three_kafkas` one test.

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
    yield from _running(nodes=1)


@pytest.fixture
def three_kafkas() -> Iterator[KafkaCluster]:
    """Three brokers for one test."""
    yield from _running(nodes=3)


def _running(*, nodes: int) -> Iterator[KafkaCluster]:
    with tempfile.TemporaryDirectory(prefix="iotistic-kafka-", ignore_cleanup_errors=True) as folder:
        cluster = KafkaCluster(Path(folder), nodes=nodes)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()


@pytest.fixture
def suffix() -> str:
    """What tells one test's topics and groups from another's."""
    return f"-{next(_numbers)}"
