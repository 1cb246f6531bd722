"""The certificate authority in this process, over real HTTPS and a real database.

`authority`   running, with an operator's client; `authority.client(token)` makes others
"""

import contextlib
import ssl
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest
from pydantic import SecretStr

from iotistic.entrypoints.pki import PkiProcessSettings, running
from iotistic.kernel.files import secret_file
from iotistic.kernel.home import Home
from iotistic.kernel.mosquitto.server import BrokerTls, MosquittoServer
from iotistic.kernel.process import pick_port
from iotistic.pki.service import ensure_broker_certificate

OPERATOR = "iot_operator-token-of-the-tests"


@dataclass
class Authority:
    """A running authority and its clients."""

    settings: PkiProcessSettings
    port: int
    stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    @property
    def home(self) -> Home:
        return self.settings.home

    async def client(
        self, token: str | None = None, *, identity: tuple[Path, Path] | None = None
    ) -> httpx2.AsyncClient:
        """Return an HTTPS client with the CA pinned, a bearer token and a client certificate if given."""
        context = ssl.create_default_context(cafile=self.home.ca_certificate)
        if identity:
            context.load_cert_chain(*identity)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        client = httpx2.AsyncClient(
            base_url=f"https://127.0.0.1:{self.port}", verify=context, headers=headers, timeout=20
        )
        return await self.stack.enter_async_context(client)

    async def enrol_token(self, **asked: object) -> tuple[str, str]:
        """Return the id and the secret of a fresh enrolment token."""
        operator = await self.client(OPERATOR)
        answer = (await operator.post("/tokens", json=asked)).raise_for_status().json()
        return answer["id"], answer["token"]


def settings_for(home: Path, database, **others: object) -> PkiProcessSettings:
    return PkiProcessSettings(
        iotistic_home=home,
        database_url=database.url,
        database_password=database.password,
        database_pool_size=5,
        api_token=SecretStr(OPERATOR),
        pki_port=0,
        mqtt_service_port=pick_port(0),
        **others,
    )


@pytest.fixture
async def authority(tmp_path, database):
    settings = settings_for(tmp_path / "home", database)
    async with running(settings) as port:
        started = Authority(settings, port)
        async with started.stack:
            yield started


@pytest.fixture
async def operator(authority) -> httpx2.AsyncClient:
    return await authority.client(OPERATOR)


@pytest.fixture
async def authority_with_broker(tmp_path, database):
    """The authority and a broker that trusts it; gives the broker's port for devices too."""
    settings = settings_for(tmp_path / "home", database)
    home = settings.home
    home.create()
    password = secret_file(home.secrets / "mqtt-service-password")
    settings = settings.model_copy(update={"mqtt_service_password": SecretStr(password)})
    async with running(settings) as port:
        own = ensure_broker_certificate(home, settings)
        tls = BrokerTls(ca=own.ca_certificate, certificate=own.certificate, key=own.key, crl=own.crl)
        broker = MosquittoServer(
            home, tls=tls, device_port=pick_port(0), service_port=settings.mqtt_service_port
        )
        await broker.start()
        started = Authority(settings, port)
        async with started.stack:
            yield started, broker.endpoints.device_port
        await broker.stop()
