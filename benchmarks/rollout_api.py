"""One API process of the control plane, put together from its rooms: devices register, poll, are told, report; rollouts run.

What the product's control process does is in it too: it announces targets, reads reports that come over MQTT.

python -m benchmarks.rollout_api      settings by the environment; says {"port", "key"} on standard output
"""

import asyncio
import json
import os
import secrets
import signal
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
from cryptography.hazmat.primitives.asymmetric import x25519
from fastapi import FastAPI
from prometheus_client import REGISTRY
from pydantic import Field, SecretStr

from benchmarks.rollout_broker import read_authority
from benchmarks.rollout_counts import tell
from benchmarks.rollout_health import Figures
from iotistic.control.access.addresses import ClientAddresses
from iotistic.control.access.model import ApiKeyPrincipal, Permission
from iotistic.control.access.rules import Gate, install_gate
from iotistic.control.broker.announcing import TargetAnnouncer
from iotistic.control.devices.routes import device_key_router
from iotistic.control.devices.service import DeviceKeySettings, DeviceService
from iotistic.control.provisioning.answering import Offer, OfferSettings
from iotistic.control.provisioning.attempts import Attempts, AttemptSettings
from iotistic.control.provisioning.certificates import AuthorityCertifier, DeviceCertificates
from iotistic.control.provisioning.envelope_keys import EnvelopeKeys
from iotistic.control.provisioning.keys import ProvisioningKeys
from iotistic.control.provisioning.proving import Proving
from iotistic.control.provisioning.registration import FixedPlan, Registrar, Surroundings
from iotistic.control.provisioning.routes import Doors, proving_router, provisioning_router
from iotistic.control.rollouts.engine import RolloutEngine
from iotistic.control.rollouts.routes import rollout_router
from iotistic.control.rollouts.service import RolloutService
from iotistic.control.rollouts.settings import RolloutSettings
from iotistic.control.rollouts.signals import Surroundings as RolloutSurroundings
from iotistic.control.states.express import ExpressStates
from iotistic.control.states.inbox import FILTERS, StateInbox
from iotistic.control.states.routes import device_state_router
from iotistic.control.states.service import StateService
from iotistic.control.states.together import StatesTogether
from iotistic.entrypoints.control.bridges import ServicePublisher
from iotistic.kernel.logging import LogSettings, configure_logging
from iotistic.kernel.mqtt.bulk import BulkSubscriber
from iotistic.kernel.mqtt.bulk_login import BulkOptions
from iotistic.kernel.mqtt.client import MqttClient
from iotistic.kernel.mqtt.settings import MqttSettings
from iotistic.kernel.postgres.pool import DatabaseSettings, create_pool
from iotistic.kernel.settings import load_settings
from iotistic.kernel.web.app import create_app
from iotistic.kernel.web.attempts import FailedAttempts
from iotistic.kernel.web.server import serve

BASE = "/api/v1"
_MANY = 1_000_000


class SiteSettings(DatabaseSettings, MqttSettings, RolloutSettings, LogSettings):
    """Settings of this process."""

    api_port: int = Field(ge=1)
    operator_token: SecretStr
    figures_file: Path
    counts_file: Path
    authority_folder: Path
    device_mqtt_url: str


class _Operator:
    """Whoever shows the token may do everything."""

    def __init__(self, token: SecretStr) -> None:
        self._token = token

    async def find(self, token: str) -> ApiKeyPrincipal | None:
        if not secrets.compare_digest(token, self._token.get_secret_value()):
            return None
        return ApiKeyPrincipal(key_id="bench", user_id=uuid4(), permissions=frozenset(Permission))


class _Counted:
    """Counts what the broker was given for devices."""

    def __init__(self, publisher: ServicePublisher) -> None:
        self._publisher = publisher
        self.count = 0

    async def publish(self, topic: str, payload: bytes) -> None:
        await self._publisher.publish(topic, payload)
        self.count += 1


class _Nobody:
    """Hears of devices, and tells nobody: presence is not measured here."""

    def polled(self, uuid: str) -> None:
        pass

    async def reported(self, uuid: str, fields: Mapping[str, Any], at: datetime) -> None:
        pass


