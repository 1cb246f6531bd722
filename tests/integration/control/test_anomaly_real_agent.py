"""What a real agent finds, from its detector to the people and back: API, control process's work, PostgreSQL, Mosquitto.

The agent's own process measures simulated sensors, and has no numpy, as in its image.
"""

import asyncio
import contextlib
import json
import sys
from types import SimpleNamespace

import httpx2
import pytest
from broker_site import running_site
from pydantic import SecretStr
from test_real_agent import AgentHost, eventually
from tests.unit.detection.forecast_builders import made_weights

from iotistic.contracts.forecasts import ForecastWish
from iotistic.detection.forecaster import pack
from iotistic.entrypoints.api import BASE, add_control, create_api_app, express
from iotistic.entrypoints.control.bridges import ServicePublisher
from iotistic.entrypoints.control.loops import serving_loops, working_loops
from iotistic.entrypoints.control.process import run_loops
from iotistic.entrypoints.control.rooms import ControlPlane, Ground
from iotistic.entrypoints.control.settings import ControlSettings, made_secrets
from iotistic.kernel.home import Home
from iotistic.kernel.mqtt.client import connect
from iotistic.kernel.mqtt.settings import MqttSettings
from iotistic.kernel.postgres.pool import DatabaseSettings, create_pool
from iotistic.kernel.web.server import serve
from iotistic.pki.keystore import open_authority
from iotistic.pki.settings import AuthoritySettings
from iotistic.telemetry.live.hub import LiveHub

OPERATOR = "operator-token-of-the-tests"
METRIC, SENSOR = "memory_percent", "simulation/temperature"
WATCHED = {"cpu_usage", "memory_percent", "storage_percent", "network_latency", SENSOR}
SENSORS = {
    "seed": 7,
    "scenarios": {
        "sensor_data": {"publishIntervalMs": 100, "sensors": ["temperature"]},
        "anomaly_injection": {
            "enabled": False,
            "metrics": ["memory_percent", "temperature"],
            "pattern": "spike",
            "intervalMs": 3_000,
            "magnitude": 6,
        },
    },
}
RULE = {
    "name": "unusual",
    "condition": {"type": "anomaly_found", "leastSeverity": "info", "origin": "agent", "quietS": 10},
}


class Host(AgentHost):
    """A device that measures quickly."""

    def environment(self):
        return super().environment() | {
            "SIMULATION_MODE": "true",
            "SIMULATION_CONFIG": json.dumps(SENSORS),
            "ANOMALY_INTERVAL_MS": "100",
            "ANOMALY_REPORT_INTERVAL_MS": "1000",
            "PYTHONPATH": str(self.folder / "without"),
        }

    async def patient(self, *arguments, met):
        """Ask until the answer is as it is to be."""

        async def ask():
            with contextlib.suppress(AssertionError):
                said = await self.iotctl(*arguments)
                return [said] if met(said) else None

        (said,) = await eventually(ask)
        return said

    async def inject(self, what="start"):
        """Begin, or "stop", to disturb the sensor."""
        url = f"http://127.0.0.1:{self.port}/v1/simulation/scenarios/anomaly_injection/{what}"
        async with httpx2.AsyncClient(timeout=30) as client:
            (await client.post(url, json={})).raise_for_status()

    async def said_beside(self, *arguments):
        """Return what a command writes on standard error."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "iotistic.entrypoints.iotctl", *arguments),
            env=self.environment(),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        return (await process.communicate())[1].decode()


class People:
    """Somebody at the API."""

    def __init__(self, client):
        self.client = client

    async def ask(self, method, path, document=None):
        answer = await self.client.request(method, path, json=document)
        assert answer.is_success, answer.text
        return answer.json()

    async def see(self, path, met):
        """Ask until the answer is as it is to be; nothing is known of a device before its first report."""

        async def ask():
            answer = await self.client.get(path)
            return [answer.json()] if answer.is_success and met(answer.json()) else None

        (seen,) = await eventually(ask)
        return seen


@contextlib.asynccontextmanager
async def control_plane(database, folder, authority):
    """Serve the API and do the control process's work; give (control, url)."""
    settings = DatabaseSettings(
        database_url=database.url, database_password=database.password, database_pool_size=20
    )
    async with contextlib.AsyncExitStack() as stack:
        pool = await create_pool(settings, application_name="test-control")
        stack.callback(pool.terminate)
        site = await stack.enter_async_context(running_site(pool, folder, authority))
        access = site.server.access
        mqtt = MqttSettings(
            mqtt_service_host=access.host,
            mqtt_service_port=access.port,
            mqtt_service_password=access.password,
        )
        client = await stack.enter_async_context(connect(mqtt, client_id="control-of-the-test"))
        ground = Ground(
            pool=pool,
            home=site.home,
            settings=ControlSettings(
                **made_secrets(site.home),
                device_mqtt_url=f"mqtts://localhost:{site.server.endpoints.device_port}",
                alert_round_s=0.5,
            ),
            publisher=ServicePublisher(client),
            operator=SecretStr(OPERATOR),
        )
        control = ControlPlane.of(ground)
        stack.callback(control.close)
        app = create_api_app(pool, LiveHub(folder), ground.publisher, gate=control.gate(base=BASE))
        add_control(app, control)
        stopping = asyncio.Event()
        loops = (*serving_loops(control), *working_loops(control, mqtt))
        working = asyncio.create_task(run_loops(loops, stopping))
        server = await serve(app, host="127.0.0.1", port=0, front=express(app, control))
        try:
            yield control, f"http://127.0.0.1:{server.port}{BASE}"
        finally:
            await server.stop()
            stopping.set()
            await working


