"""An authority and a broker for simulated controllers, and a way to run a fleet."""

import asyncio
import contextlib
from dataclasses import dataclass

import pytest
from pydantic import SecretStr

from iotistic.entrypoints.pki import PkiProcessSettings, running
from iotistic.kernel.files import secret_file
from iotistic.kernel.home import Home
from iotistic.kernel.mosquitto.server import BrokerTls, MosquittoServer
from iotistic.kernel.mqtt.tls import TlsIdentities
from iotistic.kernel.process import pick_port
from iotistic.pki.service import ensure_broker_certificate
from iotistic.simulation.f2.credentials import CredentialStore
from iotistic.simulation.f2.enrolment import Authority, enrol
from iotistic.simulation.f2.fleet import Fleet, FleetPlan, controller_mac

OPERATOR = "iot_operator-token-of-the-tests"
MACS = [controller_mac(number) for number in range(4)]


async def until(seen, *, within_s=15.0):
    async with asyncio.timeout(within_s):
        while not seen():  # noqa: ASYNC110 - what is waited for happens in foreign code
            await asyncio.sleep(0.01)


@dataclass
class Site:
    """An authority and a broker that trusts it."""

    home: Home
    authority: Authority
    broker: MosquittoServer

    def store(self):
        return CredentialStore(self.home.simulator, authority=self.authority.fingerprint)

    async def enrol(self, macs=MACS, *, token=OPERATOR, **options):
        authority = Authority(self.authority.url, self.authority.ca_certificate, SecretStr(token))
        with self.store() as store:
            return await enrol(macs, store, authority, **options)

    def fleet(self, identities, **plan):
        options = {"interval_s": 0.2, "connects_per_s": 200} | plan
        broker = FleetPlan("localhost", self.broker.endpoints.device_port, **options)
        return Fleet(broker, identities, TlsIdentities(self.authority.ca_certificate))


@pytest.fixture
async def site(tmp_path, database):
    home = Home(tmp_path / "home")
    home.create()
    settings = PkiProcessSettings(
        iotistic_home=home.path,
        database_url=database.url,
        database_password=database.password,
        database_pool_size=5,
        api_token=SecretStr(OPERATOR),
        pki_port=0,
        mqtt_service_port=pick_port(0),
        mqtt_service_password=SecretStr(secret_file(home.secrets / "mqtt-service-password")),
    )
    async with running(settings) as port:
        own = ensure_broker_certificate(home, settings)
        tls = BrokerTls(ca=own.ca_certificate, certificate=own.certificate, key=own.key, crl=own.crl)
        broker = MosquittoServer(
            home, tls=tls, device_port=pick_port(0), service_port=settings.mqtt_service_port
        )
        await broker.start()
        authority = Authority(f"https://127.0.0.1:{port}", home.ca_certificate, SecretStr(OPERATOR))
        yield Site(home, authority, broker)
        await broker.stop()


@contextlib.asynccontextmanager
async def at_work(fleet):
    stop = asyncio.Event()
    task = asyncio.create_task(fleet.run(stop))
    try:
        yield fleet.tally
    finally:
        stop.set()
        await asyncio.wait_for(task, 20)
