"""A rollout over agents that are told of their targets by MQTT, and a broker that is killed while it is under way."""

import asyncio
import contextlib

from broker_site import running_site
from device_cloud import served

from iotistic.agent.provisioning.model import ProvisioningRequest
from iotistic.control.access.model import Scope
from iotistic.control.broker.announcing import TargetAnnouncer
from iotistic.control.rollouts.beginning import CHANGE
from iotistic.control.rollouts.engine import RolloutEngine
from iotistic.control.rollouts.policy import Policy
from iotistic.control.rollouts.selection import Selection
from iotistic.control.rollouts.service import Asked, RolloutService
from iotistic.control.rollouts.settings import RolloutSettings
from iotistic.control.rollouts.signals import Surroundings
from iotistic.control.states.inbox import FILTERS, StateInbox
from iotistic.entrypoints.agent.fleet import Fleet, FleetPlan
from iotistic.entrypoints.agent.fleet_cloud import FleetCloud
from iotistic.entrypoints.agent.fleet_mqtt import MqttPlan
from iotistic.kernel.mqtt.bulk import BulkSubscriber
from iotistic.kernel.mqtt.bulk_login import BulkOptions
from iotistic.kernel.mqtt.client import connect
from iotistic.kernel.mqtt.lean_model import Backoff
from iotistic.kernel.mqtt.settings import MqttSettings
from iotistic.planning.model import Target

AGENTS = 4
WEB = {"serviceId": 3, "serviceName": "web", "imageName": "web:1", "config": {"image": "web:1"}}
SET = {"kind": "set", "apps": {"7": {"appId": 7, "appName": "shop", "services": [WEB]}}}
# No poll of its own falls into the test: a device hears of its target from the broker, or when it comes back to it.
TOLD = MqttPlan(poll_every_s=36_000, spread_s=0, asks_within_s=1, backoff=Backoff(base_s=0.1, longest_s=0.5))


async def until(met, *, within_s=60):
    async with asyncio.timeout(within_s):
        while not await met():  # noqa: ASYNC110  ends at the deadline
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def running(*parts):
    works = [asyncio.create_task(part) for part in parts]
    try:
        yield
    finally:
        for work in works:
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)


def settings_of(access):
    return MqttSettings(
        mqtt_service_host=access.host, mqtt_service_port=access.port, mqtt_service_password=access.password
    )


def inbox_of(access, pool, states):
    options = BulkOptions(
        access.host,
        access.port,
        "states-of-the-test",
        FILTERS,
        username=access.username,
        password=access.password,
    )
    return StateInbox(pool, BulkSubscriber(options), states)


async def test_a_rollout_ends_well_though_its_broker_is_killed_meanwhile(pool, tmp_path):
    async with running_site(pool, tmp_path) as site, served(site.cloud) as cloud:
        access, settings = site.server.access, RolloutSettings(rollout_look_s=0.2)
        async with connect(settings_of(access), client_id="control-of-the-test") as client:
            announcer = TargetAnnouncer(client)
            around = Surroundings(announcer=announcer)
            engine = RolloutEngine(pool, around, settings)
            rollouts = RolloutService(pool, around, settings, changed=engine.poke)
            request = ProvisioningRequest(await cloud.key(), cloud.url).checked()
            told = FleetCloud(request, poll_every_s=36_000, report_every_s=1, mqtt=TOLD)
            fleet = Fleet(FleetPlan(AGENTS, Target(), tmp_path / "agents", cloud=told))
            inbox = inbox_of(access, pool, cloud.states)
            loops = (announcer.run(), engine.run(), inbox.run(), fleet.run(asyncio.Event()))
            async with running(*loops):
                lines = await lines_of(fleet)
                await until(lambda: pool.fetchval("SELECT count(*) = 4 FROM device_states"))
                rollout = await rollouts.create(
                    Asked(
                        name="shop",
                        change=CHANGE.validate_python(SET),
                        selection=Selection(all=True),
                        policy=Policy(waves=(50, 100), watch_s=1, update_within_s=60),
                    ),
                    by="test",
                    scope=Scope(),
                )
                await until(lambda: as_awaited(any(line.taken for line in lines)))
                site.server.process.kill()
                await until(lambda: pool.fetchval("SELECT ended_at IS NOT NULL FROM rollouts"))
                await until(lambda: as_awaited(all(line.link.is_online for line in lines)))
                found, _ = await rollouts.find(rollout.id)
                states = await pool.fetch("SELECT state, deadline FROM rollout_parts")

    assert found.state == "completed"
    assert [tuple(row) for row in states] == [("succeeded", None)] * AGENTS
    assert site.starts == 2


async def as_awaited(value):
    return value


async def lines_of(fleet):
    """Return the agents' connections to the broker, once they stand."""

    async def stand():
        lines = [member.line and member.line.mqtt for member in fleet.members]
        return all(line is not None and line.link.is_online for line in lines)

    await until(stand)
    return [member.line.mqtt for member in fleet.members]
