"""A device with a real disk, before a cloud that is the double: over real HTTP."""

import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.integration.agent.cloud_double import CloudDouble
from tests.integration.agent.double_provisioning import PROVISIONING_KEY, ProvisioningDouble

from iotistic.agent.provisioning.model import DeviceFacts, ProvisioningRequest
from iotistic.agent.provisioning.provisioner import Around, Provisioner
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
