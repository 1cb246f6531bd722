"""`hall`: see alert_builders.Hall."""

import pytest
from alert_builders import Hall


@pytest.fixture
async def hall(pool, database):
    made = Hall(pool, database)
    yield made
    await made.sink.close()
