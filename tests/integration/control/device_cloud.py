"""The device side of the control plane, served over HTTP on a real PostgreSQL; and devices that speak to it."""

import contextlib
import json
import uuid as uuids
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import httpx2
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from described_answers import answers_as_described
from fastapi import Depends
from pydantic import SecretStr

from iotistic.contracts.provisioning import envelope, keys, requests
from iotistic.contracts.provisioning.keys import Proof
from iotistic.control.audit.port import NO_TRAIL
from iotistic.control.devices.keys import make_api_key
from iotistic.control.devices.routes import device_key_router
from iotistic.control.devices.service import DeviceKeySettings, DeviceService
from iotistic.control.provisioning.answering import Offer, OfferSettings
from iotistic.control.provisioning.attempts import Attempts, AttemptSettings
from iotistic.control.provisioning.certificates import AuthorityCertifier, DeviceCertificates
from iotistic.control.provisioning.envelope_keys import EnvelopeKeys
from iotistic.control.provisioning.key_routes import provisioning_key_router
from iotistic.control.provisioning.keys import ProvisioningKeys
from iotistic.control.provisioning.proving import Proving
from iotistic.control.provisioning.registration import FixedPlan, Registrar, Surroundings
from iotistic.control.provisioning.routes import Doors, proving_router, provisioning_router
from iotistic.control.states.routes import device_state_router
from iotistic.control.states.service import StateService
from iotistic.control.why.port import NO_DECISIONS
from iotistic.kernel.web.app import create_app
from iotistic.kernel.web.auth import StaticTokens, bearer_auth
from iotistic.kernel.web.server import serve
from iotistic.pki.ca import CertificateAuthority

OPERATOR = "operator-token-of-the-tests"
BASE = "/api/v1"
MANY = 100_000


@dataclass
class Clock:
    """The real time, moved by as much as a test says."""

    ahead: timedelta = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@dataclass
class Cloud:
    """What runs, and its services."""

    pool: object
    clock: Clock
    devices: DeviceService
    keys: ProvisioningKeys
    states: StateService
    attempts: Attempts
    app: object
    announced: list = field(default_factory=list)
    url: str = ""
    client: httpx2.AsyncClient | None = None
    offer: Offer | None = None

    async def key(self, **asked) -> str:
        plain, _ = await self.keys.create(**{"fleet_id": "hall-1", "created_by": "test", **asked})
        return plain

    async def count(self, table: str) -> int:
        return await self.pool.fetchval(f"SELECT count(*) FROM {table}")


class _Announced:
    def __init__(self):
        self.said = []

    async def announce(self, uuid, version, etag):
        self.said.append((uuid, version, etag))


def build(
    pool,
    *,
    limit=-1,
    upgrade_url="https://x.example/up",
    envelope_key=None,
    authority=None,
    trail=NO_TRAIL,
    decisions=NO_DECISIONS,
    beginnings=lambda states: states,
    **settings,
) -> Cloud:
    """Return a cloud that is not served yet; settings by their names."""
    told = {"trail": trail, "decisions": decisions}
    clock, announced = Clock(), _Announced()
    ca_key = ec.generate_private_key(ec.SECP256R1())
    authority = authority or CertificateAuthority.create(ca_key, common_name="tests", days=4000, now=clock())

    def only(group):
        return {name: value for name, value in settings.items() if name in group.model_fields}

    generous = {"provisioning_attempts_per_window": MANY, "provisioning_failures_per_hour": MANY}
    devices = DeviceService(pool, DeviceKeySettings(**only(DeviceKeySettings)), clock=clock, **told)
    certificates = DeviceCertificates(AuthorityCertifier(authority, days=365), clock=clock)
    offer_settings = OfferSettings(
        **{
            "provisioning_secret": SecretStr("secret of the tests"),
            "device_mqtt_url": "mqtts://127.0.0.1:9",
            **only(OfferSettings),
        }
    )
    offer = Offer(offer_settings, authority.pem)
    provisioning_keys = ProvisioningKeys(pool, trail=trail, clock=clock)
    states = StateService(pool, devices, announcer=announced, clock=clock, **told)
    plan = FixedPlan(limit, upgrade_url)
    around = Surroundings(devices, provisioning_keys, certificates, offer, plan, beginnings(states), **told)
    attempts = Attempts(pool, AttemptSettings(**(generous | only(AttemptSettings))), clock=clock)
    doors = Doors(
        registrar=Registrar(pool, around, clock=clock),
        proving=Proving(pool, devices, certificates, clock=clock),
        attempts=attempts,
        envelope_keys=EnvelopeKeys(envelope_key or x25519.X25519PrivateKey.generate()),
        offer=offer,
        device_service=devices,
    )
    app = create_app(title="test", version="1", description="test", body_limit=10 * 1024 * 1024)
    operator = Depends(bearer_auth(StaticTokens({"operator": OPERATOR})))
    for router in (
        provisioning_router(doors),
        proving_router(doors),
        provisioning_key_router(
            provisioning_keys, read=operator, write=operator, who=lambda request: "operator", clock=clock
        ),
        device_key_router(devices),
        device_state_router(states, devices),
    ):
        app.include_router(router, prefix=BASE)
    cloud = Cloud(pool, clock, devices, provisioning_keys, states, attempts, app, announced.said)
    cloud.offer = offer
    return cloud


