"""The control process: `python -m iotistic control`, the background work of the control plane.

Rollouts, jobs, alerts and their messages, presence, the audit trail's seals, what agents publish, accounts of the
broker. It may be killed at any point, run twice, and start before database and broker do.
"""

import asyncio
import contextlib
import os
import signal
from socket import gethostname

import asyncpg
import structlog
from pydantic import Field, SecretStr

from iotistic.entrypoints import catalogue
from iotistic.entrypoints.control.bridges import ServicePublisher
from iotistic.entrypoints.control.loops import Loop, working_loops
from iotistic.entrypoints.control.rooms import ControlPlane, Ground
from iotistic.entrypoints.control.settings import ControlSettings, made_secrets
from iotistic.kernel.home import HomeSettings
from iotistic.kernel.logging import LogSettings, configure_logging
from iotistic.kernel.mosquitto.control import BrokerControl, WatchedBroker
from iotistic.kernel.mosquitto.settings import BrokerFolderSettings
from iotistic.kernel.mqtt.client import MqttClient
from iotistic.kernel.mqtt.settings import MqttSettings
from iotistic.kernel.postgres.pool import DatabaseSettings, create_pool, database_errors
from iotistic.kernel.settings import load_settings
from iotistic.kernel.web.app import create_app
from iotistic.kernel.web.metrics import MetricsSettings
from iotistic.kernel.web.server import serve

log = structlog.get_logger()

# Less than the supervisor waits before it kills.
_DRAIN_WITHIN_S = 10.0


class ControlProcessSettings(
    HomeSettings,
    LogSettings,
    DatabaseSettings,
    MqttSettings,
    BrokerFolderSettings,
    MetricsSettings,
    ControlSettings,
):
    """Settings of the control process."""

    api_token: SecretStr = Field(min_length=16)
    """The operator's token, which opens the certificate authority; usually given as API_TOKEN_FILE."""


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    settings = load_settings(ControlProcessSettings, **made_secrets(load_settings(HomeSettings).home))
    configure_logging(settings, process="control")
    asyncio.run(run(settings))


async def run(settings: ControlProcessSettings) -> None:
    """Work, serve health and metrics, drain on the first signal. Raises AddressTaken."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with contextlib.AsyncExitStack() as stack:
        # No connection is opened here, so a database that is away keeps nobody from starting.
        pool = await create_pool(settings, application_name="iotistic-control", min_size=0)
        stack.callback(pool.terminate)
        client = MqttClient(settings, client_id=f"iotistic-control-{gethostname()}-{os.getpid()}")
        stack.push_async_callback(_cancel, asyncio.create_task(client.run(_quiet())))
        control = ControlPlane.of(
            Ground(
                pool=pool,
                home=settings.home,
                settings=settings,
                publisher=ServicePublisher(client),
                operator=settings.api_token,
            )
        )
        stack.callback(control.close)
        app = create_app(
            title="Iotistic control",
            version=catalogue.version(),
            description="Health and figures of the control plane's background work.",
            checks={"database": lambda: _ask(pool)},
            metrics_access=settings.metrics_access,
        )
        server = await serve(app, host=settings.metrics_host, port=settings.metrics_port)
        stack.push_async_callback(server.stop)
        log.info("control.started", host=settings.metrics_host, port=server.port)
        broker = WatchedBroker if settings.broker_watches_folder else BrokerControl
        await run_loops(working_loops(control, settings, broker=broker), stopping)
    log.info("control.stopped")


async def run_loops(loops: tuple[Loop, ...], stopping: asyncio.Event) -> None:
    """Run parts until it is time to stop, or one of them ends, which none does by itself."""
    working = [asyncio.create_task(loop.run(), name=type(loop).__name__) for loop in loops]
    told = asyncio.create_task(stopping.wait(), name="signal")
    await asyncio.wait((*working, told), return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    for loop in loops:
        loop.stop()
    done, late = await asyncio.wait(working, timeout=_DRAIN_WITHIN_S)
    for task in late:
        log.warning("control.gave_up", part=task.get_name(), within_s=_DRAIN_WITHIN_S)
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    for task in done:
        task.result()


def _quiet() -> asyncio.Future[None]:
    """Return a first result that nobody waits for; a refusal is logged, and tried again."""
    first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    first.add_done_callback(_tell_refusal)
    return first


def _tell_refusal(first: asyncio.Future[None]) -> None:
    if not first.cancelled() and (refusal := first.exception()) is not None:
        log.error("broker.refused_service", reason=str(refusal))


async def _ask(pool: asyncpg.Pool) -> None:
    with database_errors():
        await pool.fetchval("SELECT 1")


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
