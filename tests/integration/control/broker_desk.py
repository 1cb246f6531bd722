"""The broker's routes over real HTTP and a real PostgreSQL, with a caller of every role."""

import asyncio
import contextlib
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import httpx2
from described_answers import answers_as_described
from device_cloud import Device, build
from pydantic import SecretStr

from iotistic.control.access.addresses import ClientAddresses, ProxySettings
from iotistic.control.access.model import KEY_SCOPES, ApiKeyPrincipal, Role, UserPrincipal
from iotistic.control.access.rules import Gate, install_gate
from iotistic.control.broker.desk import BrokerDesk
from iotistic.control.broker.settings import BrokerDeskSettings
from iotistic.kernel.web.app import create_app
from iotistic.kernel.web.attempts import FailedAttempts
from iotistic.kernel.web.server import serve

BROKER_TOKEN = "the credential of brokers that ask, of the tests"
SECRET = "a secret that encrypts passwords of brokers"
BASE = "/api/v1"
API_KEY = "an-api-key"


class Callers:
    """People by the name of their role, and an API key with every scope that a key can have."""

    async def find(self, token):
        if token == API_KEY:
            return ApiKeyPrincipal(key_id="k", user_id=UUID(int=1), permissions=KEY_SCOPES)
        if token not in set(Role):
            return None
        return UserPrincipal(user_id=uuid4(), username=token, role=Role(token), session_id=uuid4())


class Published:
    """A broker that keeps what it is told, or is away."""

    def __init__(self):
        self.said, self.error = [], None

    async def publish(self, topic, payload):
        if self.error:
            raise self.error
        self.said.append((topic, payload))


@dataclass
class RunningDesk:
    """What runs."""

    pool: object
    desk: BrokerDesk
    app: object
    client: httpx2.AsyncClient
    published: Published
    cloud: object
    tasks: list = field(default_factory=list)

    async def ask(self, method, path, body=None, *, role=Role.OWNER, **options):
        headers = {"Authorization": f"Bearer {role}"} if role else {}
        return await self.client.request(method, f"{BASE}{path}", json=body, headers=headers, **options)

    async def user(self, name="ada", *, password="correct horse", **given):
        answer = await self.ask("POST", "/auth/mqtt-users", {"username": name, "password": password, **given})
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    async def rule(self, user_id, topic, access):
        answer = await self.ask(
            "POST", f"/auth/mqtt-users/{user_id}/acls", {"topic": topic, "access": access}
        )
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    async def question(self, which, *, token=BROKER_TOKEN, **asked) -> int:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return (await self.client.post(f"/mosquitto-auth/{which}", json=asked, headers=headers)).status_code

    async def may(self, username, acc, topic, clientid="one") -> bool:
        answer = await self.question("acl", username=username, acc=acc, topic=topic, clientid=clientid)
        assert answer in {200, 403}
        return answer == 200

    async def plain_agent(self):
        """Return a device of the earlier system, its name at the broker and its password."""
        device = Device(self.cloud, await self.cloud.key())
        answer = (await device.register_open()).json()["mqtt"]
        return device, answer["username"], answer["password"]


@contextlib.asynccontextmanager
async def running_desk(pool, cloud=None, **settings):
    """Serve a desk."""
    given = {"broker_auth_token": SecretStr(BROKER_TOKEN), "broker_secret": SecretStr(SECRET), **settings}
    published = Published()
    desk = BrokerDesk.of(pool, BrokerDeskSettings(**given), published)
    app = create_app(title="broker", version="0", description="under test")
    gate = Gate(
        callers=Callers(),
        devices=None,
        addresses=ClientAddresses.of(ProxySettings()),
        attempts=FailedAttempts(limit=100_000),
    )
    install_gate(app, gate)
    app.include_router(desk.router(), prefix=BASE)
    app.include_router(desk.asking_router(FailedAttempts(limit=100_000)))
    tasks = [asyncio.create_task(loop.run()) for loop in desk.loops]
    async with (
        await serve(app, host="127.0.0.1", port=0) as server,
        httpx2.AsyncClient(verify=False, base_url=f"http://127.0.0.1:{server.port}", timeout=30) as client,
    ):
        client.event_hooks = {"response": [answers_as_described(app)]}
        yield RunningDesk(pool, desk, app, client, published, cloud or build(pool), tasks)
    for loop in desk.loops:
        loop.stop()
    async with asyncio.timeout(10):
        await asyncio.gather(*tasks)