@contextlib.asynccontextmanager
async def served(cloud: Cloud):
    async with await serve(cloud.app, host="127.0.0.1", port=0) as server:
        cloud.url = f"http://127.0.0.1:{server.port}{BASE}"
        hooks = {"response": [answers_as_described(cloud.app)]}
        async with httpx2.AsyncClient(
            verify=False, base_url=cloud.url, timeout=30, event_hooks=hooks
        ) as client:
            cloud.client = client
            yield cloud


@dataclass
class Device:
    """A device with keys of its own; `name` is that of its registration."""

    cloud: Cloud
    provisioning_key: str
    uuid: str = field(default_factory=lambda: str(uuids.uuid4()))
    api_key: str = field(default_factory=make_api_key)
    private_key: str = field(default_factory=keys.make_key)
    name: str = field(default_factory=lambda: uuids.uuid4().hex)

    @property
    def headers(self):
        return {"X-Device-API-Key": self.api_key}

    def request(self, **changes) -> requests.RegisterRequest:
        values = {
            "uuid": self.uuid,
            "device_name": "press 7",
            "device_type": "gateway",
            "device_api_key": self.api_key,
            "provisioning_key": self.provisioning_key,
            "csr": keys.make_csr(self.private_key, self.uuid),
            "mac_address": "aa:bb:cc:dd:ee:ff",
            "os_version": "Debian 12",
            "agent_version": "1.2.3",
        }
        return requests.RegisterRequest(**(values | changes))

    async def seal(self, document) -> dict:
        asked = await self.cloud.client.post(requests.KEY_EXCHANGE_V2, json={"uuid": self.uuid})
        told = asked.json()
        key = envelope.read_cloud_key(told["apiPublicKey"])
        return envelope.seal(document, key, envelope.Addressed(told["keyId"], self.uuid))

    async def register(self, **changes):
        sealed = await self.seal(self.request(**changes).write())
        headers = {requests.IDEMPOTENCY_HEADER: self.name}
        return await self.cloud.client.post(requests.REGISTER_V2, json=sealed, headers=headers)

    async def challenge(self, **headers):
        named = {requests.IDEMPOTENCY_HEADER: self.name, **headers}
        return await self.cloud.client.post(requests.challenge_path(self.uuid), json={}, headers=named)

    def proof(self, challenge: str) -> Proof:
        return keys.prove(self.private_key, self.uuid, challenge)

    async def exchange(self, challenge: str, **changes):
        body = {"deviceApiKey": self.api_key, "signature": self.proof(challenge).signature, **changes}
        headers = {requests.AGENT_KEY_HEADER: body["deviceApiKey"]}
        return await self.cloud.client.post(requests.key_exchange_path(self.uuid), json=body, headers=headers)

    async def provision(self):
        registered = await self.register()
        assert registered.status_code == 200, registered.text
        exchanged = await self.exchange(registered.json()["challenge"])
        assert exchanged.status_code == 200, exchanged.text
        return registered.json()

    async def register_open(self, **changes):
        body = {
            "uuid": self.uuid,
            "deviceName": "old press",
            "deviceType": "standalone",
            "deviceApiKey": self.api_key,
            **changes,
        }
        headers = {"Authorization": f"Bearer {self.provisioning_key}"}
        return await self.cloud.client.post(requests.REGISTER, json=body, headers=headers)

    async def get(self, path, **headers):
        return await self.cloud.client.get(path, headers={**self.headers, **headers})

    async def post(self, path, body=None):
        return await self.cloud.client.post(path, json=body or {}, headers=self.headers)

    async def poll(self, etag=""):
        named = {"If-None-Match": etag} if etag else {}
        return await self.get(f"/device/{self.uuid}/state", **named)

    async def report(self, fields, **headers):
        content = json.dumps({self.uuid: fields}).encode()
        return await self.cloud.client.patch(
            "/device/state", content=content, headers={**self.headers, **headers}
        )

    async def leave(self):
        return await self.cloud.client.delete(f"/devices/{self.uuid}", headers=self.headers)


def code_of(answer) -> tuple[int, str]:
    """Return the status of a refusal and its code, which stands there under both names."""
    document = answer.json()
    assert document["error"] == document["code"]
    assert document["message"]
    return answer.status_code, document["code"]
