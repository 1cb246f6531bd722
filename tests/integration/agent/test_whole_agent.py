"""The agent's process with everything that it speaks to: a cloud over HTTP, a broker, a person on the device."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
from agent_broker import agent_place, until
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from double_provisioning import PROVISIONING_KEY, ProvisioningDouble
from tests.integration.agent.cloud_double import CloudDouble
from tests.integration.agent.double_jobs import JobQueue
from tests.integration.agent.double_logs import LogsDouble

from iotistic.contracts.jobs import JobStatus
from iotistic.kernel.process import pick_port

WEB = {"serviceId": 3, "serviceName": "web", "imageName": "web:1", "config": {"volumes": ["data:/data"]}}
ECHO = {"name": "run", "type": "runCommand", "input": {"command": "/bin/echo,done"}}
ORDER = {
    "job_id": "j1",
    "job_name": "j1",
    "job_document": {"version": "1.0", "steps": [ECHO], "includeStdOut": True},
    "timeout_seconds": 60,
    "created_at": "2026-05-17T10:00:00Z",
}
QUICK = {
    "POLL_INTERVAL_MS": "1000",
    "POLL_INTERVAL_ANNOUNCED_MS": "1000",
    "REPORT_INTERVAL_MS": "1000",
    "METRICS_INTERVAL_MS": "1000",
    "CLOUD_LOG_FLUSH_MS": "200",
    "CLOUD_LOG_URGENT_FLUSH_MS": "100",
    "CLOUD_LOG_INFO_PERCENT": "100",
    "SENSOR_BATCH_MESSAGES": "1",
    "MQTT_RECONNECT_SPREAD_S": "0",
}

# What a person, a start or a rare deed needs, and an agent at rest does not: each is megabytes of a small device.
NOT_AT_REST = (
    "cryptography.hazmat.primitives.serialization",
    "cryptography.x509",
    "cyclopts",
    "frozenlist._frozenlist",
    "importlib.metadata",
    "iotistic.agent.engines.k3s.engine",
    "msgspec",
    "numpy",
    "prometheus_client",
    "pydantic",
    "pydantic_core",
    "rich",
)
LOADED = """
import pathlib, signal, sys

def tell(*_):
    told = pathlib.Path(__file__).with_name("loaded")
    told.with_suffix(".new").write_text(" ".join(sorted(sys.modules)))
    told.with_suffix(".new").replace(told)

