"""A fleet over real HTTP and a real database: `fleet` (see fleet_builders.Fleet)."""

import pytest
from described_answers import answers_as_described
from fleet_builders import PATIENT, build, served


@pytest.fixture
async def fleet(pool):
    async with served(build(pool, **PATIENT)) as started:
        started.client.event_hooks = {"response": [answers_as_described(started.app)]}
        await started.presence.sweep()  # nobody has listened since the database was made
        yield started
