"""A real Redis of the test's own."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmarks.redis_server import RedisServer


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """Return a running, empty Redis."""
    with tempfile.TemporaryDirectory(prefix="iotistic-redis-") as folder:
        server = RedisServer(Path(folder))
        server.start()
        yield server
        server.stop()