@pytest.fixture
def authority(tmp_path):
    home = Home(tmp_path)
    home.create()
    return open_authority(home, AuthoritySettings())


@pytest.fixture
async def place(database, tmp_path, authority):
    """A device without numpy, and people at the cloud."""
    folder = tmp_path / "agent"
    (folder / "without").mkdir(parents=True)
    missing = "raise ModuleNotFoundError(\"No module named 'numpy'\", name='numpy')"
    (folder / "without" / "numpy.py").write_text(missing)
    async with control_plane(database, tmp_path, authority) as (control, url):
        key, _ = await control.provisioning_keys.create(fleet_id="hall-1", created_by="test")
        cloud = SimpleNamespace(url=url, pool=control.ground.pool)
        headers = {"Authorization": f"Bearer {OPERATOR}"}
        async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=30) as client:
            yield Host(folder, cloud, key), People(client)


def of(metric):
    """Return what says whether a list is about a metric."""
    return lambda listed: [one for one in listed if one["metric"] == metric]


def has_learned(said):
    watched = {one["metric"]: one.get("samples", 0) for one in said["metrics"]}
    return min(watched.get(METRIC, 0), watched.get(SENSOR, 0)) > 80 and set(watched) >= WATCHED


async def test_what_an_agent_finds_is_stored_alerts_and_is_judged_and_learned_again(place, authority):
    host, people = place
    rule = await people.ask("POST", "/alerts/rules", RULE)
    async with host.agent():
        uuid = await host.device()
        await host.patient("anomalies", "metrics", met=has_learned)
        await host.inject()
        found = of(METRIC)(await host.patient("anomalies", met=of(METRIC)))[0]
        stored = (await people.see(f"/anomalies?metric={METRIC}", lambda page: page["items"]))["items"][-1]
        made_up = (await people.see(f"/anomalies?metric={SENSOR}", lambda page: page["items"]))["items"][-1]
        alerts = f"/alerts?ruleId={rule['id']}&deviceUuid={uuid}"
        fired = await people.see(alerts, lambda page: of(METRIC)(page["items"]))
        judged = await people.ask("POST", f"/anomalies/{stored['id']}/feedback", {"verdict": "expected"})
        learned = await people.see(
            f"/anomalies/{stored['id']}", lambda one: one["feedback"]["state"] == "learned"
        )
        # A slow machine tells a second anomaly before it has learned of the first; that one has to be over as well.
        await host.inject("stop")
        over = await people.see(alerts, lambda page: of(METRIC)(page["items"])[0]["state"] == "resolved")
        known = await host.iotctl("anomalies", "show", stored["name"])
        (lesson,) = of(METRIC)((await host.iotctl("anomalies", "metrics"))["metrics"])[0]["feedback"]

    assert (stored["name"], stored["deviceUuid"], stored["origin"]) == (found["id"], uuid, "agent")
    for field in ("severity", "value", "expectedRange", "detectionMethod", "fingerprint"):
        assert learned[field] == known[field]
    assert (stored["isSimulated"], made_up["isSimulated"]) == (False, True)
    assert of(METRIC)(fired["items"])[0]["state"] == "firing"
    assert of(SENSOR)(over["items"]) == []
    assert (judged["feedback"]["verdict"], judged["feedback"]["state"]) == ("expected", "waiting")
    assert learned["feedback"]["verdict"] == known["feedback"] == "expected"
    assert (lesson["id"], lesson["verdict"]) == (stored["name"], "expected")
    assert lesson["factor"] > 31
    assert lesson["range"][1] >= stored["value"]


async def test_a_forecaster_that_a_device_cannot_use_is_known_to_everybody(place, authority):
    host, people = place
    good = ForecastWish(pack(made_weights(32), {}, authority.sign), 0.5).write()
    async with host.agent():
        uuid = await host.device()
        state = f"/devices/{uuid}/current-state"
        before = await people.see(state, lambda said: "anomaly_detection" in said["state"])
        await people.ask("PUT", f"/devices/{uuid}/target-state", {"apps": {}, **good})
        await people.ask("POST", f"/devices/{uuid}/deploy")
        after = await people.see(
            state, lambda said: "forecaster_reason" in said["state"]["anomaly_detection"]
        )
        beside = await host.said_beside("anomalies")

    assert before["state"]["anomaly_detection"] == {"state": "on", "forecaster": "none"}
    assert after["state"]["anomaly_detection"]["forecaster"] == "anomalies.numpy_missing"
    assert "extra `forecast`" in after["state"]["anomaly_detection"]["forecaster_reason"]
    assert len(json.dumps(after)) < 10_000 < len(json.dumps(good))
    assert beside.startswith("without forecasts: numpy")
    assert "[anomalies.numpy_missing]" in beside
