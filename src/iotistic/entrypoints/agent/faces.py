"""The agent as others see it: people through the device API, the cloud through its announcements."""

import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from iotistic.agent.jobs.model import JobExecution
from iotistic.agent.link.announcements import Concerned
from iotistic.agent.link.moving import ADOPTED
from iotistic.agent.local_api.host import SystemHost
from iotistic.agent.local_api.ports import Parts
from iotistic.agent.local_api.problems import NotPossible
from iotistic.agent.provisioning.model import Farewell, ProvisioningRequest, ProvisioningStatus
from iotistic.agent.provisioning.provisioner import Provisioner
from iotistic.agent.store.errors import StoreUnavailable
from iotistic.agent.store.snapshots import StoredTarget
from iotistic.contracts.provisioning.fields import write_time
from iotistic.entrypoints.catalogue import version
from iotistic.planning.target import read_target

if TYPE_CHECKING:
    from iotistic.entrypoints.agent.process import AgentProcess
    from iotistic.entrypoints.agent.session import CloudSession

Document = Mapping[str, Any]

_NOTHING: Document = {"apps": {}, "options": {"keepVolumes": False, "force": True}}
"""What a device is to be after a factory reset."""


@dataclass(frozen=True)
class DeviceProvisioning:
    """Into a fleet and out of it."""

    process: "AgentProcess"

    @property
    def _provisioner(self) -> Provisioner:
        return self.process.provisioner

    def status(self) -> ProvisioningStatus:
        """Return how far the device is."""
        return self._provisioner.status()

    async def provision(self, request: ProvisioningRequest) -> ProvisioningStatus:
        """Bring the device into a fleet. Raises NotPossible, and what the provisioner raises."""
        if not self.process.follows_cloud:
            raise NotPossible(
                "this agent was started with a file that says what is wanted",
                hint="start it with `iotistic agent run` and no file",
            )
        ca_pem = request.ca_pem or self.process.settings.cloud_ca
        return await self._provisioner.provision(replace(request, ca_pem=ca_pem))

    async def deprovision(self) -> Farewell:
        """Leave the fleet. Services go on as they are."""
        return await self.process.leave(self._deprovision)

    async def factory_reset(self) -> Farewell:
        """Leave the fleet, forget everything, and remove every service with its data."""
        farewell = await self.process.leave(self._reset)
        self.process.declare(read_target(_NOTHING).target)
        return farewell

    async def _deprovision(self) -> Farewell:
        await self._forget_broker()
        await self.process.agent.store.target.disown()
        return await self._provisioner.deprovision()

    async def _reset(self) -> Farewell:
        farewell = await self._provisioner.factory_reset()
        await self._forget_broker()
        self.process.wishes.take({})
        self.process.watch.forget()
        with contextlib.suppress(StoreUnavailable):  # for an agent that ends before everything is gone
            await self.process.agent.store.target.save(StoredTarget(_NOTHING))
        return farewell

    async def _forget_broker(self) -> None:
        self.process.move_broker.forget()
        with contextlib.suppress(StoreUnavailable):
            await self.process.agent.store.metadata.put(ADOPTED, None)


def api_parts(process: "AgentProcess") -> Parts:
    """Return what the device API is made of."""
    return Parts(
        operations=process.operations,
        loop=process.agent.reconciler,
        facts=process.agent.facts,
        config=process.config,
        version=version(),
        engine=process.agent.engine.name,
        provisioning=DeviceProvisioning(process),
        logs=process.hub,
        simulation=process.scenarios,
        anomalies=process.watch,
        host=SystemHost(process.restart),
        machine=process.observer.look,
        jobs=lambda: _jobs(process),
        refused=process.refused,
        diagnoses={
            "cloud": lambda: _diagnose_cloud(process),
            "mqtt": lambda: _diagnose_mqtt(process),
            "anomalies": process.watch.status,
            "update": process.updater.status,
            "sensors": lambda: asdict(process.publisher.counts),
        },
    )


def concerned(process: "AgentProcess") -> Concerned:
    """Return whom announcements of the cloud concern: the session that there is, if there is one."""

    def told(tell: "Callable[[CloudSession], None]") -> Callable[[], None]:
        return lambda: None if process.session is None else tell(process.session)

    def job(document: Document) -> None:
        if process.session is not None:
            process.session.jobs.notify(document)

    def rotate_key(document: Document) -> None:
        if process.session is not None:
            process.session.rotator.notice(json.dumps(document).encode())

    return Concerned(
        told(lambda session: session.follower.ask_now()),
        etag=lambda: "" if process.session is None else process.session.etag(),
        update=process.updater.notice,
        job=job,
        rotate_key=rotate_key,
        reconnected=told(lambda session: session.jobs.ask_now()),
        disconnected=told(lambda session: session.disconnected()),
    )


def _jobs(process: "AgentProcess") -> list[JobExecution]:
    return [] if process.session is None else process.session.jobs.recent()


def _diagnose_cloud(process: "AgentProcess") -> Document:
    session = process.session
    if session is None:
        return {"reach": "none", "state": str(process.provisioner.status().state)}
    until = session.certificates.until
    return {
        "reach": str(session.follower.reach),
        "version": session.wanted().get("version"),
        "certificate_until": None if until is None else write_time(until),
        "faults": [str(fault) for fault in session.follower.faults],
    }


def _diagnose_mqtt(process: "AgentProcess") -> Document:
    budget = process.link.budget
    return {
        "online": process.link.is_online,
        "sent_bytes": {str(purpose): count for purpose, count in budget.sent.items()},
        "received_bytes": {str(purpose): count for purpose, count in budget.received.items()},
        "put_off_topics": process.dispatcher.put_off,
        "not_moved": process.move_broker.fault,
    }
