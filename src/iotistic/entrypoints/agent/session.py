"""Everything that speaks with one cloud, from the device's provisioning to its leave-taking."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from iotistic.agent.anomalies.journal import Journal
from iotistic.agent.anomalies.telling import AnomalyTeller
from iotistic.agent.device_config import DeviceConfig, read_device_config
from iotistic.agent.jobs.facts import system_facts
from iotistic.agent.jobs.model import Around as JobAround
from iotistic.agent.jobs.roads import MqttReports as MqttJobReports
from iotistic.agent.jobs.roads import Roads
from iotistic.agent.jobs.runner import JobRunner
from iotistic.agent.link.cloud import Cloud
from iotistic.agent.link.following import Around, Followed, Follower
from iotistic.agent.link.job_calls import JobCalls
from iotistic.agent.link.log_calls import LogCalls
from iotistic.agent.link.mqtt import MqttLink
from iotistic.agent.link.pacing import Pace, seldom_while
from iotistic.agent.link.telling import Teller
from iotistic.agent.link.telling_mqtt import MqttReports
from iotistic.agent.link.transport import CloudTransport
from iotistic.agent.provisioning.certificate import CloudCertificates
from iotistic.agent.provisioning.keys import CloudKeys
from iotistic.agent.provisioning.model import address_of
from iotistic.agent.provisioning.renewal import CertificateKeeper
from iotistic.agent.provisioning.rotation import KeyRotator
from iotistic.agent.store.device import Identity
from iotistic.agent.store.snapshots import StoredTarget
from iotistic.agent.store.store import Store
from iotistic.entrypoints.agent.reports import DeviceReport
from iotistic.entrypoints.agent.settings import AgentProcessSettings
from iotistic.planning.model import Target

log = structlog.get_logger()

_clock, _chance = time.time, random.random


@dataclass
class Wishes:
    """What the cloud wishes of the agent itself, with whoever wants to know of a change."""

    config: DeviceConfig = field(default_factory=DeviceConfig)
    listeners: list[Callable[[DeviceConfig], None]] = field(
        default_factory=list[Callable[[DeviceConfig], None]]
    )

    def take(self, document: Mapping[str, Any]) -> None:
        """Take the wishes of a target document."""
        config, faults = read_device_config(document)
        if faults:
            log.warning("config.wish_refused", faults=[str(fault) for fault in faults])
        if config != self.config:
            self.config = config
            for listener in self.listeners:
                listener(config)


@dataclass(frozen=True)
class Device:
    """What a session needs of the rest of the agent. `declare` takes a target that is to be worked on."""

    store: Store
    settings: AgentProcessSettings
    link: MqttLink
    report: DeviceReport
    wishes: Wishes
    declare: Callable[[Target], None]
    metrics: Callable[[], Mapping[str, Any]]
    anomalies: Journal
    facts: Mapping[str, str] = field(default_factory=dict[str, str])
    identified: Callable[[Identity], None] = lambda _: None
    """Hears of the device when it is not as it was: a new certificate."""


class CloudSession:
    """Made by `open`; one cloud, one identity."""

    def __init__(
        self,
        device: Device,
        identity: Identity,
        cloud: Cloud,
        rotator: KeyRotator,
        certificates: CertificateKeeper,
        asking: CloudTransport,
    ) -> None:
        settings, uuid = device.settings, identity.uuid
        self._device, self._identity = device, identity
        self.cloud, self.rotator, self.certificates, self._asking = cloud, rotator, certificates, asking
        self.logs = LogCalls(cloud, uuid)
        self.follower = Follower(cloud, Pace(uuid, self._poll_pause()), self._around())
        self._reports = reports = MqttReports(device.link, cloud, uuid)
        self.teller = Teller(
            reports,
            Pace(uuid, self._report_s),
            state=device.report.state,
            metrics=device.metrics,
            clock=_clock,
            chance=_chance,
            metrics_every_s=self._metrics_s,
        )
        self._anomalies = AnomalyTeller(
            reports,
            device.anomalies,
            uuid,
            clock=_clock,
            chance=_chance,
            every_s=settings.anomaly_report_interval_ms / 1000,
        )
        self.jobs = self._make_jobs(JobCalls(uuid, cloud.ask))
        self._jobs_wanted = asyncio.Event()
        if settings.enable_cloud_jobs:
            self._jobs_wanted.set()

    @classmethod
    async def open(cls, device: Device, identity: Identity) -> "CloudSession":
        """Return a session that works on what was kept of this cloud. Raises StoreUnavailable."""
        address, budget = address_of(identity), device.link.budget
        asking = CloudTransport(address, budget)
        keys = CloudKeys(asking, identity.uuid)
        rotator = await KeyRotator.open(device.store, keys, clock=_clock, chance=_chance)
        cloud = Cloud(address, identity.uuid, rotator.api_key, budget, key_refused=rotator.refused)
        certificates = await CertificateKeeper.open(
            device.store,
            CloudCertificates(identity.uuid, cloud.ask),
            clock=_clock,
            chance=_chance,
            adopted=device.identified,
            makes_keys=device.settings.certificate_new_keys,
        )
        session = cls(device, identity, cloud, rotator, certificates, asking)
        session.follower.begin_with(_followed(await device.store.target.load()))
        return session

    async def run(self) -> None:
        """Speak with the cloud until cancelled."""
        wishes = self._device.wishes
        wishes.listeners.append(self._wished)
        self._wished(wishes.config)
        parts: tuple[Callable[[], Awaitable[None]], ...] = (
            self.follower.run,
            self.teller.run,
            self._anomalies.run,
            self.rotator.run,
            self.certificates.run,
            self._do_jobs,
        )
        try:
            async with asyncio.TaskGroup() as tasks:
                for part in parts:
                    tasks.create_task(_awaited(part))
        finally:
            wishes.listeners.remove(self._wished)
            await self.cloud.close()
            await self._asking.close()

    def wanted(self) -> Mapping[str, Any]:
        """Return the target document in force."""
        followed = self.follower.in_force
        return {} if followed is None else followed.document

    def etag(self) -> str:
        """Return the mark of the newest target that came."""
        followed = self.follower.in_force
        return "" if followed is None else followed.etag

    def disconnected(self) -> None:
        """Hear that the broker is gone, perhaps with a report that it had taken."""
        if self._reports.may_be_lost():
            self.teller.doubt()

    async def _do_jobs(self) -> None:
        """Do jobs while they are wanted: off unless the device's settings, or else the cloud, say so."""
        while True:
            await self._jobs_wanted.wait()
            working = asyncio.create_task(self.jobs.run())
            try:
                while self._jobs_wanted.is_set() and not working.done():
                    await asyncio.wait((working,), timeout=5)
                if working.done():
                    working.result()
            finally:
                working.cancel()
                await asyncio.gather(working, return_exceptions=True)

    def _wished(self, config: DeviceConfig) -> None:
        settings = self._device.settings
        is_said_here = "enable_cloud_jobs" in settings.model_fields_set
        wanted = settings.enable_cloud_jobs if is_said_here else config.jobs or False
        (self._jobs_wanted.set if wanted else self._jobs_wanted.clear)()

    def _make_jobs(self, calls: JobCalls) -> JobRunner:
        device, link, uuid = self._device, self._device.link, self._identity.uuid
        facts = {**system_facts(), **device.facts}
        around = JobAround(_clock, _chance, lambda: facts, announces=lambda: link.is_online)
        reports = Roads(MqttJobReports(uuid, link.publish), calls, lambda: link.is_online)
        return JobRunner(uuid, calls, device.store.metadata, device.settings, around, reports=reports)

    def _around(self) -> Around:
        return Around(_clock, _chance, self._declare, self._keep)

    def _declare(self, target: Target) -> None:
        self._device.wishes.take(self.wanted())
        self._device.declare(target)
        self.teller.changed()

    async def _keep(self, followed: Followed) -> None:
        version = followed.version if isinstance(followed.version, int) else 0
        await self._device.store.target.save(
            StoredTarget(followed.document, version, followed.etag, followed.faults, _clock())
        )

    def _poll_pause(self) -> Callable[[], float]:
        settings, link = self._device.settings, self._device.link
        return seldom_while(
            lambda: link.is_online,
            otherwise_s=settings.poll_interval_ms / 1000,
            seldom_s=max(settings.poll_interval_announced_ms, settings.poll_interval_ms) / 1000,
        )

    def _report_s(self) -> float:
        wished = self._device.wishes.config.report_interval_s
        return self._device.settings.report_interval_ms / 1000 if wished is None else wished

    def _metrics_s(self) -> float:
        wished = self._device.wishes.config.metrics_interval_s
        return self._device.settings.metrics_interval_ms / 1000 if wished is None else wished


def _followed(kept: StoredTarget | None) -> Followed | None:
    return None if kept is None else Followed(kept.document, kept.etag, kept.faults)


async def _awaited(part: Callable[[], Awaitable[None]]) -> None:
    await part()
