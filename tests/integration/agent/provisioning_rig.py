"""A device with a real disk, before a cloud that is the double: over real HTTP."""

import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.integration.agent.cloud_double import CloudDouble
from tests.integration.agent.double_provisioning import PROVISIONING_KEY, ProvisioningDouble

from iotistic.agent.link.transport import CloudTransport
from iotistic.agent.provisioning.model import DeviceFacts, ProvisioningRequest
from iotistic.agent.provisioning.provisioner import Around, Provisioner
from iotistic.agent.store.database import Database
from iotistic.agent.store.store import Store


@dataclass
class Clock:
    """A time that stands until it is moved."""

    now: float = field(default_factory=time.time)

    def __call__(self) -> float:
        return self.now


@dataclass
class Rig:
    """A cloud that runs, and where the device's disk is."""

    cloud: ProvisioningDouble
    url: str
    folder: Path
    clock: Clock = field(default_factory=Clock)

    @contextlib.asynccontextmanager
    async def device(self) -> AsyncIterator[tuple[Store, Provisioner]]:
        """The device, started anew on its disk."""
        store = await Store.open(self.folder / "agent.sqlite")
        try:
            around = Around(self.clock, lambda: 0.5, DeviceFacts("aa:bb:cc:dd:ee:ff", "Debian 12", "1.2.3"))
            yield store, await Provisioner.open(store, around)
        finally:
            await store.close()

    def request(self, **values: str) -> ProvisioningRequest:
        given = {
            "provisioning_key": PROVISIONING_KEY,
            "api_endpoint": self.url,
            "device_name": "gate",
            **values,
        }
        return ProvisioningRequest(**given)


@contextlib.asynccontextmanager
async def rigged(folder: Path, cloud: ProvisioningDouble | None = None) -> AsyncIterator[Rig]:
    cloud = cloud or ProvisioningDouble()
    async with CloudDouble(extra=(cloud.add,)).running() as double:
        rig = Rig(cloud, double.url, folder)
        cloud.clock = rig.clock
        yield rig


class PowerCut(BaseException):
    """The end of this life."""


class Fuse:
    """Blows before or after one of the things that a device does: writes to its disk, and requests."""

    def __init__(self, monkeypatch, *, at, after):
        self.count, self.at, self.after = 0, at, after
        for owner, name in ((Database, "run"), (CloudTransport, "ask")):
            self._through(monkeypatch, owner, name)

    def _through(self, monkeypatch, owner, name):
        original = getattr(owner, name)

        async def step(*args, **kwargs):
            self.count += 1
            blows = self.count == self.at
            if blows and not self.after:
                raise PowerCut
            result = await original(*args, **kwargs)
            if blows:
                raise PowerCut
            return result

        monkeypatch.setattr(owner, name, step)
