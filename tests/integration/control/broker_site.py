"""A managed broker, the authority's revocation list and the keeper of accounts, on a real PostgreSQL; and clients."""

import asyncio
import contextlib
import datetime as dt
import socket
import ssl
import time
from dataclasses import dataclass, field
from pathlib import Path

from broker_fixtures import WireClient
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from device_cloud import Cloud, Device, build

from iotistic.control.broker.agent_crl import AgentCertificates
from iotistic.control.broker.changes import AccessChanges
from iotistic.control.broker.keeper import BrokerKeeper
from iotistic.control.broker.rendering import Renderer
from iotistic.control.broker.service import MqttUserService
from iotistic.control.broker.settings import BrokerKeeperSettings
from iotistic.kernel.home import Home
from iotistic.kernel.mosquitto.config import AccountListener
from iotistic.kernel.mosquitto.control import BrokerControl
from iotistic.kernel.mosquitto.server import BrokerTls, MosquittoServer
from iotistic.kernel.process import pick_port
from iotistic.pki.ca import CertificateAuthority, server_profile
from iotistic.pki.elsewhere import ElsewhereWatch
from iotistic.pki.revocation import RevocationList

PASSWORD = "correct horse battery"
REFUSED = (OSError, AssertionError)
WITHIN_S = 20
_CLIENT_S = 10


async def eventually(seen, *, within_s=WITHIN_S):
    """Return the first true value of `seen`, which may block and may fail; fail when none comes in time."""
    deadline = time.monotonic() + within_s
    while True:
        with contextlib.suppress(*REFUSED):
            if value := await asyncio.to_thread(seen):
                return value
        assert time.monotonic() < deadline, "did not happen in time"
        await asyncio.sleep(0.1)


def is_refused(attempt):
    try:
        attempt()
    except REFUSED:
        return True
    return False


@dataclass
class BrokerSite:
    """What runs."""

    pool: object
    home: Home
    authority: CertificateAuthority
    revocations: RevocationList
    server: MosquittoServer
    cloud: Cloud
    starts: int = 0
    tasks: list = field(default_factory=list)
    clients: list = field(default_factory=list)

    @property
    def control(self) -> BrokerControl:
        return BrokerControl(self.home, self.server.access)

    @property
    def users(self) -> MqttUserService:
        return MqttUserService(self.pool)

    @property
    def ca(self) -> Path:
        return self.home.path / "ca.crt"

    def keeper(self, **settings) -> BrokerKeeper:
        quick = BrokerKeeperSettings(
            **({"broker_grant_pause_s": 0.5, "broker_revoke_pause_s": 0.2} | settings)
        )
        return BrokerKeeper(self.pool, self.control, Renderer(self.cloud.offer), quick)

    def keep(self) -> BrokerKeeper:
        """Start what keeps accounts; return it, to be stopped or cancelled."""
        keeper = self.keeper()
        self.tasks += [
            asyncio.create_task(keeper.run()),
            asyncio.create_task(AccessChanges(self.pool, keeper.changed).run()),
        ]
        return keeper

    def watch(self) -> None:
        """Start what revokes."""
        watch = ElsewhereWatch(AgentCertificates(self.pool), self.revocations, utc_now, every_s=0.2)
        self.tasks.append(asyncio.create_task(watch.run()))

    async def run_broker(self) -> None:
        """Keep the broker as its parent does: start it again whenever it ends."""
        while True:
            await self.server.start()
            self.starts += 1
            await self.server.process.wait()

    def connect(self, name, password=PASSWORD, *, client_id=None) -> WireClient:
        """Return a connected client of the listener for accounts."""
        client = WireClient(self._tls(self.server.config.accounts.port, None), timeout_s=_CLIENT_S)
        self.clients.append(client)
        answer = client.connect(client_id or name, username=name, password=password)
        assert answer.reason == 0, answer
        return client

    def connect_agent(self, device: Device, certificate: str) -> WireClient:
        """Return an agent that is connected by its certificate."""
        client = WireClient(
            self._tls(self.server.endpoints.device_port, (device, certificate)), timeout_s=_CLIENT_S
        )
        self.clients.append(client)
        answer = client.connect(f"device_{device.uuid}")
        assert answer.reason == 0, answer
        return client

    def service(self, client_id="service") -> WireClient:
        """Return one of our own services."""
        access = self.server.access
        client = WireClient(socket.create_connection((access.host, access.port), 5))
        self.clients.append(client)
        assert client.connect(client_id, username=access.username, password=access.password).reason == 0
        return client

    async def ended(self, client: WireClient) -> int | None:
        """Wait until the broker ends a connection; return the reason that it gave, if any."""
        return await asyncio.to_thread(client.disconnect_reason)

    async def agent(self) -> tuple[Device, str]:
        """Return a device with a certificate, provisioned."""
        device = Device(self.cloud, await self.cloud.key())
        return device, (await device.provision())["mqtt"]["brokerConfig"]["clientCert"]

    async def plain_agent(self) -> tuple[Device, str, str]:
        """Return a device of the earlier system, its name at the broker and its password."""
        device = Device(self.cloud, await self.cloud.key())
        answer = (await device.register_open()).json()["mqtt"]
        return device, answer["username"], answer["password"]

    def _tls(self, port: int, identity) -> socket.socket:
        context = ssl.create_default_context(cafile=self.ca)
        if identity is not None:
            device, certificate = identity
            files = [self.home.path / f"{device.uuid}.{kind}" for kind in ("crt", "key")]
            files[0].write_text(certificate)
            files[1].write_text(device.private_key)
            context.load_cert_chain(*files)
        plain = socket.create_connection(("127.0.0.1", port), 5)
        try:
            return context.wrap_socket(plain, server_hostname="localhost")
        except BaseException:
            plain.close()
            raise


def utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


@contextlib.asynccontextmanager
async def running_site(pool, folder, authority=None):
    """Run a site whose home is `folder`; without an authority it gets one of its own."""
    home = Home(folder)
    home.create()
    if authority is None:
        key = ec.generate_private_key(ec.SECP256R1())
        authority = CertificateAuthority.create(
            key, common_name="agents of the tests", days=30, now=utc_now()
        )
    tls = _identity(folder, authority)
    server = MosquittoServer(
        home,
        tls=tls,
        device_port=pick_port(0),
        service_port=pick_port(0),
        accounts=AccountListener(host="127.0.0.1", port=pick_port(0)),
    )
    revocations = RevocationList(
        pool,
        authority,
        BrokerControl(home, server.access),
        path=tls.crl,
        clock=utc_now,
        elsewhere=AgentCertificates(pool),
    )
    await revocations.publish()
    url = f"mqtts://localhost:{server.endpoints.device_port}"
    cloud = build(pool, authority=authority, device_mqtt_url=url)
    site = BrokerSite(pool, home, authority, revocations, server, cloud)
    site.tasks.append(asyncio.create_task(site.run_broker()))
    try:
        await eventually(site.service)
        yield site
    finally:
        for task in site.tasks:
            task.cancel()
        await asyncio.gather(*site.tasks, return_exceptions=True)
        for client in site.clients:
            client.close()
        await server.stop()


def _identity(folder: Path, authority: CertificateAuthority) -> BrokerTls:
    key = ec.generate_private_key(ec.SECP256R1())
    profile = server_profile("broker", ["localhost", "127.0.0.1"])
    certificate = authority.issue(profile, key.public_key(), days=10, now=utc_now())
    tls = BrokerTls(
        ca=folder / "ca.crt",
        certificate=folder / "broker.crt",
        key=folder / "broker.key",
        crl=folder / "revoked.crl",
    )
    tls.ca.write_text(authority.pem)
    tls.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    tls.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return tls
