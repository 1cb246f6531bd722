"""`site`: see anomaly_site.AnomalySite."""

import pytest
from anomaly_site import anomaly_site


@pytest.fixture
async def site(pool, database, tmp_path):
    async with anomaly_site(pool, database, tmp_path) as started:
        yield started
