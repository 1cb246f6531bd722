"""The certificate authority as a process: `python -m iotistic pki`.

Ready means: the authority stands, a fresh revocation list is on disk, HTTPS listens.
"""

import asyncio
import contextlib
import signal
import ssl
from collections.abc import AsyncGenerator

import structlog

from iotistic.control.broker.agent_crl import AgentCertificates
from iotistic.kernel.errors import IotisticError
from iotistic.kernel.home import Home, HomeSettings
from iotistic.kernel.logging import LogSettings, configure_logging
from iotistic.kernel.mosquitto.control import BrokerControl, WatchedBroker
from iotistic.kernel.mosquitto.handshake import ServiceAccess
from iotistic.kernel.mqtt.settings import MqttSettings
from iotistic.kernel.postgres.pool import DatabaseSettings, create_pool
from iotistic.kernel.settings import load_settings
from iotistic.kernel.web.server import serve
from iotistic.pki.app import create_pki_app, tls_context
from iotistic.pki.elsewhere import ElsewhereWatch
from iotistic.pki.identities import crl_path, ensure_server_certificate
from iotistic.pki.keystore import open_authority
from iotistic.pki.model import CertificateKind
from iotistic.pki.revocation import RevocationList
from iotistic.pki.service import CertificateService, utc_now
from iotistic.pki.settings import PkiSettings

log = structlog.get_logger()

_LOOK_EVERY_S = 2.0
_RENEWAL_S = 12 * 3600.0


class PkiProcessSettings(HomeSettings, LogSettings, DatabaseSettings, MqttSettings, PkiSettings):
    """Everything the certificate authority's process can be told."""


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    settings = load_settings(PkiProcessSettings)
    configure_logging(settings, process="pki")
    asyncio.run(run(settings))


async def run(settings: PkiProcessSettings) -> None:
    """Serve until a signal to stop."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for stop_signal in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(stop_signal, stopping.set)
    async with running(settings):
        await stopping.wait()
    log.info("pki.stopped")


@contextlib.asynccontextmanager
async def running(settings: PkiProcessSettings) -> AsyncGenerator[int]:
    """Wire the parts, start them, give the port, and stop them in the opposite order."""
    home = settings.home
    home.create()
    async with contextlib.AsyncExitStack() as stack:
        authority = await asyncio.to_thread(open_authority, home, settings)
        pool = await create_pool(settings, application_name="iotistic-pki")
        stack.callback(pool.terminate)
        agents = AgentCertificates(pool)
        revocations = RevocationList(
            pool, authority, _gate(settings), path=crl_path(home), clock=utc_now, elsewhere=agents
        )
        service = CertificateService(pool, authority, revocations, device_days=settings.device_expiry)
        await service.record(authority.pem.encode(), CertificateKind.CA)
        context = tls_context(
            await asyncio.to_thread(
                ensure_server_certificate, home, settings, listen_address=settings.pki_host
            )
        )
        await revocations.publish(await service.locked_out())
        app = create_pki_app(pool, service, revocations, operator=settings.api_token)
        server = await serve(app, host=settings.pki_host, port=settings.pki_port, ssl_context=context)
        stack.push_async_callback(server.stop)
        for work in (
            revocations.keep_fresh(),
            ElsewhereWatch(agents, revocations, utc_now).run(),
            _keep_identity(settings, service, context),
            _list_broker(home, service),
        ):
            stack.push_async_callback(_cancel, asyncio.create_task(work))
        log.info("pki.ready", host=settings.pki_host, port=server.port)
        yield server.port


def _gate(settings: PkiProcessSettings) -> BrokerControl | None:
    """Return control over our own broker; one named by MQTT_BROKER_URL fetches /crl.pem itself."""
    if settings.mqtt_broker_url is not None:
        return None
    host, port = settings.mqtt_address
    password = settings.mqtt_service_password.get_secret_value()
    access = ServiceAccess(host, port, settings.mqtt_service_username, password)
    control = WatchedBroker if settings.broker_watches_folder else BrokerControl
    return control(settings.home, access)


async def _keep_identity(
    settings: PkiProcessSettings, service: CertificateService, context: ssl.SSLContext
) -> None:
    """Renew the certificate of our own HTTPS in time; connections from then on get the new one."""
    while True:
        try:
            identity = await asyncio.to_thread(
                ensure_server_certificate, settings.home, settings, listen_address=settings.pki_host
            )
            if identity.renewed:
                context.load_cert_chain(identity.certificate, identity.key)
            await service.record(identity.certificate.read_bytes(), CertificateKind.SERVER)
        except (IotisticError, OSError) as exc:
            log.warning("pki.identity_not_renewed", error=str(exc))
        await asyncio.sleep(_RENEWAL_S)


async def _list_broker(home: Home, service: CertificateService) -> None:
    """List the broker's certificate, which the parent process makes, without the database, after our start."""
    listed, file = b"", home.pki / "broker.crt"
    while True:
        try:
            if file.exists() and (pem := file.read_bytes()) != listed:
                await service.record(pem, CertificateKind.BROKER)
                listed = pem
        except (IotisticError, OSError, ValueError) as exc:
            log.warning("pki.broker_not_listed", error=str(exc))
        await asyncio.sleep(_LOOK_EVERY_S)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
