"""Simulation mode of the agent's own process: controlled by its API, its readings in the outbox, and killed."""

import asyncio
import contextlib
import json
import os
import signal
import sys

import aiohttp
import pytest

from iotistic.agent.store.outbox_rows import Letter
from iotistic.agent.store.store import Store
from iotistic.kernel.process import pick_port
from iotistic.telemetry.decode.decoder import Decoder
from iotistic.telemetry.model import Messages

WITHIN_S = 60.0
CONFIG = {
    "scenarios": {
        "sensor_data": {"publishIntervalMs": 100, "sensors": ["temperature", "co2"]},
        "memory_leak": {"enabled": False, "rateMB": 8, "maxMB": 8},
    }
}


class AgentWithSimulation:
    """A process of the agent, and its API."""

    def __init__(self, folder, process, port, session):
        self.data, self.process = folder / "data", process
        self._url, self._session = f"http://127.0.0.1:{port}/v1/simulation", session

    async def ask(self, method, path, status=200):
        async with self._session.request(method, self._url + path) as answer:
            assert answer.status == status
            return await answer.json()

    async def published(self):
        """Return how many readings were published, None while nobody answers."""
        with contextlib.suppress(aiohttp.ClientError):
            status = await self.ask("GET", "/status")
            return next(one for one in status["scenarios"] if one["name"] == "sensor_data")["stats"][
                "publishCount"
            ]

    async def until_published(self, count):
        async with asyncio.timeout(WITHIN_S):
            while ((found := await self.published()) or 0) < count:  # noqa: ASYNC110  ends at the deadline
                await asyncio.sleep(0.05)
        return found

    async def end(self, number):
        self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), WITHIN_S)

    async def rows(self):
        """Return what the ingest makes of the outbox: labels, and failures."""
        store = await Store.open(self.data / "agent.sqlite")
        letters: list[Letter] = await store.outbox.waiting(10_000)
        await store.close()
        decoder = Decoder()
        now_us = int(max(letter.kept_at for letter in letters) * 1e6)
        found = decoder.decode(
            Messages([one.topic.encode() for one in letters], [one.payload for one in letters], now_us)
        )
        labels = [
            decoder.series.refs[series].label for column in found.values for series in column.series.tolist()
        ]
        return labels, found.failures


@pytest.fixture
async def agent(tmp_path):
    target, port = tmp_path / "target.json", pick_port(0)
    target.write_text('{"apps": {}}')
    command = [sys.executable, "-m", "iotistic", "agent", "run", target, "--engine", "simulated"]
    process = await asyncio.create_subprocess_exec(
        *command,
        "--data",
        tmp_path / "data",
        env={
            **os.environ,
            "IOTISTIC_HOME": str(tmp_path / "home"),
            "DEVICE_API_PORT": str(port),
            "SIMULATION_MODE": "true",
            "SIMULATION_CONFIG": json.dumps(CONFIG),
        },
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    async with aiohttp.ClientSession() as session:
        yield AgentWithSimulation(tmp_path, process, port, session)
    if process.returncode is None:
        process.kill()
        await process.wait()


async def test_an_agent_that_ends_in_order_keeps_every_reading_that_it_published(agent):
    await agent.until_published(50)
    await agent.ask("POST", "/scenarios/sensor_data/stop")
    await agent.ask("POST", "/scenarios/sensor_data/start")
    published = await agent.until_published(30)
    status = await agent.end(signal.SIGTERM)
    labels, failures = await agent.rows()

    assert status == 0
    assert failures == []
    assert set(labels) == {"simulation/temperature", "simulation/co2"}
    assert len(labels) >= 50 + published


async def test_an_agent_that_is_killed_loses_at_most_the_batch_that_was_open(agent):
    published = await agent.until_published(60)
    await agent.end(signal.SIGKILL)
    labels, failures = await agent.rows()

    assert failures == []
    assert len(labels) > published - 2 * 12
    assert len(labels) % (2 * 12) == 0


async def test_scenarios_are_started_and_stopped_over_the_api(agent):
    await agent.until_published(1)
    await agent.ask("POST", "/scenarios/memory_leak/start")
    running = await agent.ask("GET", "/status")
    await agent.ask("POST", "/stop-all")
    stopped = await agent.ask("GET", "/status")

    assert running["enabled"] is True
    assert running["activeCount"] == 2
    assert stopped["activeCount"] == 0
    await agent.ask("POST", "/scenarios/disk/start", 404)
