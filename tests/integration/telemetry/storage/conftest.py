"""A roller and a sink on the test's database."""

from datetime import datetime

import pytest
from storage_builders import BRUTE_FORCE, BatchSink, by_key, nearly

from iotistic.telemetry.storage.roller import Roller, roll_due
from iotistic.telemetry.storage.settings import RollupSettings


@pytest.fixture
def rollups(connection):
    """Returns (what is stored, what it should be) of a level, to compare with ==."""

    async def read(unit: str):
        stored = await connection.fetch(
            {"minute": "SELECT * FROM decoded_1m", "hour": "SELECT * FROM decoded_1h"}[unit]
        )
        right = await connection.fetch(BRUTE_FORCE, unit)
        return by_key(stored), nearly(by_key(right))

    return read


@pytest.fixture
def sink(connection):
    return BatchSink(connection)


@pytest.fixture
def roller(pool):
    return Roller(pool, RollupSettings(rollup_minutes_per_round=2, rollup_late_per_round=3))


@pytest.fixture
def roll(roller):
    async def rolled(now: datetime):
        return await roll_due(roller, now)

    return rolled
