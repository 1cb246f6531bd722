"""The agent as others see it: people through the device API, the cloud through its announcements."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from iotistic.agent.link.announcements import Concerned
from iotistic.agent.local_api.host import SystemHost
from iotistic.agent.local_api.ports import Parts
from iotistic.agent.provisioning.model import Farewell, ProvisioningRequest, ProvisioningStatus
from iotistic.agent.provisioning.provisioner import Provisioner
from iotistic.entrypoints.catalogue import version
from iotistic.planning.model import Options, Target

if TYPE_CHECKING:
    from iotistic.entrypoints.agent.process import AgentProcess

Document = Mapping[str, Any]


@dataclass(frozen=True)
class DeviceProvisioning:
    """Into a fleet and out of it. `ca_pem` is what a cloud is checked against when nobody says more."""

    provisioner: Provisioner
    ca_pem: str
    declare: Callable[[Target], None]

    def status(self) -> ProvisioningStatus:
        """Return how far the device is."""
        return self.provisioner.status()

    async def provision(self, request: ProvisioningRequest) -> ProvisioningStatus:
        """Bring the device into a fleet."""
        return await self.provisioner.provision(replace(request, ca_pem=request.ca_pem or self.ca_pem))

    async def deprovision(self) -> Farewell:
        """Leave the fleet. Services go on as they are."""
        return await self.provisioner.deprovision()

    async def factory_reset(self) -> Farewell:
        """Leave the fleet, forget everything, and remove every service with its data."""
        farewell = await self.provisioner.factory_reset()
        self.declare(Target(options=Options(keep_volumes=False)))
        return farewell


def api_parts(process: "AgentProcess") -> Parts:
    """Return what the device API is made of."""
    provisioning = DeviceProvisioning(process.provisioner, process.settings.cloud_ca, process.declare)
    return Parts(
        operations=process.operations,
        loop=process.agent.reconciler,
        facts=process.agent.facts,
        config=process.config,
        version=version(),
        engine=process.agent.engine.name,
        provisioning=provisioning if process.follows_cloud else None,
        logs=process.hub,
        simulation=process.scenarios,
        host=SystemHost(process.restart),
        machine=process.observer.look,
        jobs=lambda: _jobs(process),
        diagnoses={
            "cloud": lambda: _diagnose_cloud(process),
            "mqtt": lambda: _diagnose_mqtt(process),
            "sensors": lambda: asdict(process.publisher.counts),
        },
    )


def concerned(process: "AgentProcess") -> Concerned:
    """Return whom announcements of the cloud concern: the session that there is, if there is one."""

    def ask_for_target() -> None:
        if process.session is not None:
            process.session.follower.ask_now()

    def job(document: Document) -> None:
        if process.session is not None:
            process.session.jobs.notify(document)

    def rotate_key(document: Document) -> None:
        if process.session is not None:
            process.session.rotator.notice(json.dumps(document).encode())

    def reconnected() -> None:
        if process.session is not None:
            process.session.jobs.ask_now()

    return Concerned(
        ask_for_target,
        etag=lambda: "" if process.session is None else process.session.etag(),
        job=job,
        rotate_key=rotate_key,
        reconnected=reconnected,
    )


def _jobs(process: "AgentProcess") -> list[Document]:
    return [] if process.session is None else [asdict(one) for one in process.session.jobs.recent()]


def _diagnose_cloud(process: "AgentProcess") -> Document:
    session = process.session
    if session is None:
        return {"reach": "none", "state": str(process.provisioner.status().state)}
    return {
        "reach": str(session.follower.reach),
        "version": session.wanted().get("version"),
        "faults": [str(fault) for fault in session.follower.faults],
    }


def _diagnose_mqtt(process: "AgentProcess") -> Document:
    budget = process.link.budget
    return {
        "online": process.link.is_online,
        "sent_bytes": {str(purpose): count for purpose, count in budget.sent.items()},
        "received_bytes": {str(purpose): count for purpose, count in budget.received.items()},
        "put_off_topics": process.dispatcher.put_off,
    }
