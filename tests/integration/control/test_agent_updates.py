"""Updates of agents: ordered, held at a real broker until they are heard, followed, given up."""

import asyncio
import json
from dataclasses import dataclass, field
from uuid import uuid4

import pytest
from job_cloud import JobCloud, served

from iotistic.contracts.agent_updates import order_topic, read_order, status_topic
from iotistic.control.agentupdates.keeper import AgentUpdateKeeper
from iotistic.control.agentupdates.messages import OrderTeller, UpdateStatuses
from iotistic.control.agentupdates.routes import agent_update_router
from iotistic.control.agentupdates.service import AgentUpdates
from iotistic.control.agentupdates.settings import AgentUpdateSettings
from iotistic.entrypoints.control.bridges import ServicePublisher
from iotistic.kernel.errors import Unavailable
from iotistic.kernel.mqtt.client import connect
from iotistic.kernel.mqtt.settings import MqttSettings


@dataclass
class Held:
    """A broker that keeps the last word of each topic, or is away."""

    topics: dict = field(default_factory=dict)
    is_away: bool = False

    async def keep(self, topic, payload):
        if self.is_away:
            raise Unavailable("no broker")
        self.topics.pop(topic, None)
        if payload:
            self.topics[topic] = json.loads(payload)


class UpdateCloud(JobCloud):
    """A control plane with updates of agents beside jobs."""

    def __init__(self, pool):
        super().__init__(pool)
        self.held, settings = Held(), AgentUpdateSettings()
        self.updates_of = AgentUpdates(pool, settings, clock=self.clock)
        self.statuses = UpdateStatuses(self.updates_of)
        teller = OrderTeller(pool, self.held, clock=self.clock)
        self.update_keeper = AgentUpdateKeeper(pool, teller, settings, clock=self.clock)
        self.app.include_router(agent_update_router(self.updates_of), prefix="/api/v1")

    async def pass_time(self, **by):
        self.clock.forward(**by)
        await self.update_keeper.once()

    async def order(self, device, version="1.4.2", **more):
        return await self.ask("POST", f"/devices/{device.uuid}/update-agent", {"version": version, **more})

    async def says(self, device, said, **more):
        payload = json.dumps({"type": f"update_{said}", **more}).encode()
        topic = f"agent/{device.uuid}/status" if said == "scheduled" else status_topic(str(device.uuid))
        await self.statuses.hear(topic, payload)

    async def newest(self, device):
        answer = await self.ask("GET", f"/devices/{device.uuid}/agent-updates")
        assert answer.status_code == 200, answer.text
        return answer.json()["items"][0]

    def held_for(self, device):
        return self.held.topics.get(order_topic(str(device.uuid)))


@pytest.fixture
async def cloud(pool):
    async with served(UpdateCloud(pool)) as cloud:
        yield cloud


async def test_lesson_17_an_update_has_a_row_that_is_followed_and_is_not_told_again_once_it_was_heard(cloud):
    """No row was ever inserted, so every status was ignored; the command stayed, and ran at each restart."""
    device = await cloud.device()
    ordered = (await cloud.order(device)).json()
    await cloud.pass_time()
    held, faults = read_order(cloud.held_for(device))
    standings = [ordered["status"]]
    for said in ("command_received", "scheduled", "started"):
        await cloud.says(device, said, version="1.4.2", current_version="1.0.0")
        await cloud.pass_time(seconds=1)
        standings.append((await cloud.newest(device))["status"])
        assert cloud.held_for(device) is None
    await cloud.says(device, "succeeded", version="1.4.2", update_id=ordered["update_id"])
    await cloud.says(device, "started", version="1.4.2")
    ended = await cloud.newest(device)

    assert (held.version, held.update_id, faults) == ("1.4.2", ordered["update_id"], [])
    assert standings == ["pending", "acknowledged", "scheduled", "in_progress"]
    assert (ended["status"], ended["found_version"], ended["from_version"]) == ("succeeded", "1.4.2", "1.0.0")


@pytest.mark.parametrize("version", ["1.4.2; reboot", "1.4", "v1.4.2", "", "1.4.2\n", "01.2.3", 7])
async def test_lesson_17_a_version_is_three_numbers_and_no_piece_of_a_shell_line(cloud, version):
    """`version` went into a shell line."""
    device = await cloud.device()
    answer = await cloud.order(device, version)

    assert answer.status_code == 422
    assert (await cloud.ask("GET", f"/devices/{device.uuid}/agent-updates")).json()["items"] == []