def _app(
    pool: asyncpg.Pool, settings: SiteSettings, keys: ProvisioningKeys, announcer: TargetAnnouncer
) -> tuple[FastAPI, RolloutEngine, StateService]:
    devices = DeviceService(pool, DeviceKeySettings())
    states = StateService(pool, devices, announcer=announcer)
    authority = read_authority(settings.authority_folder)
    certificates = DeviceCertificates(AuthorityCertifier(authority, days=365))
    offer = Offer(
        OfferSettings(
            provisioning_secret=SecretStr("secret of the benchmark"), device_mqtt_url=settings.device_mqtt_url
        ),
        authority.pem,
    )
    around = Surroundings(devices, keys, certificates, offer, FixedPlan(-1, ""), states)
    generous = AttemptSettings(provisioning_attempts_per_window=_MANY, provisioning_failures_per_hour=_MANY)
    doors = Doors(
        registrar=Registrar(pool, around),
        proving=Proving(pool, devices, certificates),
        attempts=Attempts(pool, generous),
        envelope_keys=EnvelopeKeys(x25519.X25519PrivateKey.generate()),
        offer=offer,
        device_service=devices,
    )
    healthy = RolloutSurroundings(announcer=announcer, health=(Figures(pool, settings.figures_file),))
    engine = RolloutEngine(pool, healthy, settings)
    rollouts = RolloutService(pool, healthy, settings, changed=engine.poke)
    app = create_app(title="bench", version="0", description="bench", body_limit=32 * 1024 * 1024)
    gate = Gate(
        callers=_Operator(settings.operator_token),
        devices=None,
        addresses=ClientAddresses(),
        attempts=FailedAttempts(),
    )
    install_gate(app, gate)
    for router in (
        provisioning_router(doors),
        proving_router(doors),
        device_key_router(devices),
        device_state_router(states, devices),
        rollout_router(rollouts),
    ):
        app.include_router(router, prefix=BASE)
    return app, engine, states


async def _serve() -> None:
    settings = load_settings(SiteSettings)
    configure_logging(settings, process="bench-api")
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    pool = await create_pool(settings, application_name="bench-api", min_size=0)
    keys = ProvisioningKeys(pool)
    client = MqttClient(settings, client_id="bench-control")
    publisher = _Counted(ServicePublisher(client))
    announcer = TargetAnnouncer(publisher)
    app, engine, states = _app(pool, settings, keys, announcer)
    inbox = StateInbox(pool, BulkSubscriber(_inbox_options(settings)), states)
    # As the product serves: what devices ask all day is answered before the app.
    front = ExpressStates(app, together=StatesTogether(pool, _Nobody()), base=BASE)
    others = [
        asyncio.create_task(client.run(asyncio.get_running_loop().create_future())),
        asyncio.create_task(tell(settings.counts_file, lambda: _counts(publisher))),
    ]
    loops = (announcer, inbox, engine)
    works = [asyncio.create_task(loop.run()) for loop in loops]
    async with await serve(app, host="127.0.0.1", port=settings.api_port, front=front) as server:
        key = await _key(keys)
        print(json.dumps({"port": server.port, "key": key}), flush=True)
        await asyncio.wait(
            [asyncio.create_task(stopping.wait()), *works], return_when=asyncio.FIRST_COMPLETED
        )
    for loop in loops:
        loop.stop()
    await asyncio.gather(*works)
    for task in others:
        task.cancel()
    pool.terminate()


def _counts(publisher: _Counted) -> dict[str, int]:
    stored = REGISTRY.get_sample_value("iotistic_state_reports_by_mqtt_total", {"outcome": "stored"})
    return {"announced": publisher.count, "stored": int(stored or 0)}


def _inbox_options(settings: SiteSettings) -> BulkOptions:
    host, port = settings.mqtt_address
    return BulkOptions(
        host=host,
        port=port,
        client_id="iotistic-states",
        filters=FILTERS,
        username=settings.mqtt_service_username,
        password=settings.mqtt_service_password.get_secret_value(),
    )


async def _key(keys: ProvisioningKeys) -> str:
    if os.environ.get("PROVISIONING_KEY"):
        return os.environ["PROVISIONING_KEY"]
    plain, _ = await keys.create(
        fleet_id="bench", max_uses=10_000, lives=timedelta(days=1), created_by="bench"
    )
    return plain


if __name__ == "__main__":
    asyncio.run(_serve())
