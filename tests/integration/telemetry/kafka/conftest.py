"""A pipeline of a test's own over the session's Kafka."""

import time

import pytest
from pipeline_builders import Pipeline


@pytest.fixture
def now_us():
    return time.time_ns() // 1000


@pytest.fixture
def pipeline(tmp_path, own_broker, kafka, database, suffix):
    running = Pipeline(tmp_path, own_broker, kafka, database, suffix)
    yield running
    running.end()
