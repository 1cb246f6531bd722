"""PUT /devices/{uuid}/broker: a part of the target, by poll, with history."""

import pytest
from job_cloud import JobCloud, served
from pydantic import SecretStr

from iotistic.control.broker.broker_routes import mqtt_broker_router
from iotistic.control.broker.brokers import BrokerService, Seal
from iotistic.control.broker.device_routes import device_broker_router
from iotistic.control.states.operator_routes import target_router
from iotistic.control.states.service import StateService


@pytest.fixture
async def cloud(pool):
    cloud = JobCloud(pool)
    cloud.states = StateService(pool, cloud.devices, clock=cloud.clock)
    brokers = BrokerService(pool, Seal(SecretStr("secret of the tests")), clock=cloud.clock)
    for router in (
        mqtt_broker_router(brokers),
        device_broker_router(brokers, cloud.states),
        target_router(cloud.states),
    ):
        cloud.app.include_router(router, prefix="/api/v1")
    async with served(cloud):
        yield cloud


async def test_a_device_is_sent_to_a_broker_with_its_target_and_back_by_null(cloud):
    device = await cloud.device()
    await cloud.states.begin(cloud.pool, str(device.uuid))
    asked = {"name": "hall", "host": "mqtt.hall.example", "username": "us", "password": "ours alone"}
    broker = (await cloud.ask("POST", "/mqtt/brokers", asked)).json()
    path, config = f"/devices/{device.uuid}", {"logging": {"level": "info"}}
    await cloud.ask("PUT", f"{path}/target-state", {"apps": {}, "config": config})
    moved = await cloud.ask("PUT", f"{path}/broker", {"brokerId": broker["id"]})
    standing = (await cloud.ask("GET", f"{path}/target-state")).json()
    back = await cloud.ask("PUT", f"{path}/broker", {"brokerId": None})
    after = (await cloud.ask("GET", f"{path}/target-state")).json()

    assert moved.json()["mqtt"] == {
        "brokerId": broker["id"],
        "protocol": "mqtts",
        "host": "mqtt.hall.example",
        "port": 8883,
        "useTls": True,
        "verifyCertificate": True,
        "keepAlive": 60,
        "cleanSession": True,
    }
    assert standing["config"] == {"mqtt": moved.json()["mqtt"]}
    assert standing["draft"]["config"] == {**config, "mqtt": moved.json()["mqtt"]}
    assert (standing["version"], moved.json()["version"]) == (2, 2)
    assert (back.json()["mqtt"], after["config"], after["draft"]["config"]) == (None, {}, config)
    assert "ours alone" not in str(standing)


async def test_what_cannot_be_is_refused_and_changes_nothing(cloud):
    device = await cloud.device()
    await cloud.states.begin(cloud.pool, str(device.uuid))
    path = f"/devices/{device.uuid}/broker"
    answers = [
        await cloud.ask("PUT", path, {"brokerId": 7}),
        await cloud.ask("PUT", path, {}),
        await cloud.ask("PUT", path, {"brokerId": 0}),
        await cloud.ask("PUT", path, {"brokerId": 7}, role="viewer"),
    ]

    assert [answer.status_code for answer in answers] == [404, 422, 422, 403]
    assert answers[0].json()["code"] == "mqtt.broker_unknown"
    assert (await cloud.states.standing(str(device.uuid))).target.version == 1
