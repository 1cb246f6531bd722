"""The maintenance process: keeps the storage and the ledger, and grants backlogs.

Partitions are made ahead, rollups kept up, what is too old is dropped. It may be killed at any point, run
twice, and start before the database does.
"""

import asyncio
import signal
from typing import Protocol

import asyncpg
import structlog

from iotistic.entrypoints import catalogue
from iotistic.entrypoints.catchup import CatchupPart, CatchupPartSettings
from iotistic.entrypoints.ledger import LedgerPart, LedgerPartSettings
from iotistic.kernel.logging import LogSettings, configure_logging
from iotistic.kernel.postgres.pool import DatabaseSettings, create_pool, database_errors
from iotistic.kernel.settings import load_settings
from iotistic.kernel.web.app import create_app
from iotistic.kernel.web.metrics import MetricsSettings
from iotistic.kernel.web.server import serve
from iotistic.telemetry.storage.keeper import Keeper
from iotistic.telemetry.storage.settings import RetentionSettings, RollupSettings

log = structlog.get_logger()

# Less than the supervisor waits before it kills: a transaction that takes longer is given up, which
# leaves the database as it was.
_DRAIN_WITHIN_S = 10.0


class MaintenanceSettings(
    DatabaseSettings,
    RollupSettings,
    RetentionSettings,
    LedgerPartSettings,
    CatchupPartSettings,
    MetricsSettings,
    LogSettings,
):
    """Settings of the maintenance process."""


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    settings = load_settings(MaintenanceSettings)
    configure_logging(settings, process="maintenance")
    asyncio.run(run(settings))


async def run(settings: MaintenanceSettings) -> None:
    """Keep the storage, serve health and metrics, drain on the first signal. Raises AddressTaken."""
    # No connection is opened here, so a database that is away keeps nobody from starting.
    pool = await create_pool(settings, application_name="iotistic-maintenance", min_size=0)
    keeper = Keeper(pool, settings, settings)
    parts = (keeper, LedgerPart(pool, settings), CatchupPart(settings.dsn, settings))
    app = create_app(
        title="Iotistic maintenance",
        version=catalogue.version(),
        description="Health and figures of storage maintenance.",
        checks={"database": lambda: _ask(pool), "maintenance": keeper.check},
        metrics_access=settings.metrics_access,
    )
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    try:
        async with await serve(app, host=settings.metrics_host, port=settings.metrics_port) as server:
            log.info("maintenance.started", host=settings.metrics_host, port=server.port)
            await _until(stopping, *parts)
    finally:
        pool.terminate()
    log.info("maintenance.stopped")


class Part(Protocol):
    """One of the things that this process does."""

    async def run(self) -> None:
        """Do it until `stop` is called."""
        ...

    def stop(self) -> None:
        """Take up no further work."""
        ...


async def _until(stopping: asyncio.Event, *parts: Part) -> None:
    working = [asyncio.create_task(part.run(), name=type(part).__name__) for part in parts]
    told = asyncio.create_task(stopping.wait(), name="signal")
    await asyncio.wait((*working, told), return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    for part in parts:
        part.stop()
    try:
        await asyncio.wait_for(asyncio.gather(*working), _DRAIN_WITHIN_S)
    except TimeoutError:
        log.warning("maintenance.gave_up", within_s=_DRAIN_WITHIN_S)


async def _ask(pool: asyncpg.Pool) -> None:
    with database_errors():
        await pool.fetchval("SELECT 1")
