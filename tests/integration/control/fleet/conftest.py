"""A fleet over real HTTP and a real database: `fleet` (see fleet_builders.Fleet)."""

import pytest
from fleet_builders import build, served


@pytest.fixture
async def fleet(pool):
    async with served(build(pool, presence_write_s=0)) as started:
        yield started
