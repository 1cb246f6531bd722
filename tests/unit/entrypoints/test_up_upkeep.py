import asyncio

import httpx2
import pytest

from iotistic.entrypoints.up.logkeeper import kept_small
from iotistic.entrypoints.up.observer import Observer
from iotistic.kernel.home import Home
from iotistic.kernel.mosquitto.log import REFUSED
from iotistic.kernel.process import pick_port


async def test_a_log_that_grows_while_everything_runs_is_rotated(tmp_path):
    log, small = tmp_path / "up.log", tmp_path / "api.log"
    small.write_text("short\n")
    async with asyncio.timeout(10), kept_small(tmp_path, every_s=0.01, max_bytes=100):
        with log.open("a", buffering=1) as writer:
            writer.write("refused\n" * 100)
            while not (tmp_path / "up.log.1").exists() or log.stat().st_size:  # noqa: ASYNC110  within the timeout
                await asyncio.sleep(0.005)
            writer.write("after\n")

    assert log.read_text() == "after\n"
    assert (tmp_path / "up.log.1").read_text() == "refused\n" * 100
    assert small.read_text() == "short\n"


async def test_a_log_that_cannot_be_rotated_keeps_no_other_from_it(tmp_path):
    (tmp_path / "a.log").mkdir()
    (tmp_path / "b.log").write_text("y" * 200)
    async with asyncio.timeout(10), kept_small(tmp_path, every_s=0.01, max_bytes=0):
        while (tmp_path / "b.log").stat().st_size:  # noqa: ASYNC110  within the timeout
            await asyncio.sleep(0.005)

    assert (tmp_path / "a.log").is_dir()


@pytest.fixture
async def observer(tmp_path):
    states = {"api": True, "mosquitto": True}
    observer = Observer(Home(tmp_path), pick_port(0), lambda: states)
    await observer.start()
    yield observer, states
    await observer.stop()
    assert await observer.wait() == 0


@pytest.mark.enable_socket
async def test_up_is_ready_while_all_parts_run_and_names_those_that_do_not(observer):
    served, states = observer
    async with httpx2.AsyncClient(verify=False) as client:
        before = await client.get(served.health_url)
        states["mosquitto"] = False
        while (after := await client.get(served.health_url)).is_success:  # noqa: ASYNC110  an answer is reused
            await asyncio.sleep(0.05)

    assert before.is_success
    assert "mosquitto" in after.json()["checks"]["parts"]


@pytest.mark.enable_socket
async def test_figures_of_the_broker_are_served_by_up(observer):
    served, _ = observer
    REFUSED.labels("certificate_missing").inc()
    async with httpx2.AsyncClient(verify=False) as client:
        text = (await client.get(served.health_url.replace("health/ready", "metrics"))).text

    assert 'iotistic_broker_refused_total{reason="certificate_missing"}' in text