async def test_an_order_waits_for_a_device_that_is_away_and_the_newest_takes_the_place_of_the_older(cloud):
    device = await cloud.device()
    cloud.held.is_away = True
    await cloud.order(device, "1.4.1")
    await cloud.pass_time()
    cloud.held.is_away = False
    await cloud.pass_time(seconds=31)
    first = cloud.held_for(device)
    await cloud.order(device, "latest", force=True)
    await cloud.pass_time(seconds=1)
    path = f"/devices/{device.uuid}/update-agent"
    called_back = await cloud.ask("DELETE", path)
    polled = cloud.held_for(device)
    await cloud.pass_time(seconds=1)

    assert first["version"] == "1.4.1"
    assert (polled["version"], polled["force"]) == ("latest", True)
    assert called_back.json()["status"] == "canceled"
    assert cloud.held_for(device) is None
    assert (await cloud.ask("DELETE", path)).json()["code"] == "update.none"


async def test_a_device_that_has_begun_is_left_to_it_and_given_up_after_half_an_hour_until_it_says_more(
    cloud,
):
    device = await cloud.device()
    await cloud.order(device)
    asked = await cloud.client.get(f"/device/{device.uuid}/agent-update", headers=device.headers)
    path, headers = f"/device/{device.uuid}/agent-update/status", device.headers
    told = await cloud.client.patch(path, json={"type": "update_started"}, headers=headers)
    refusals = [
        await cloud.order(device, "1.5.0"),
        await cloud.ask("DELETE", f"/devices/{device.uuid}/update-agent"),
        await cloud.client.patch(path, json={"type": "party"}, headers=headers),
        await cloud.client.patch(
            path, json={"type": "update_started", "update_id": str(uuid4())}, headers=headers
        ),
    ]
    await cloud.pass_time(minutes=31)
    late = await cloud.newest(device)
    nothing = await cloud.client.get(f"/device/{device.uuid}/agent-update", headers=headers)
    await cloud.says(device, "failed", code="update.rolled_back", message="1.4.2 was given up")
    after = await cloud.newest(device)

    assert asked.json()["version"] == "1.4.2"
    assert told.json() == {"status": "in_progress"}
    assert [answer.json()["code"] for answer in refusals] == [
        "update.under_way",
        "update.under_way",
        "update.report_invalid",
        "update.none",
    ]
    assert (late["status"], late["code"], nothing.status_code) == ("failed", "update.timed_out", 404)
    assert (after["code"], after["message"]) == ("update.rolled_back", "1.4.2 was given up")


async def test_a_version_that_a_device_reports_ends_its_order_although_its_words_were_lost(cloud):
    device = await cloud.device()
    await cloud.order(device)
    await cloud.pool.execute(
        "INSERT INTO device_states VALUES ($1, $2, $3)",
        device.uuid,
        json.dumps({"agent_version": "1.4.2"}),
        cloud.clock.now + (cloud.clock.now - cloud.clock.now).resolution,
    )
    await cloud.pass_time(minutes=1)

    assert (await cloud.newest(device))["status"] == "succeeded"
    assert cloud.held_for(device) is None


async def test_garbage_from_devices_ends_nothing(cloud):
    device = await cloud.device()
    await cloud.order(device)
    topic = status_topic(str(device.uuid))
    for payload in (b"", b"\xff", b"[]", b"{}", b'{"type": 7}', b"[" * 50_000, b'{"type":"update_started"}x'):
        await cloud.statuses.hear(topic, payload)
    await cloud.statuses.hear(status_topic(str(uuid4())), b'{"type":"update_started"}')
    await cloud.statuses.hear("iot/device/x/agent/status", b"{}")

    assert (await cloud.newest(device))["status"] == "pending"


async def test_the_broker_keeps_an_order_for_who_comes_later_and_no_longer_than_it_is_needed(broker):
    access = broker.server.access
    settings = MqttSettings(
        mqtt_service_host=access.host,
        mqtt_service_port=access.port,
        mqtt_service_username=access.username,
        mqtt_service_password=access.password,
    )
    topic = order_topic(str(uuid4()))
    async with connect(settings, client_id="orders") as cloud:
        publisher = ServicePublisher(cloud)
        await publisher.keep(topic, b'{"version":"1.4.2"}')
        async with connect(settings, client_id="late") as device, asyncio.timeout(10):
            await device.subscribe(topic)
            heard = await anext(aiter(device.messages()))
        await publisher.keep(topic, b"")
        async with connect(settings, client_id="later") as device, asyncio.timeout(10):
            await device.subscribe(topic)
            await cloud.publish(topic, b"the next one")
            after = await anext(aiter(device.messages()))

    assert (heard.payload, heard.retain) == (b'{"version":"1.4.2"}', True)
    assert after.payload == b"the next one"
