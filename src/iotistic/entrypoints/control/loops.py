"""The background work of the control plane, as parts that run until they are stopped.

Every one is safe in several processes and after `kill -9`: what is due is in the database, and taken under a lock.
"""

import asyncio
import os
from socket import gethostname
from typing import Protocol

from iotistic.control.agentupdates.keeper import AgentUpdateKeeper
from iotistic.control.agentupdates.messages import OrderTeller, UpdateStatuses
from iotistic.control.alerts.courier import Courier, Senders
from iotistic.control.alerts.keeper import AlertKeeper
from iotistic.control.alerts.mail import MailSender
from iotistic.control.alerts.sources import Sources
from iotistic.control.alerts.webhook import WebhookSender
from iotistic.control.audit.keeper import AuditKeeper
from iotistic.control.broker.desk import keeper_loops, observer_loop
from iotistic.control.history.keeper import HistoryKeeper
from iotistic.control.jobs.delivery import DeviceJobs
from iotistic.control.jobs.keeper import JobKeeper
from iotistic.control.jobs.messages import Announcer, JobUpdates
from iotistic.control.presence.keeper import PresenceKeeper
from iotistic.control.presence.listening import SessionListener
from iotistic.control.rollouts.engine import RolloutEngine
from iotistic.control.states.inbox import FILTERS, StateInbox
from iotistic.control.states.reminding import TargetReminder
from iotistic.control.upkeep.keeper import UpkeepKeeper
from iotistic.entrypoints.control.anomalies import anomaly_loops
from iotistic.entrypoints.control.bridges import LogLines
from iotistic.entrypoints.control.rooms import ControlPlane
from iotistic.entrypoints.control.upkeep import Keepers, upkeep_tasks
from iotistic.kernel.mosquitto.control import BrokerControl, ServiceAccess
from iotistic.kernel.mqtt.bulk import BulkSubscriber
from iotistic.kernel.mqtt.bulk_login import BulkOptions
from iotistic.kernel.mqtt.client import MqttClient
from iotistic.kernel.mqtt.settings import MqttSettings


class Loop(Protocol):
    """A background part."""

    async def run(self) -> None:
        """Work until `stop` is called."""
        ...

    def stop(self) -> None:
        """Take up no further work."""
        ...


def alert_sources(control: ControlPlane) -> Sources:
    """Return what rules may ask of other rooms."""
    return Sources(tags=control.tagged, logs=LogLines(control.ground.pool), presence=control.seen)


def serving_loops(control: ControlPlane) -> tuple[Loop, ...]:
    """Return what runs in every process that serves the API."""
    presence = PresenceKeeper(control.presence, control.ground.settings, forgets=False)
    return (*control.broker.loops, presence)


def working_loops(
    control: ControlPlane, mqtt: MqttSettings, *, broker: type[BrokerControl] = BrokerControl
) -> tuple[Loop, ...]:
    """Return what the control process does; several such processes share the work.

    `broker` is how our own broker is reached: WatchedBroker where it runs in another container.
    """
    ground = control.ground
    pool, settings, clock = ground.pool, ground.settings, ground.clock
    announcer = Announcer(pool, ground.publisher, clock=clock)
    reports = DeviceJobs(pool, settings, clock=clock)
    senders = Senders(WebhookSender(settings), MailSender(settings))
    schedules = control.jobs.schedules
    keepers = Keepers(
        alerts=AlertKeeper(pool, settings, alert_sources(control), forgets=False, clock=clock),
        audit=AuditKeeper(pool, settings, keeps=False, clock=clock),
        history=HistoryKeeper(pool, settings, keeps=False, clock=clock),
        jobs=JobKeeper(pool, settings, schedules, clock=clock, announcer=announcer, forgets=False),
    )
    return (
        PresenceKeeper(control.presence, settings, forgets=False),
        SessionListener(pool, control.presence, mqtt),
        control.broker.announcer,
        keepers.jobs,
        Inbox(JobUpdates(reports, ground.publisher, clock=clock), mqtt, name="jobs"),
        Inbox(UpdateStatuses(control.agent_updates), mqtt, name="agent-updates"),
        AgentUpdateKeeper(pool, OrderTeller(pool, ground.publisher, clock=clock), settings, clock=clock),
        StateInbox(pool, BulkSubscriber(_inbox_options(mqtt)), control.states),
        TargetReminder(pool, control.broker.announcer, clock=clock),
        RolloutEngine(pool, control.rollout_around, settings, clock=clock),
        keepers.alerts,
        Courier(pool, senders, settings, clock=clock),
        *anomaly_loops(control),
        keepers.audit,
        keepers.history,
        UpkeepKeeper(pool, upkeep_tasks(control, keepers), settings, clock=clock),
        observer_loop(pool, mqtt, settings),
        *_managed_broker(control, mqtt, broker),
    )


def _managed_broker(
    control: ControlPlane, mqtt: MqttSettings, broker: type[BrokerControl]
) -> tuple[Loop, ...]:
    """Return what keeps the accounts of our own broker; one named by MQTT_BROKER_URL asks us over HTTP."""
    if mqtt.mqtt_broker_url is not None:
        return ()
    host, port = mqtt.mqtt_address
    password = mqtt.mqtt_service_password.get_secret_value()
    access = ServiceAccess(host, port, mqtt.mqtt_service_username, password)
    ground = control.ground
    return keeper_loops(ground.pool, broker(ground.home, access), control.offer, ground.settings)


def _inbox_options(mqtt: MqttSettings) -> BulkOptions:
    host, port = mqtt.mqtt_address
    return BulkOptions(
        host=host,
        port=port,
        client_id="iotistic-states",
        filters=FILTERS,
        username=mqtt.mqtt_service_username,
        password=mqtt.mqtt_service_password.get_secret_value(),
        tls=mqtt.mqtt_tls(),
    )


class Heard(Protocol):
    """Who hears what devices say."""

    async def run(self, link: MqttClient) -> None:
        """Listen until cancelled."""
        ...


class Inbox:
    """Hears what devices say of one thing, over a connection of its own."""

    def __init__(self, heard: Heard, mqtt: MqttSettings, *, name: str) -> None:
        self._heard = heard
        self._client = MqttClient(mqtt, client_id=f"iotistic-{name}-{gethostname()}-{os.getpid()}")
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Hear until `stop` is called."""
        first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        first.add_done_callback(lambda done: done.cancelled() or done.exception())
        tasks = [
            asyncio.create_task(self._client.run(first)),
            asyncio.create_task(self._heard.run(self._client)),
        ]
        try:
            await self._stopping.wait()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def stop(self) -> None:
        """Hear no more."""
        self._stopping.set()
