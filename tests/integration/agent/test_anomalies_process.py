"""The agent's own process finds what the simulation injects, tells people and the cloud, and survives kill -9."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import urllib.request

import pytest
from double_provisioning import PROVISIONING_KEY, ProvisioningDouble
from tests.integration.agent.cloud_double import CloudDouble

from iotistic.agent.store.store import Store
from iotistic.detection.detector import Detector
from iotistic.kernel.process import pick_port

WITHIN_S = 60.0
QUICK = {
    "POLL_INTERVAL_MS": "1000",
    "REPORT_INTERVAL_MS": "1000",
    "ANOMALY_INTERVAL_MS": "100",
    "ANOMALY_SAVE_MS": "1000",
    "ANOMALY_SAVE_MB_A_DAY": "100000",
    "ANOMALY_REPORT_INTERVAL_MS": "1000",
}


def simulated(pattern, **more):
    """Return a simulation in which sensors measure calmly; what is injected begins when it is started."""
    injection = {
        "enabled": False,
        "metrics": ["temperature"],
        "pattern": pattern,
        "intervalMs": 4_000,
        "magnitude": 6,
        **more,
    }
    return json.dumps(
        {
            "seed": 7,
            "scenarios": {
                "sensor_data": {"publishIntervalMs": 100, "sensors": ["temperature", "pressure"]},
                "anomaly_injection": injection,
            },
        }
    )


class World:
    """A device's folder and a cloud; agents come and go."""

    def __init__(self, folder, cloud):
        self.folder, self.cloud, self.port = folder, cloud, pick_port(0)

    def environment(self, **more):
        return {
            **os.environ,
            **QUICK,
            "CLOUD_API_ENDPOINT": self.cloud.url,
            "PROVISIONING_KEY": PROVISIONING_KEY,
            "DEVICE_API_PORT": str(self.port),
            "CONFIG_DIR": str(self.folder),
            "IOTISTIC_HOME": str(self.folder / "home"),
            **more,
        }

    @contextlib.asynccontextmanager
    async def agent(self, **more):
        with (self.folder / "log").open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "iotistic", "agent-process", "--engine", "simulated"),
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

    async def iotctl(self, *arguments, code=0):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "iotistic.entrypoints.iotctl", *arguments),
            env=self.environment(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        said, complained = await process.communicate()
        assert process.returncode == code, complained.decode()
        return said.decode() if "--json" not in arguments else json.loads(said or complained)

    async def patient(self, *arguments, met=bool):
        """Ask for anomalies until the answer is as it is to be; without iotctl, whose start takes half a second."""
        async with asyncio.timeout(WITHIN_S):
            while True:
                with contextlib.suppress(OSError):
                    said = await asyncio.to_thread(get, self, "/".join(("/v2/anomalies", *arguments)))
                    if met(said):
                        return said
                await asyncio.sleep(0.05)

    async def learned(self):
        """Return once every metric is watched, and begin to inject."""
        await self.patient(
            "metrics",
            met=lambda said: (
                len(said["metrics"]) > 3
                and all(one["status"] == "watching" and one["samples"] > 80 for one in said["metrics"])
            ),
        )
        await asyncio.to_thread(post, self, "/v1/simulation/scenarios/anomaly_injection/start", {})

    async def found(self, metric):
        await self.patient(met=lambda said: any(one["metric"] == metric for one in said["anomalies"]))
        anomalies = await self.iotctl("anomalies", "--json")
        return next(one for one in anomalies if one["metric"] == metric)

    def told(self):
        """Return the ids that the cloud was told, in order."""
        return [one["id"] for report in self.cloud.reports for one in report.get("anomalies", ())]

    async def until(self, met):
        async with asyncio.timeout(WITHIN_S):
            while not met():  # noqa: ASYNC110  ends at the deadline
                await asyncio.sleep(0.05)

    async def states(self):
        store = await Store.open(self.folder / "agent.sqlite")
        states = await store.anomalies.load_states()
        await store.close()
        return states


@pytest.fixture
async def world(tmp_path):
    provisioning = ProvisioningDouble()
    double = CloudDouble((provisioning.add,))

    def changing(route, answer):
        if route == "register":
            double.uuid = answer["device"]["uuid"]
        return answer

    provisioning.changing = changing
    double.accepts = lambda key: any(key in one.api_keys for one in provisioning.devices.values())
    async with double.running():
        yield World(tmp_path, double)


@pytest.mark.parametrize("pattern", ["drop", "drift"])
async def test_what_is_injected_is_found_and_reaches_the_cloud(world, pattern):
    async with world.agent(SIMULATION_MODE="true", SIMULATION_CONFIG=simulated(pattern)):
        await world.learned()
        found = await world.found("simulation/temperature")
        await world.until(lambda: found["id"] in world.told())

    assert found["simulation"] is True
    assert found["source"] == "sensor"
    assert 18 < found["context"]["baseline"] < 26


async def test_killed_in_the_middle_it_goes_on_with_what_it_had_learned_and_tells_nothing_twice(world):
    config = {"SIMULATION_MODE": "true", "SIMULATION_CONFIG": simulated("spike")}
    async with world.agent(**config) as process:
        await world.learned()
        found = await world.found("simulation/temperature")
        await world.until(lambda: found["id"] in world.told())
        await world.patient("metrics", met=lambda said: all(one["samples"] > 100 for one in said["metrics"]))
        process.send_signal(signal.SIGKILL)
        await process.wait()
    saved = {name: Detector.restore(state).seen for name, state in (await world.states()).items()}
    async with world.agent(**config):
        again = await world.patient("metrics", met=lambda said: len(said["metrics"]) > 4)
        kept = await world.iotctl("anomalies", "-n", "1000", "--json")
        late = await world.iotctl("anomalies", "show", found["id"], "--json")

    assert {"simulation/temperature", "simulation/pressure", "cpu_usage", "memory_percent"} <= set(saved)
    for one in again["metrics"]:
        assert one["status"] == "watching"
        assert one["samples"] > saved[one["metric"]] > 50
    assert late["id"] == found["id"]
    assert found["id"] in {one["id"] for one in kept}
    assert world.told().count(found["id"]) == 1


async def test_people_judge_follow_and_switch_it_off_while_it_runs(world):
    async with world.agent():
        await world.patient("metrics", met=lambda said: said["metrics"])
        found = (await asyncio.to_thread(post, world, "/v1/test/anomaly", {"metric": "pump"}))["anomaly"]
        shown = await world.iotctl("anomalies", "show", found["id"][:10])
        listed = await world.iotctl("anomalies")
        followed = await follow(world)
        await world.iotctl("anomalies", "feedback", found["id"], "expected")
        judged = await world.iotctl("anomalies", "show", found["id"], "--json")
        await world.until(lambda: world.told().count(found["id"]) == 2)
        await world.iotctl("anomalies", "feedback", found["id"], "fine", code=2)
        await world.iotctl("anomalies", "show", "nothing", code=4)
        status = await world.iotctl("diag", "--json")
        await world.iotctl("config", "set", "ANOMALY_METRICS", '{"cpu_*": {"enabled": false}}')
        partly = await world.patient("metrics", met=lambda said: "off" in statuses(said))
        await world.iotctl("config", "set", "ANOMALY_METRICS", '{"cpu_*": {"on": 1}}', code=2)
        await world.iotctl("config", "set", "ANOMALY_DETECTION_ENABLED", "false")
        off = await world.patient("metrics", met=lambda said: said["watch"]["state"] == "off")

    assert "test/pump" in shown
    assert "critical" in listed
    assert "test/pump" in followed
    assert judged["feedback"] == "expected"
    assert status["parts"]["anomalies"]["feedback"] == {"expected": 1, "wrong": 0}
    assert set(statuses(partly)) != {"off"}
    assert set(statuses(off)) == {"off"}


async def test_the_cloud_switches_it_off_and_on_and_judges(world):
    async with world.agent():
        await world.patient("metrics", met=lambda said: said["metrics"])
        found = (await asyncio.to_thread(post, world, "/v1/test/anomaly", {}))["anomaly"]
        said = {"enabled": False, "feedback": {found["id"]: "wrong"}}
        world.cloud.state = {**world.cloud.state, "config": {"anomalyDetection": said}, "version": 2}
        await world.patient("metrics", met=lambda told: told["watch"]["state"] == "off")
        judged = await world.patient(found["id"], met=lambda one: "feedback" in one)
        world.cloud.state = {**world.cloud.state, "config": {}, "version": 3}
        await world.patient("metrics", met=lambda told: told["watch"]["state"] == "on")

    assert judged["feedback"] == "wrong"


def statuses(said):
    return [one["status"] for one in said["metrics"]]


def get(world, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{world.port}{path}", timeout=30) as answer:
        return json.load(answer)


def post(world, path, body):
    request = urllib.request.Request(
        f"http://127.0.0.1:{world.port}{path}",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


async def follow(world):
    """Return the first line of `iotctl anomalies -f`, which is interrupted then."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "iotistic.entrypoints.iotctl", "anomalies", "-f"),
        env=world.environment(),
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(WITHIN_S):
        line = await process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 130
    return line.decode()
