"""The broker as a process of its own takes over accounts, and the authority's process puts agents off."""

import asyncio
import contextlib
import socket
import ssl
import uuid as uuids
from dataclasses import dataclass
from pathlib import Path

import pytest
from broker_fixtures import WireClient, eventually
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import SecretStr
from test_container_processes import process, ready, settings

from iotistic.control.broker.keeper import BrokerKeeper
from iotistic.control.broker.rendering import Renderer
from iotistic.control.broker.service import MqttUserService
from iotistic.control.broker.settings import BrokerKeeperSettings
from iotistic.control.provisioning.certificates import AuthorityCertifier
from iotistic.entrypoints.prepare import prepare
from iotistic.kernel.home import Home
from iotistic.kernel.mosquitto.control import WatchedBroker
from iotistic.kernel.mosquitto.handshake import ServiceAccess
from iotistic.kernel.process import pick_port
from iotistic.pki.keystore import open_authority
from iotistic.pki.service import utc_now
from iotistic.pki.settings import AuthoritySettings


@dataclass
class Apart:
    """A broker and an authority in processes that share folders."""

    home: Home
    folder: Path
    ports: dict
    password: str
    log: Path
    closing: contextlib.ExitStack

    def connect(self, port, name, password=None, *, certificate=None):
        context = ssl.create_default_context(cafile=self.folder / "identity/ca.crt")
        context.check_hostname = False
        if certificate is not None:
            context.load_cert_chain(certificate)
        plain = socket.create_connection(("127.0.0.1", self.ports[port]), 5)
        self.closing.callback(plain.close)
        client = WireClient(context.wrap_socket(plain), timeout_s=20)
        self.closing.callback(client.close)
        assert client.connect(name, username=name, password=password).reason == 0
        return client


def refused(attempt):
    try:
        attempt()
    except (OSError, AssertionError):
        return True
    return False


@pytest.fixture
async def apart(database, tmp_path):
    wanted = settings(tmp_path)
    await asyncio.to_thread(prepare, wanted)
    ports = {name: pick_port(0) for name in ("devices", "accounts", "services", "metrics", "pki")}
    environment = {
        "IOTISTIC_HOME": str(wanted.iotistic_home),
        "IDENTITY_FOLDER": str(wanted.identity_folder),
        "MQTT_PORT": str(ports["devices"]),
        "MQTT_ACCOUNT_PORT": str(ports["accounts"]),
        "MQTT_SERVICE_PORT": str(ports["services"]),
        "MQTT_SERVICE_PASSWORD_FILE": str(wanted.secrets_folder / "mqtt/password"),
        "METRICS_PORT": str(ports["metrics"]),
        "PKI_PORT": str(ports["pki"]),
        "BROKER_WATCHES_FOLDER": "true",
        "API_TOKEN_FILE": str(wanted.secrets_folder / "operator/api-token"),
        **database.environment(),
    }
    password = (wanted.secrets_folder / "mqtt/password").read_text().strip()
    log = tmp_path / "broker.log"
    with process("broker", environment, log), process("pki", environment, tmp_path / "pki.log"):
        await asyncio.to_thread(ready, f"http://127.0.0.1:{ports['metrics']}", log)
        with contextlib.ExitStack() as closing:
            yield Apart(Home(wanted.iotistic_home), tmp_path, ports, password, log, closing)


async def test_accounts_reach_a_broker_in_another_container(apart, pool):
    access = ServiceAccess("127.0.0.1", apart.ports["services"], "iotistic", apart.password)
    keeper = BrokerKeeper(
        pool, WatchedBroker(apart.home, access), Renderer(None), BrokerKeeperSettings(broker_revoke_pause_s=0)
    )
    users = MqttUserService(pool)
    given = await users.create(
        "ada", SecretStr("correct horse"), is_superuser=False, is_active=True, by="test"
    )
    await keeper.keep()
    await asyncio.to_thread(
        eventually, lambda: not refused(lambda: apart.connect("accounts", "ada", "correct horse"))
    )
    await users.remove(given.user.id, by="test")
    await keeper.keep()

    assert await asyncio.to_thread(
        eventually, lambda: refused(lambda: apart.connect("accounts", "ada", "correct horse"))
    )
    await asyncio.to_thread(eventually, lambda: apart.log.read_text().count("broker.started") == 3)


async def test_the_authority_s_process_puts_a_revoked_agent_off(apart, pool):
    uuid, key = str(uuids.uuid4()), ec.generate_private_key(ec.SECP256R1())
    authority = open_authority(apart.home, AuthoritySettings())
    signed = await AuthorityCertifier(authority, days=1).sign(uuid, key.public_key(), utc_now())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    identity = apart.folder / "agent.pem"
    identity.write_text(signed.pem + private.decode())
    await pool.execute(
        "INSERT INTO fleet_devices (uuid, name, type, fleet_id) VALUES ($1::text::uuid, 'a', 'b', 'c')", uuid
    )
    await pool.execute(
        "INSERT INTO device_certificates (serial, device_uuid, public_key, pem, issued_at, not_after) "
        "VALUES ($1, $2::text::uuid, '', $3, now(), $4)",
        *(signed.serial, uuid, signed.pem, signed.not_after),
    )
    agent = await asyncio.to_thread(apart.connect, "devices", "device", certificate=identity)
    assert await asyncio.to_thread(agent.publish, f"iot/device/{uuid}/state", b"{}") < 128

    await pool.execute("DELETE FROM fleet_devices")

    with contextlib.suppress(ConnectionError):
        await asyncio.to_thread(agent.disconnect_reason)  # raises TimeoutError when it is left alone
    assert refused(lambda: apart.connect("devices", "device", certificate=identity))