signal.signal(signal.SIGUSR1, tell)
"""


class World:
    """A cloud, a broker, and a device's folder; agents come and go."""

    def __init__(self, folder, cloud, provisioning, jobs, logs, place):
        self.folder, self.cloud, self.place = folder, cloud, place
        self.provisioning, self.jobs, self.logs = provisioning, jobs, logs
        self.port = pick_port(0)

    def environment(self, **more):
        return {
            **os.environ,
            **QUICK,
            "CLOUD_API_ENDPOINT": self.cloud.url,
            "PROVISIONING_KEY": PROVISIONING_KEY,
            "DEVICE_NAME": "press 7",
            "DEVICE_API_PORT": str(self.port),
            "CONFIG_DIR": str(self.folder),
            "IOTISTIC_HOME": str(self.folder / "home"),
            **more,
        }

    @contextlib.asynccontextmanager
    async def agent(self, **more):
        with (self.folder / "log").open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "iotistic", "agent", "run", "--engine", "simulated"),
                env=self.environment(**more),
                stdout=output,
                stderr=output,
            )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            async with asyncio.timeout(20):
                await process.wait()

    async def iotctl(self, *arguments):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "iotistic.entrypoints.iotctl", *arguments, "--json"),
            env=self.environment(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        said, complained = await process.communicate()
        assert process.returncode == 0, complained.decode()
        return json.loads(said)

    async def patient_iotctl(self, *arguments):
        """Ask until the agent answers with something."""
        async with asyncio.timeout(30):
            while True:
                with contextlib.suppress(AssertionError):
                    if said := await self.iotctl(*arguments):
                        return said
                await asyncio.sleep(0.2)  # each start of iotctl takes half a second of CPU

    async def gone(self):
        async with asyncio.timeout(30):
            while await self.iotctl("services", "list"):  # noqa: ASYNC110  ends at the deadline
                await asyncio.sleep(0.2)

    def services(self):
        apps = self.cloud.known.get("apps") or {}
        return {
            service["serviceName"]: service.get("serviceStatus")
            for app in apps.values()
            for service in app["services"]
        }

    def metrics_of(self, told):
        return {one["metric"] for one in told["metrics"]}

    async def settled(self, **wanted):
        await until(lambda: self.services() == wanted, within_s=30)


def certify(authority, uuid, public_key, *, began=timedelta(hours=1)):
    """Return a certificate that the broker believes, for one day more."""
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, uuid)]))
        .issuer_name(authority._name)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - began)
        .not_valid_after(now + timedelta(days=1))
        .sign(authority._key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


@pytest.fixture
async def world(tmp_path):
    provisioning, jobs, logs = ProvisioningDouble(), JobQueue(), LogsDouble()
    double = CloudDouble((provisioning.add, jobs.add, logs.add))
    async with double.running(), agent_place(tmp_path / "broker") as place:
        authority, port = place.broker.authority, place.broker.server.endpoints.device_port

        def changing(route, answer):
            if route != "register":
                return answer
            double.uuid = uuid = answer["device"]["uuid"]
            config = {"protocol": "mqtts", "host": "localhost", "port": port}
            config["caCert"] = authority.certificate.read_text()
            mqtt = answer["mqtt"] | {"brokerUrl": f"mqtts://localhost:{port}", "brokerConfig": config}
            key = provisioning.devices[uuid].public_key
            return answer | {"mqtt": mqtt, "certificate": certify(authority, uuid, key)}

        provisioning.changing = changing
        for one in (double, jobs, logs):
            one.accepts = lambda key: any(key in one.api_keys for one in provisioning.devices.values())
        yield World(tmp_path, double, provisioning, jobs, logs, place)


async def test_a_device_is_provisioned_deployed_to_and_tells_how_it_is(world):
    world.cloud.deploy([WEB])
    async with world.agent():
        await world.settled(web="running")

        assert len(world.provisioning.made) == 1
        assert world.cloud.known["agent_version"]
        await until(lambda: "memory_total" in world.cloud.known)
        await until(lambda: any("device.settled" in line for line in world.logs.messages))


async def test_state_and_readings_go_by_mqtt_where_somebody_listens(world):
    heard = world.place.listener("iot/device/+/#")
    world.cloud.deploy([WEB])
    async with world.agent(SIMULATION_MODE="true"):
        said = {}

        def take():
            with contextlib.suppress(TimeoutError):
                message = heard.receive()
                said[message.topic.decode().split("/", 3)[3]] = json.loads(message.payload)
            return "state" in said and any(topic.startswith("sensor/") for topic in said)

        async with asyncio.timeout(30):
            while not await asyncio.to_thread(take):
                pass

    sensor = next(document for topic, document in said.items() if topic.startswith("sensor/"))
    assert said["state"][world.cloud.uuid]["is_online"] is True
    assert sensor["messages"]


async def test_what_a_killed_broker_may_have_forgotten_is_told_again(world):
    heard = world.place.listener("iot/device/+/state")
    world.cloud.deploy([WEB])
    async with world.agent():

        def take():
            with contextlib.suppress(TimeoutError):
                return b'"serviceStatus":"running"' in heard.receive().payload

        async with asyncio.timeout(30):
            while not await asyncio.to_thread(take):
                pass
        world.cloud.known.clear()
        await world.place.kill()
        await world.settled(web="running")


async def test_anomalies_go_by_mqtt_and_the_way_there_is_watched(world):
    heard, said = world.place.listener("iot/device/+/state"), []
    async with world.agent(ANOMALY_INTERVAL_MS="100", ANOMALY_REPORT_INTERVAL_MS="1000"):
        async with asyncio.timeout(30):
            while "network_latency" not in world.metrics_of(  # noqa: ASYNC110  ends at the deadline
                await world.patient_iotctl("anomalies", "metrics")
            ):
                await asyncio.sleep(0.2)
        async with aiohttp.ClientSession() as session:
            test = f"http://127.0.0.1:{world.port}/v1/test/anomaly"
            made = (await (await session.post(test, json={})).json())["anomaly"]

        def take():
            with contextlib.suppress(TimeoutError):
                report = json.loads(heard.receive().payload)[world.cloud.uuid]
                said.extend(report.get("anomalies", []))
            return said

        async with asyncio.timeout(30):
            while not await asyncio.to_thread(take):
                pass

    assert said == [made]
    assert not any("anomalies" in report for report in world.cloud.reports)


async def test_an_announced_target_is_taken_up_at_once(world):
    world.cloud.deploy([WEB])
    async with world.agent(POLL_INTERVAL_MS="600000", POLL_INTERVAL_ANNOUNCED_MS="600000"):
        await world.settled(web="running")
        world.cloud.deploy([{**WEB, "state": "stopped"}])
        world.place.say(f"iot/device/{world.cloud.uuid}/state/notify", {"version": 3})
        await world.settled(web="stopped")


async def test_jobs_wait_until_the_cloud_wishes_them_and_are_done_then(world):
    world.jobs.orders.append(ORDER)
    world.cloud.deploy([WEB])
    async with world.agent(CLOUD_JOBS_POLLING_INTERVAL="1000"):
        await world.settled(web="running")
        polls = world.jobs.polls
        world.cloud.state["config"] = {"features": {"enableDeviceJobs": True}}
        await until(lambda: world.jobs.status("j1") is JobStatus.SUCCEEDED)

        assert polls == 0
        assert "done" in world.jobs.end_of("j1")["stdout"]


async def test_a_killed_agent_comes_back_as_itself_and_works_without_a_cloud(world):
    world.cloud.deploy([WEB])
    async with world.agent() as process:
        await world.settled(web="running")
        process.kill()
    async with world.agent(CLOUD_API_ENDPOINT="http://127.0.0.1:9"):
        status = await world.patient_iotctl("services", "list")

    assert [one["status"] for one in status] == ["running"]
    assert len(world.provisioning.made) == 1


async def test_leaving_the_fleet_stops_no_service_and_a_factory_reset_leaves_none(world):
    world.cloud.deploy([WEB])
    async with world.agent():
        await world.settled(web="running")
        await world.iotctl("deprovision")
        left = await world.iotctl("services", "list")
        devices = dict(world.provisioning.devices)
        await world.iotctl("factory-reset", "--yes")
        await world.gone()

    assert [one["status"] for one in left] == ["running"]
    assert devices == {}


async def test_a_target_that_makes_no_sense_changes_nothing_and_is_told_to_people_on_the_device(world):
    world.cloud.deploy([WEB])
    async with world.agent():
        await world.settled(web="running")
        world.cloud.deploy([{**WEB, "config": {"volumes": 7}}])
        async with asyncio.timeout(30):
            while not (refused := (await world.iotctl("diagnostics"))["targetRefused"]):  # noqa: ASYNC110
                await asyncio.sleep(0.2)
        services = await world.iotctl("services", "list")

    assert "config.volumes" in refused[0]
    assert [one["status"] for one in services] == ["running"]


async def test_a_cloud_that_moved_is_spoken_to_at_its_new_address(world):
    world.cloud.deploy([WEB])
    async with world.agent():
        await world.settled(web="running")
        await world.iotctl("config", "set-api", world.cloud.url.replace("127.0.0.1", "localhost"))
        world.cloud.deploy([{**WEB, "state": "stopped"}])
        await world.settled(web="stopped")

        assert world.cloud.requests[-1].host.startswith("localhost:")


async def test_a_certificate_that_nears_its_end_is_renewed_and_the_broker_is_met_with_the_new_one(world):
    given, authority = world.provisioning.changing, world.place.broker.authority
    began = {"register": timedelta(days=3), "certificate": timedelta(hours=1)}

    def changing(route, answer):
        answer = given(route, answer)
        if route not in began:
            return answer
        uuid = world.cloud.uuid
        key = world.provisioning.devices[uuid].public_key
        return answer | {"certificate": certify(authority, uuid, key, began=began[route])}

    world.provisioning.changing = changing
    world.cloud.deploy([WEB])
    async with world.agent(CERTIFICATE_NEW_KEYS="true"):
        await world.settled(web="running")
        log = world.folder / "log"
        await until(lambda: "mqtt.connected" in log.read_text().partition("certificate.renewed")[2])
        parts = (await world.iotctl("diagnostics"))["parts"]
        until_at = datetime.fromisoformat(parts["cloud"]["certificate_until"])

        assert world.provisioning.asked.count("certificate") == 1
        assert parts["mqtt"]["online"] is True
        assert timedelta(hours=23) < until_at - datetime.now(UTC) < timedelta(days=1)


async def test_an_agent_restarts_itself_when_it_is_asked_to(world):
    world.cloud.deploy([WEB])
    async with world.agent() as process:
        await world.settled(web="running")
        await world.iotctl("restart")
        log = world.folder / "log"
        await until(lambda: log.read_text().count('"agent.opened"') == 2)
        await world.patient_iotctl("status")

        assert process.returncode is None


async def test_an_agent_at_rest_has_not_loaded_what_only_others_need(world):
    log, watching = world.folder / "log", world.folder / "sitecustomize.py"
    watching.write_text(LOADED)
    world.cloud.deploy([WEB])
    async with world.agent():
        await world.settled(web="running")
    async with world.agent(PYTHONPATH=str(world.folder)) as process:
        await until(lambda: log.read_text().count('"mqtt.connected"') == 2)
        process.send_signal(signal.SIGUSR1)
        await until((world.folder / "loaded").exists)
        loaded = set((world.folder / "loaded").read_text().split())

    assert {"aiohttp", "iotistic.agent.link.mqtt", "iotistic.agent.anomalies.watching"} <= loaded
    assert not loaded.intersection(NOT_AT_REST)
