"""A process of its own that watches stored readings, to be killed by tests. Environment: DATABASE_*, ANOMALY_*."""

import asyncio
import sys

from iotistic.control.anomalies.settings import AnomalyDeskSettings
from iotistic.control.anomalies.stream import AnomalyStream
from iotistic.kernel.postgres.pool import DatabaseSettings, create_pool


async def main() -> None:
    pool = await create_pool(DatabaseSettings(database_pool_size=2), application_name="anomalies under test")
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await AnomalyStream(pool, AnomalyDeskSettings()).run()


if __name__ == "__main__":
    asyncio.run(main())
