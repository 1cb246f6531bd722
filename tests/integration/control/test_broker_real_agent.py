"""The agent's own process at the managed broker: by its certificate, told of a target, put off when it is removed."""

import asyncio
import contextlib
import json

from broker_site import eventually, running_site
from device_cloud import served
from test_real_agent import SHOP, AgentHost

from iotistic.control.broker.announcing import TargetAnnouncer
from iotistic.control.states.service import StateService
from iotistic.kernel.mqtt.client import connect
from iotistic.kernel.mqtt.settings import MqttSettings

SELDOM = {"POLL_INTERVAL_MS": "3600000", "POLL_INTERVAL_ANNOUNCED_MS": "3600000"}


class SeldomPolling(AgentHost):
    """An agent that learns of a target within an hour, unless it is announced."""

    def environment(self):
        return super().environment() | SELDOM


def services_of(payload, uuid):
    apps = json.loads(payload).get(uuid, {}).get("apps") or {}
    return {
        service["serviceName"]: service.get("serviceStatus")
        for app in apps.values()
        for service in app["services"]
    }


async def test_an_agent_connects_is_told_of_its_target_and_is_put_off_when_it_is_removed(pool, tmp_path):
    async with running_site(pool, tmp_path) as site, served(site.cloud):
        site.watch()
        folder = tmp_path / "agent"
        folder.mkdir()
        access = site.server.access
        settings = MqttSettings(
            mqtt_service_host=access.host,
            mqtt_service_port=access.port,
            mqtt_service_password=access.password,
        )
        host = SeldomPolling(folder, site.cloud, await site.cloud.key())
        async with connect(settings, client_id="service-of-the-test") as client, host.agent():
            await client.subscribe("iot/device/+/state")
            announcer = TargetAnnouncer(client)
            states = StateService(pool, site.cloud.devices, announcer=announcer)
            announcing = asyncio.create_task(announcer.run())
            uuid = await host.device()
            messages = client.messages()
            async with asyncio.timeout(60):
                first = await anext(messages)
                await states.set_target(uuid, SHOP, by="test")
                await states.deploy(uuid, by="test")
                while services_of((await anext(messages)).payload, uuid) != {"web": "running"}:
                    pass
            await site.cloud.devices.remove(uuid)
            log = folder / "log"
            refused = await eventually(lambda: "mqtt.not_connected" in log.read_text(), within_s=60)
            announcer.stop()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(5):
                    await announcing

    assert str(first.topic) == f"iot/device/{uuid}/state"
    assert refused
