"""A cloud with rollouts on a real database, and devices that poll and report as they are told to."""

import itertools
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from iotistic.control.access.addresses import ClientAddresses
from iotistic.control.access.model import ApiKeyPrincipal, Permission, Scope
from iotistic.control.access.rules import Gate, install_gate
from iotistic.control.devices.service import DeviceKeySettings, DeviceService
from iotistic.control.rollouts.beginning import CHANGE
from iotistic.control.rollouts.engine import RolloutEngine
from iotistic.control.rollouts.policy import Policy
from iotistic.control.rollouts.routes import rollout_router
from iotistic.control.rollouts.selection import Selection
from iotistic.control.rollouts.service import Asked, RolloutService
from iotistic.control.rollouts.settings import RolloutSettings
from iotistic.control.rollouts.signals import Surroundings
from iotistic.control.states.service import StateService
from iotistic.kernel.errors import Unavailable
from iotistic.kernel.web.app import create_app
from iotistic.kernel.web.attempts import FailedAttempts

EVERYBODY = Scope()
QUICK = {"watch_s": 0, "update_within_s": 60, "waves": [100]}
TO_TWO = {"kind": "image", "service": "web", "image": "web:2"}


@dataclass
class Clock:
    ahead: timedelta = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def forward(self, **by) -> None:
        self.ahead += timedelta(**by)


@dataclass
class Heard:
    """Announcements and decisions, as they came."""

    announced: list = field(default_factory=list)
    decisions: list = field(default_factory=list)
    images: dict = field(default_factory=dict)

    async def sizes(self, images):
        return {name: size for name, size in self.images.items() if name in images}

    async def announce(self, uuid, version, etag):
        self.announced.append((uuid, version))

    async def record(self, db, decisions):
        self.decisions += decisions


class Callers:
    """Bearer tokens are the permissions that they give."""

    async def find(self, token):
        permissions = frozenset(Permission(one) for one in token.split(","))
        return ApiKeyPrincipal(key_id="a1b2c3", user_id=uuid4(), permissions=permissions)


class Unwell:
    """Somebody who knows more than devices tell."""

    name = "anomalies"

    def __init__(self):
        self.devices = {}
        self.is_away = False

    async def unwell(self, devices, since):
        if self.is_away:
            raise Unavailable("nobody answers")
        return {one: why for one, why in self.devices.items() if one in devices}


def content(image="web:1", **config):
    service = {"serviceId": 3, "serviceName": "web", "config": {"image": image, **config}}
    return {"apps": {"7": {"appId": 7, "appName": "shop", "services": [service]}}, "config": {}}


@dataclass
class Device:
    """One device; `broken` images crash on it."""

    site: "Site"
    uuid: UUID
    number: int
    broken: frozenset = frozenset()
    deaf: bool = False
    containers: int = 1
    image: str = ""

    async def live(self):
        """Poll, become what is wanted at once, and report it."""
        if self.deaf:
            return
        target = (await self.site.states.standing(str(self.uuid))).target
        service = target.content()["apps"]["7"]["services"][0]
        wanted = service["config"]["image"]
        if wanted != self.image:
            self.containers, self.image = self.containers + 1, wanted
        await self.report(target.version, wanted)

    async def report(self, version, image, **more):
        fails = image in self.broken
        error = {"type": "CrashLoopBackOff", "message": "exit 1", "retryCount": 3}
        told = {
            "serviceId": 3,
            "serviceName": "web",
            "imageName": image,
            "state": "running",
            "status": "exited" if fails else "running",
            "serviceStatus": "error" if fails else "running",
            "containerId": f"c{self.number}-{self.containers}",
        } | ({"error": error} if fails else {})
        apps = {"7": {"appId": 7, "appName": "shop", "services": [told]}}
        await self.site.states.report(
            str(self.uuid), {"apps": apps, "version": version, "is_online": True, **more}
        )

    async def version(self):
        return (await self.site.states.standing(str(self.uuid))).target.version

    async def runs(self):
        target = (await self.site.states.standing(str(self.uuid))).target
        return target.content()["apps"]["7"]["services"][0]["config"]["image"]


