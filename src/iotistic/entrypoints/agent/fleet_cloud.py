"""What connects the agents of a fleet with a cloud: each becomes known to it, follows its target, tells its state."""

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from iotistic.agent.link.announcements import Concerned
from iotistic.agent.link.cloud import Cloud
from iotistic.agent.link.following import Around, Followed, Follower
from iotistic.agent.link.pacing import Pace, seldom_while
from iotistic.agent.link.telling import ReportSink, Teller
from iotistic.agent.link.telling_mqtt import MqttReports
from iotistic.agent.provisioning.model import ProvisioningRequest, ProvisioningStatus, address_of
from iotistic.agent.provisioning.provisioner import Around as ProvisioningAround
from iotistic.agent.provisioning.provisioner import Provisioner
from iotistic.agent.reporting.chronicle import describe_facts
from iotistic.agent.reporting.services import describe_apps
from iotistic.agent.store.device import Identity
from iotistic.agent.store.snapshots import StoredTarget
from iotistic.entrypoints.agent.assembly import Agent
from iotistic.entrypoints.agent.fleet_mqtt import MqttLine, MqttPlan
from iotistic.planning.model import Target


@dataclass(frozen=True)
class FleetCloud:
    """Which cloud, and by which right. Times in seconds."""

    request: ProvisioningRequest
    poll_every_s: float = 60.0
    report_every_s: float = 60.0
    mqtt: MqttPlan | None = None
    """Without it all of them poll, and report over HTTP."""


class CloudLine:
    """One agent's way to the cloud. Everything of an agent's link but logs and jobs."""

    def __init__(self, cloud: FleetCloud, agent: Agent, number: int) -> None:
        self._plan, self._agent, self._number = cloud, agent, number
        self._provisioner: Provisioner | None = None
        self._follower: Follower | None = None
        self._teller: Teller | None = None
        self._reports: MqttReports | None = None
        self._declared = asyncio.Event()
        self.mqtt: MqttLine | None = None
        """Its connection to the broker, once it is known to the cloud; of those that have one."""

    @property
    def status(self) -> ProvisioningStatus | None:
        """How provisioning stands, None before it began."""
        return None if self._provisioner is None else self._provisioner.status()

    @property
    def has_target(self) -> bool:
        """Whether the device works on what the cloud wants."""
        return self._declared.is_set()

    async def until_target(self) -> None:
        """Return as soon as it does: without a target, nothing on a device is to be changed."""
        await self._declared.wait()

    def noticed(self) -> None:
        """Hear that something on the device changed."""
        if self._teller is not None:
            self._teller.changed()

    async def run(self) -> None:
        """Connect until cancelled. Raises RequestInvalid."""
        around = ProvisioningAround(time.time, random.random)
        self._provisioner = await Provisioner.open(self._agent.store, around)
        name = self._plan.request.device_name or "simulated"
        await self._provisioner.begin_with(
            replace(self._plan.request, device_name=f"{name}-{self._number:05}")
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._provisioner.run())
            tasks.create_task(self._talk(await self._provisioner.until(provisioned=True)))

    async def _talk(self, identity: Identity) -> None:
        cloud = Cloud(address_of(identity), identity.uuid, lambda: identity.device_api_key)
        self.mqtt = self._connection(identity)
        self._follower = self._following(cloud, identity.uuid)
        self._follower.begin_with(await self._kept())
        sink: ReportSink = cloud
        if self.mqtt is not None:
            sink = self._reports = MqttReports(self.mqtt.link, cloud, identity.uuid)
        self._teller = self._telling(sink, identity.uuid)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._follower.run())
                tasks.create_task(self._teller.run())
                if self.mqtt is not None:
                    tasks.create_task(self.mqtt.run())
        finally:
            await cloud.close()

    def _connection(self, identity: Identity) -> MqttLine | None:
        plan = self._plan.mqtt
        if plan is None or self._number % plan.every:
            return None
        concerned = Concerned(self._ask_for_target, etag=self._etag, disconnected=self._disconnected)
        return MqttLine(plan, identity, concerned)

    def _ask_for_target(self) -> None:
        if self._follower is not None:
            self._follower.ask_now()

    def _etag(self) -> str:
        followed = self._follower.in_force if self._follower else None
        return "" if followed is None else followed.etag

    def _disconnected(self) -> None:
        if self._teller is not None and self._reports is not None and self._reports.may_be_lost():
            self._teller.doubt()

    def _following(self, cloud: Cloud, uuid: str) -> Follower:
        around = Around(time.time, random.random, self._declare, self._keep)
        return Follower(cloud, Pace(uuid, self._poll_every()), around)

    def _poll_every(self) -> float | Callable[[], float]:
        if self.mqtt is None or self._plan.mqtt is None:
            return self._plan.poll_every_s
        link = self.mqtt.link
        seldom_s = max(self._plan.mqtt.poll_every_s, self._plan.poll_every_s)
        return seldom_while(lambda: link.is_online, otherwise_s=self._plan.poll_every_s, seldom_s=seldom_s)

    def _telling(self, sink: ReportSink, uuid: str) -> Teller:
        return Teller(
            sink,
            Pace(f"{uuid} report", self._plan.report_every_s),
            state=self._state,
            metrics=dict[str, Any],
            clock=time.time,
            chance=random.random,
        )

    def _state(self) -> Mapping[str, Any]:
        agent, in_force = self._agent, self._follower.in_force if self._follower else None
        facts, standing = agent.facts(), agent.reconciler.standing
        version = in_force.version if in_force else 0
        return {
            "apps": describe_apps(agent.reconciler.target, standing.current, facts),
            "is_online": True,
            "version": version,
            "update": agent.chronicle.describe(version, facts, settled=agent.reconciler.is_settled),
            "facts": describe_facts(agent.engine, facts),
        }

    def _declare(self, target: Target) -> None:
        self._agent.reconciler.declare(target)
        if self.mqtt is not None:
            self.mqtt.declared(self._etag())
        self._declared.set()
        self.noticed()

    async def _kept(self) -> Followed | None:
        kept = await self._agent.store.target.load()
        return None if kept is None or kept.faults else Followed(kept.document, kept.etag)

    async def _keep(self, followed: Followed) -> None:
        version = followed.version if isinstance(followed.version, int) else 0
        await self._agent.store.target.save(
            StoredTarget(followed.document, version, followed.etag, received_at=time.time())
        )
