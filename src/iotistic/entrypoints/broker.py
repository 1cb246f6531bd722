"""The broker as a process of its own, for installations in containers: Mosquitto as `up` runs it.

    python -m iotistic broker      runs until SIGTERM or SIGINT; ends when Mosquitto does

Its certificate comes from `prepare`; another one in its place is taken over by a restart of Mosquitto within
a minute. It starts once the certificate authority has put the first revocation list into the broker's
folder, which both share; later ones Mosquitto finds there at each handshake.
"""

import asyncio
import contextlib
import signal
from pathlib import Path

import structlog
from pydantic import Field

from iotistic.entrypoints import catalogue
from iotistic.entrypoints.prepare import PrepareSettings
from iotistic.kernel.engines import engine_folder
from iotistic.kernel.errors import Unavailable
from iotistic.kernel.home import HomeSettings
from iotistic.kernel.logging import LogSettings, configure_logging
from iotistic.kernel.mosquitto.config import AccountListener, BrokerFiles
from iotistic.kernel.mosquitto.server import ENGINE, BrokerTls, MosquittoServer
from iotistic.kernel.mosquitto.settings import BrokerLogSettings
from iotistic.kernel.process import service_account
from iotistic.kernel.settings import load_settings
from iotistic.kernel.web.app import create_app
from iotistic.kernel.web.metrics import MetricsSettings
from iotistic.kernel.web.server import serve

log = structlog.get_logger()

_LOOK_EVERY_S = 0.2
_CERTIFICATE_LOOK_EVERY_S = 60.0
_WISH_LOOK_EVERY_S = 1.0


class BrokerGone(Unavailable):
    """Mosquitto does not run."""

    code = "broker.gone"


class BrokerSettings(HomeSettings, MetricsSettings, LogSettings, BrokerLogSettings):
    """Where the broker listens."""

    mqtt_host: str = "127.0.0.1"
    """Address of the listener for devices (TLS with client certificates)."""
    mqtt_port: int = Field(default=8883, ge=1, le=65535)
    """Port of the listener for devices."""
    mqtt_account_port: int | None = Field(default=None, ge=1, le=65535)
    """Port of a third listener, at MQTT_HOST: TLS, and a name with a password instead of a certificate, for MQTT
    users and for agents without a certificate; unset: there is none."""
    mqtt_service_listen: str = "127.0.0.1"
    """Address of the listener for our services. It has a password and no TLS: open it to a network of our own
    processes only."""
    mqtt_service_port: int = Field(default=1883, ge=1, le=65535)
    """Port of the listener for our services."""
    mqtt_service_password_file: Path | None = None
    """File with the password of our services; made in the home when not given."""
    identity_folder: Path = PrepareSettings.model_fields["identity_folder"].default
    """Folder with ca.crt, broker.crt and broker.key."""


def main() -> None:
    """Run until SIGTERM or SIGINT, or until Mosquitto ends."""
    settings = load_settings(BrokerSettings)
    configure_logging(settings, process="broker")
    asyncio.run(run(settings))


async def run(settings: BrokerSettings) -> None:
    """Run Mosquitto, with health and metrics beside it. Raises BrokerGone when it ends by itself."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    settings.home.create()
    server = _server(settings)
    app = create_app(
        title="Iotistic broker",
        version=catalogue.version(),
        description="Health of Mosquitto and figures of its log.",
        checks={"mosquitto": lambda: _ask(server)},
        metrics_access=settings.metrics_access,
    )
    async with await serve(app, host=settings.metrics_host, port=settings.metrics_port) as web:
        log.info("broker.starting", host=settings.metrics_host, port=web.port)
        if not await _first_list(server.config.files.crl, stopping):
            return
        watching = [
            asyncio.create_task(_watch(server, settings.identity_folder)),
            asyncio.create_task(_listen(server)),
        ]
        ended = await _keep(server, stopping)
        for task in watching:
            task.cancel()
        await server.stop()
    if ended:
        raise BrokerGone("Mosquitto ended by itself", status=server.process.returncode)
    log.info("broker.stopped")


def _server(settings: BrokerSettings) -> MosquittoServer:
    home, identity = settings.home, settings.identity_folder
    files = BrokerFiles(engine_folder(home, ENGINE, service_account()))
    return MosquittoServer(
        home,
        tls=BrokerTls(
            ca=identity / "ca.crt",
            certificate=identity / "broker.crt",
            key=identity / "broker.key",
            crl=files.crl,
        ),
        device_host=settings.mqtt_host,
        device_port=settings.mqtt_port,
        service_host=settings.mqtt_service_listen,
        service_port=settings.mqtt_service_port,
        password_file=settings.mqtt_service_password_file,
        accounts=_account_listener(settings),
        debug_lines=settings.broker_debug_lines,
    )


def _account_listener(settings: BrokerSettings) -> AccountListener | None:
    if settings.mqtt_account_port is None:
        return None
    return AccountListener(host=settings.mqtt_host, port=settings.mqtt_account_port)


async def _first_list(crl: Path, stopping: asyncio.Event) -> bool:
    """Wait for the first revocation list; return False when told to stop meanwhile."""
    while not stopping.is_set():
        if await asyncio.to_thread(crl.exists):
            return True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), _LOOK_EVERY_S)
    return False


async def _watch(server: MosquittoServer, identity: Path) -> None:
    """Restart Mosquitto for another certificate; runs until cancelled."""
    certificate = identity / "broker.crt"
    known = await asyncio.to_thread(certificate.read_bytes)
    while True:
        await asyncio.sleep(_CERTIFICATE_LOOK_EVERY_S)
        with contextlib.suppress(OSError):
            found = await asyncio.to_thread(certificate.read_bytes)
            if found != known:
                server.ask_restart("the broker has another certificate")
                known = found


async def _listen(server: MosquittoServer) -> None:
    """Restart Mosquitto when another container asks for it, which cannot signal it; runs until cancelled."""
    while True:
        await asyncio.sleep(_WISH_LOOK_EVERY_S)
        if server.restart_wished:
            server.ask_restart("the broker's accounts have changed")


async def _keep(server: MosquittoServer, stopping: asyncio.Event) -> bool:
    """Run Mosquitto, again when a restart was asked for; return True when it ended otherwise."""
    while True:
        await server.start()
        log.info("broker.started", port=server.endpoints.device_port)
        ended = await _until_either(server, stopping)
        if stopping.is_set() or not server.restart_asked:
            return ended


async def _until_either(server: MosquittoServer, stopping: asyncio.Event) -> bool:
    """Return True when Mosquitto ended, False when we are to stop."""
    ended = asyncio.create_task(server.process.wait())
    told = asyncio.create_task(stopping.wait())
    await asyncio.wait((ended, told), return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    return ended.done()


async def _ask(server: MosquittoServer) -> None:
    if server.process.returncode is not None:
        raise BrokerGone
