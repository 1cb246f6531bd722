"""The agent as one process: its parts put together, and run until it is told to stop.

    target file or cloud -> Operations -> Reconciler -> engine
    scenarios -> Publisher -> outbox -> Dispatcher -> MQTT
    machine, Publisher -> AnomalyWatch -> cloud, people
    containers, own log -> LogHub -> files, cloud

Until a target was declared nothing is touched: a device that lost its memory does not know what is to go.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from iotistic.agent.anomalies.sources import of_readings
from iotistic.agent.anomalies.watching import AnomalyWatch
from iotistic.agent.device_config import DeviceConfig
from iotistic.agent.link.announcements import Announcements
from iotistic.agent.link.broker import BrokerAddress
from iotistic.agent.link.connecting import Surroundings as LinkAround
from iotistic.agent.link.dispatch import Dispatcher
from iotistic.agent.link.errors import BrokerUnusable, CloudUnavailable
from iotistic.agent.link.moving import ADOPTED, BrokerMove, knock
from iotistic.agent.link.moving import Around as MoveAround
from iotistic.agent.link.mqtt import MqttLink
from iotistic.agent.local_api.key import LocalKey
from iotistic.agent.local_api.server import DeviceApi
from iotistic.agent.local_config.config import LocalConfig
from iotistic.agent.logs.collector import LogCollector
from iotistic.agent.logs.files import LogFiles
from iotistic.agent.logs.hub import LogHub
from iotistic.agent.logs.level import level_named
from iotistic.agent.logs.shipper import LogShipper
from iotistic.agent.logs.watched import Watched
from iotistic.agent.metrics.machine import Observer
from iotistic.agent.operations.operations import Operations
from iotistic.agent.provisioning.provisioner import Provisioner
from iotistic.agent.scenarios.scenarios import Scenarios
from iotistic.agent.sensors.publisher import Gathering, Publisher
from iotistic.agent.store.device import Identity
from iotistic.agent.updating.launching import launched
from iotistic.agent.updating.roads import CloudRoad
from iotistic.agent.updating.updater import Around as UpdateAround
from iotistic.agent.updating.updater import Updater
from iotistic.entrypoints.agent.anomalies import MachineLook, heed_settings
from iotistic.entrypoints.agent.assembly import Agent
from iotistic.entrypoints.agent.faces import api_parts, concerned
from iotistic.entrypoints.agent.reports import DeviceReport
from iotistic.entrypoints.agent.session import CloudSession, Device, Wishes
from iotistic.entrypoints.agent.settings import AgentProcessSettings
from iotistic.entrypoints.catalogue import version
from iotistic.planning.model import Target
from iotistic.planning.target import read_target

_clock, _chance = time.time, random.random
Part = Callable[[], Awaitable[None]]
_MOST_FAULTS = 20
T = TypeVar("T")


@dataclass(frozen=True)
class Opened:
    """What had to be read from disk first."""

    agent: Agent
    identity: Identity
    config: LocalConfig
    provisioner: Provisioner
    operations: Operations
    key: LocalKey
    watch: AnomalyWatch
    broker: Mapping[str, Any] | None
    """The broker in use, where it is not that of the registration."""


class AgentProcess:
    """One agent. `follows_cloud` is False when a file says what is wanted; made by `opening.open_process`."""

    def __init__(
        self,
        settings: AgentProcessSettings,
        opened: Opened,
        data: Path,
        hub: LogHub,
        *,
        follows_cloud: bool,
        restart: Callable[[], None] | None,
    ) -> None:
        self.settings, self.agent, self.identity = settings, opened.agent, opened.identity
        self.config, self.provisioner, self.operations = opened.config, opened.provisioner, opened.operations
        self.hub, self.follows_cloud, self.restart, self.watch = hub, follows_cloud, restart, opened.watch
        self.wishes = Wishes()
        self.session: CloudSession | None = None
        self._declared, self._leaving = asyncio.Event(), asyncio.Event()
        self._speaking, self._leavers = asyncio.Lock(), 0
        self.file_fault = ""
        """Why the file with the target, as it stands now, is not worked on."""
        self.link = MqttLink(self.broker, None, LinkAround(spread_s=settings.mqtt_reconnect_spread_s))
        self.move_broker = self._broker_move(opened.broker)
        self.dispatcher = Dispatcher(self.agent.store.outbox, self.link, self.identity.uuid)
        self.publisher = self._publisher()
        self.scenarios = Scenarios(
            settings.simulation, self.identity.uuid, publish=self.publisher.publish, clock=_clock
        )
        self.watch.look = MachineLook(data, self.scenarios.disturb, self.link.round_trips.take, _clock)
        self.observer = Observer(data)
        self.report = self._device_report()
        self.shipper = LogShipper(self, settings.shipping, clock=_clock, chance=_chance)
        self._collector = self._log_collector()
        self._files = LogFiles(settings.log_dir or data / "logs", max_bytes=settings.max_log_file_size)
        self.updater = self._updater(data)
        self._announcements = Announcements(self.link, self.identity.uuid, concerned(self))
        self.api = DeviceApi(api_parts(self), opened.key, settings.policy, settings.device_api_port)
        self._listen()

    def _broker_move(self, broker: Mapping[str, Any] | None) -> BrokerMove:
        around = MoveAround(
            identity=lambda: self.identity,
            own=self.settings.own_broker,
            keep=partial(self.agent.store.metadata.put, ADOPTED),
            renew=self.link.renew,
            is_at=self.link.is_at,
            knock=knock,
        )
        return BrokerMove(around, broker)

    def _publisher(self) -> Publisher:
        return Publisher(
            self._append,
            self.identity.uuid,
            _clock,
            _gathering(self.settings),
            heard=lambda sensor, readings: self.watch.feed(of_readings(sensor, readings)),
        )

    def _device_report(self) -> DeviceReport:
        agent = self.agent
        return DeviceReport(
            agent.reconciler,
            agent.record,
            self.observer,
            self.wanted,
            self.watch.report,
            collect_processes=self.settings.collect_top_processes,
            chronicle=agent.chronicle,
            engine=agent.engine,
            facts=agent.facts,
        )

    def _log_collector(self) -> LogCollector:
        return LogCollector(
            self.agent.engine,
            Watched(self.agent.reconciler),
            self.hub.add,
            _clock,
            memory=self.agent.store.metadata,
            most_age_s=self.settings.log_max_age / 1000,
        )

    def _updater(self, data: Path) -> Updater:
        road = CloudRoad(
            lambda: self.identity.uuid,
            self.link,
            lambda: None if self.session is None else self.session.cloud.ask,
        )
        around = UpdateAround(
            data=data,
            running=launched() or version(),
            road=road,
            clock=_clock,
            look=self.agent.engine.observe,
            restart=self.restart,
        )
        return Updater(self.settings, around)

    def _listen(self) -> None:
        """Have every part hear what concerns it."""
        self.link.on(f"iot/device/{self.identity.uuid}/jobs/+/update/accepted", self._hear_job)
        self.hub.listen(self.shipper.take)
        self.hub.listen(self._files.take)
        heed_settings(self.config, self.settings, self.watch)
        if self.follows_cloud:
            self.config.listen("CLOUD_API_ENDPOINT", self.move)
        self.wishes.listeners.append(self._wished)
        self._wished(self.wishes.config)

    def declare(self, target: Target) -> None:
        """Take a target; the first one lets the reconciler begin."""
        self.operations.declare(target)
        self._declared.set()

    async def run(self) -> None:
        """Work until cancelled; a part that fails ends all, so that whoever started the agent hears of it."""
        parts: list[Part] = [
            self._reconcile,
            self.operations.run,
            self.api.run,
            self.link.run,
            self._announcements.run,
            self.dispatcher.run,
            self.publisher.run,
            self.scenarios.run,
            self.watch.run,
            self._collector.run,
            self.shipper.run,
            self._files.run,
        ]
        if self.follows_cloud:
            await self._begin_with_kept()
            parts += [self.provisioner.run, self._follow_cloud, self.updater.run, self.move_broker.run]
        async with asyncio.TaskGroup() as tasks:
            for part in parts:
                tasks.create_task(_awaited(part))

    async def send_logs(self, lines: bytes, *, is_gzip: bool) -> None:
        """Send lines to the cloud that there is. Raises CloudUnavailable and the errors of the link."""
        if self.session is None:
            raise CloudUnavailable("the device belongs to no cloud")
        await self.session.logs.send_logs(lines, is_gzip=is_gzip)

    def broker(self) -> BrokerAddress | None:
        """Return the broker that the device is to speak to now. Raises BrokerUnusable."""
        return self.move_broker.address()

    def noticed(self) -> None:
        """Hear that something on the device changed."""
        self._collector.look()
        if self.session is not None:
            self.session.teller.changed()

    def refused(self) -> list[str]:
        """Return what is wrong with the newest target, in a file or from the cloud; nothing when it is in force."""
        faults = [] if self.session is None else [str(fault) for fault in self.session.follower.faults]
        return [*([self.file_fault] if self.file_fault else []), *faults[:_MOST_FAULTS]]

    def wanted(self) -> Mapping[str, Any]:
        """Return the target document in force."""
        return {} if self.session is None else self.session.wanted()

    def _hear_job(self, topic: str, payload: bytes) -> None:
        if self.session is not None:
            self.session.jobs.hear(topic, payload)

    async def _append(self, letters: Any) -> object:
        if not self.settings.enable_sensor_publish or self.wishes.config.sensor_publish is False:
            return None
        return await self.dispatcher.append(letters)

    async def _reconcile(self) -> None:
        await self._declared.wait()
        await self.agent.reconciler.run()

    async def _begin_with_kept(self) -> None:
        """Work on what was wanted last, also without a cloud: leaving a fleet stops no service."""
        kept = await self.agent.store.target.load()
        if kept is not None:
            target, faults = read_target(kept.document)
            if not faults:
                self.declare(target)

    async def move(self, api_endpoint: object) -> None:
        """Speak with the cloud under another address. Raises RequestInvalid."""
        if api_endpoint:
            await self.leave(lambda: self.provisioner.move(str(api_endpoint)))

    async def leave(self, take_leave: Callable[[], Awaitable[T]]) -> T:
        """Take leave of the cloud once nothing speaks with it any more: a key renewed meanwhile would stay behind."""
        self._leavers += 1
        self._leaving.set()
        try:
            async with self._speaking:
                try:
                    return await take_leave()
                finally:
                    self._identified(await self.agent.store.device.load())
        finally:  # also for one who gives up waiting: nobody could speak any more
            self._leavers -= 1
            if not self._leavers:
                self._leaving.clear()

    async def _follow_cloud(self) -> None:
        while True:
            self._identified(await self.provisioner.until(provisioned=True))
            async with self._speaking:
                if self.provisioner.status().provisioned:
                    await self._speak_until_left()

    async def _speak_until_left(self) -> None:
        speaking = asyncio.create_task(self._speak())
        leaving = asyncio.create_task(self._leaving.wait())
        try:
            await asyncio.wait((speaking, leaving), return_when=asyncio.FIRST_COMPLETED)
            if speaking.done():
                speaking.result()
        finally:
            for task in (speaking, leaving):
                task.cancel()
            await asyncio.gather(speaking, leaving, return_exceptions=True)

    async def _speak(self) -> None:
        device = Device(
            self.agent.store,
            self.settings,
            self.link,
            self.report,
            self.wishes,
            self.declare,
            lambda: self.scenarios.disturb(self.report.metrics()),
            self.watch.journal,
            {"deviceType": self.identity.device_type, "agentVersion": version()},
            self._identified,
        )
        self.session = await CloudSession.open(device, self.identity)
        self.updater.ask_now()
        self._wished(self.wishes.config)
        try:
            await self.session.run()
        finally:
            self.session = None
            self._wished(self.wishes.config)

    def _identified(self, identity: Identity) -> None:
        self.identity = identity
        self.link.renew()

    def _wished(self, config: DeviceConfig) -> None:
        shipping = self.settings.shipping
        wanted = shipping.is_enabled if config.remote_logging is None else config.remote_logging
        if (level := level_named(config.log_level or "")) is not None:
            shipping = replace(shipping, lowest=level)
        self.shipper.shipping = replace(shipping, is_enabled=wanted and self.session is not None)
        if self.session is not None:
            self.move_broker.wish(config.broker)
        in_files = self.settings.keeps_log_files if config.log_files is None else config.log_files
        self._files.is_enabled = in_files
        self.watch.configure(cloud=config.anomalies, ca_pem=self._trusted_ca())

    def _trusted_ca(self) -> str:
        """Return the CA (PEM) that signs what the cloud ships: the broker's, empty while there is none."""
        with contextlib.suppress(BrokerUnusable):
            address = self.broker()
            return "" if address is None else address.ca_pem
        return ""


def _gathering(settings: AgentProcessSettings) -> Gathering:
    return Gathering(
        settings.sensor_batch_messages, settings.sensor_batch_ms / 1000, settings.sensor_buffer_bytes
    )


async def _awaited(part: Part) -> None:
    await part()