class Site:
    """Everything."""

    def __init__(self, pool, **settings):
        self.pool, self.clock, self.heard, self.unwell = pool, Clock(), Heard(), Unwell()
        self.devices = DeviceService(pool, DeviceKeySettings(), clock=self.clock)
        self.states = StateService(pool, self.devices, clock=self.clock)
        self.around = Surroundings(
            announcer=self.heard, decisions=self.heard, health=(self.unwell,), sizes=self.heard
        )
        self.settings = RolloutSettings(**{"rollout_look_s": 0.05, **settings})
        self.rollouts = RolloutService(pool, self.around, self.settings, clock=self.clock)
        self.engine = self.new_engine()
        self._numbers = itertools.count(1)

    def new_engine(self):
        return RolloutEngine(self.pool, self.around, self.settings, clock=self.clock)

    def app(self):
        app = create_app(title="test", version="1", description="test", body_limit=10 * 1024 * 1024)
        addresses = ClientAddresses()
        install_gate(
            app, Gate(callers=Callers(), devices=None, addresses=addresses, attempts=FailedAttempts())
        )
        app.include_router(rollout_router(self.rollouts), prefix="/api/v1")
        return app

    async def device(self, *, fleet="hall-1", image="web:1", lives=True, **more) -> Device:
        number, uuid = next(self._numbers), uuid4()
        await self.pool.execute(
            "INSERT INTO fleet_devices (uuid, name, type, fleet_id) VALUES ($1, $2, 'gateway', $3)",
            uuid,
            f"press {number}",
            fleet,
        )
        await self.states.begin(self.pool, str(uuid))
        await self.states.set_target(str(uuid), content(image), by="test")
        await self.states.deploy(str(uuid), by="test")
        device = Device(self, uuid, number, **more)
        if lives:
            await device.live()
        return device

    async def fleet(self, count, **more):
        return [await self.device(**more) for _ in range(count)]

    async def make(self, devices, change=TO_TWO, **policy):
        selection = Selection(devices=tuple(one.uuid for one in devices))
        asked = Asked(
            name="a change",
            change=CHANGE.validate_python(change),
            selection=selection,
            policy=Policy.model_validate({**QUICK, **policy}),
        )
        return await self.rollouts.create(asked, by="test", scope=EVERYBODY)

    async def preview(self, devices, change=TO_TWO):
        selection = Selection(devices=tuple(one.uuid for one in devices))
        return await self.rollouts.preview(CHANGE.validate_python(change), selection, scope=EVERYBODY)

    async def look(self):
        """Look at whatever is due now, and say how often something was."""
        await self.pool.execute("UPDATE rollouts SET look_at = '-infinity' WHERE ended_at IS NULL")
        for _ in range(20):
            if not await self.engine.look_once():
                return

    async def turn(self, devices, times=1):
        """Let the loop and the devices take turns."""
        for _ in range(times):
            await self.look()
            for device in devices:
                await device.live()
        await self.look()

    async def states_of(self, rollout):
        rows = await self.pool.fetch(
            "SELECT state, count(*) AS count FROM rollout_parts WHERE rollout_id = $1 GROUP BY state",
            rollout.id,
        )
        return {row["state"]: row["count"] for row in rows}

    async def state(self, rollout):
        return (await self.rollouts.find(rollout.id))[0].state

    async def part(self, rollout, device):
        found = await self.rollouts.parts(rollout.id, states=[], after=None, limit=500)
        return next(part for part, _ in found if part.device_uuid == device.uuid)

    async def kinds(self, rollout):
        return [one.kind for one in await self.rollouts.events(rollout.id, after=0, limit=1000)]


def garbage() -> list:
    """Return reports that no device should send, and some do."""
    return [
        {"apps": "none", "version": "7"},
        {"apps": {"7": {"services": [None, 3, {"serviceId": {}}]}}, "version": 10**30},
        {"apps": {"": {"services": {}}}, "version": -1, "update": [1], "facts": "x"},
        {"version": 1.5, "update": {"version": 2, "seconds": [["start", 1, "x"], [], "y"], "steps": 5}},
        {"facts": {"images": [1, {}], "good": {"a": 1}, "locked": "7"}, "storage_total": "much"},
        json.loads(
            '{"apps": {"7": {"services": [{"serviceId": 3, "error": "no", "status": 5}]}}, "version": true}'
        ),
    ]
